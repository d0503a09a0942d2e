"""The verbs of `fastcap data`, a module each."""
