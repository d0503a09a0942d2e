"""Images and texts as vectors in one space."""
