"""Training data: windows from clips, and motion made from photographs with exact ground truth."""
