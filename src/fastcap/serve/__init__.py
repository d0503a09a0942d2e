"""The HTTP server: pictures over the wire in, JSON out. Needs the extra `serve`; never PyTorch."""
