"""Recurrent networks from PyTorch to ONNX Runtime and OpenVINO, proven and measured."""
