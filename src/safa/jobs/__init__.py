"""A video job from request to finished file: settings, preparation, the run itself, batches of files."""
