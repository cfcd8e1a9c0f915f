"""Versions of the tools, and features of the machine, that can influence a result."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TOOLS = ("rnnexport", "torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy")
CPU_FEATURES = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
)


def machine() -> dict[str, str]:
    """Return the CPU's name, those of `CPU_FEATURES` that it has, and how many cores this process may use."""
    fields = _cpu_info()
    present = set(fields.get("flags", "").split())
    return {
        "cpu": fields.get("model name", "unknown"),
        "features": " ".join(feature for feature in CPU_FEATURES if feature in present),
        "cores": str(len(os.sched_getaffinity(0))),
    }


def available_memory() -> int:
    """Bytes that this machine can still give, by Linux's own estimate; the largest number where nothing says so."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return sys.maxsize


def lacks_vnni() -> bool:
    """Whether this is an x86 CPU without VNNI, on which products of u8 and s8 saturate; false where nothing says so."""
    flags = _cpu_info().get("flags", "")
    return bool(flags) and "vnni" not in flags


def _cpu_info() -> dict[str, str]:
    """What Linux says of the first core; nothing where it can't be read."""
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    return fields


def tool_versions() -> dict[str, str]:
    """Return the version of each of `TOOLS` that is installed."""
    versions = {}
    for tool in TOOLS:
        try:
            versions[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return versions
