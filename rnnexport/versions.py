"""Versions of the tools that can influence a result."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

TOOLS = ("rnnexport", "torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy")


def tool_versions() -> dict[str, str]:
    """Return the version of each of `TOOLS` that is installed."""
    versions = {}
    for tool in TOOLS:
        try:
            versions[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return versions
