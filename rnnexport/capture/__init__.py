"""PyTorch to ONNX, one fused node per recurrent layer."""
