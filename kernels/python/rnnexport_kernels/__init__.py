"""The shared library with ONNX Runtime's custom operator `rnnexport::RecurrentStack`."""

from pathlib import Path


def library_path() -> Path:
    """Where the shared library is, for `SessionOptions.register_custom_ops_library`."""
    return Path(__file__).with_name("librnnexport_kernels.so")
