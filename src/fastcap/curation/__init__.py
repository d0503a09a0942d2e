"""Datasets fit to learn from: what captions say about people, what is wrong with them, and how to mend it."""
