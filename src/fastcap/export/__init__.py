"""Export: a trained model to one ONNX graph, and the one writer of model directories."""
