"""ONNX operators other than the recurrent ones, in float64: how each is computed, and which are proven to be right."""
