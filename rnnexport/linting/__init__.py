"""What is wrong or risky in an ONNX file with recurrent layers, and repairs that are proved."""
