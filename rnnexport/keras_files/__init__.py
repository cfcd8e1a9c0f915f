"""Keras's files, `.keras` and `.h5`, as typed models: read without Keras, evaluated in NumPy, written as ONNX.

Nothing is deserialized: `archive` opens the file, `graph` reads its configuration by an allow-list of classes and of
their options, `weights` joins the arrays to it. `reference` and `writing` know the typed model, not each other.
"""
