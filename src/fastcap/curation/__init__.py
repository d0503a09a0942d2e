"""Data sets fit to learn from: what is in them, what their captions say about people, and how they are mended."""
