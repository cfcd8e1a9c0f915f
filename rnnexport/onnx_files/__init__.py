"""ONNX files and graphs: reading, writing, and facts about operators and values."""
