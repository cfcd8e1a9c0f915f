"""What is in an ONNX file, read off the graph."""
