"""Many pictures: worker processes, journals that resume, captions beside the files, clusters."""
