"""ONNX to ONNX: one rewrite per file."""
