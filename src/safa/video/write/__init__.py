"""Frames to encoded segments, files, animations and pipes."""
