"""Recurrent layers of an ONNX file in a form that runs faster or takes less room."""
