"""The torch-free half of fastcap: a model directory and a picture in, a caption out. Opens no socket."""
