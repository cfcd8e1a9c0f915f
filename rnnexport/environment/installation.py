"""What this machine and this installation are, as far as results depend on it; no names of people, hosts or folders."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from pydantic import BaseModel

from rnnexport.benchmark.machine import usable_cores
from rnnexport.runtime.definitions import RuntimeStatus, runtime_statuses
from rnnexport.versions import TOOLS, available_memory, machine, tool_versions

_OTHER_TOOLS = ("protobuf", "pydantic", "typer", "scipy", "safetensors", "lightning", "h5py", "pandas", "matplotlib")
_VARIABLES = (
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
    *("CUDA_VISIBLE_DEVICES", "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"),
)
_PATHS = ("LD_LIBRARY_PATH", "LD_PRELOAD")
"""Variables of which it matters that they are set; what they hold is nobody's business."""
_CGROUP = Path("/sys/fs/cgroup")
_CPU = Path("/sys/devices/system/cpu")


class Facts(BaseModel):
    """What was found."""

    platform: str
    python: str
    libstdcxx: str | None
    """The newest version of its symbols, such as `GLIBCXX_3.4.30`; `None` where the library is not found."""
    cpu: str
    features: list[str]
    cores: int
    """Logical ones that this process may use."""
    physical_cores: int
    cpu_quota: float | None
    """Cores' worth of time that the container grants; `None`: no limit."""
    governors: list[str]
    """Of the CPU's frequency; empty where the kernel does not say."""
    memory_available: int
    memory_limit: int | None
    """Bytes that the container grants; `None`: no limit."""
    nvidia_driver: str | None
    cudnn: bool
    """Whether pip installed cuDNN, or the system's loader finds it."""
    start_method: str
    """By which multiprocessing starts a process."""
    variables: dict[str, str]
    """Those of the environment that runtimes read."""
    versions: dict[str, str]
    unmet: list[str]
    """Requirements of installed tools that what is installed does not meet, in sentences."""
    runtimes: list[RuntimeStatus]


def gather() -> Facts:
    """Look at everything; nothing is started but the question to each runtime whether it works."""
    found = machine()
    runtimes = runtime_statuses()
    return Facts(
        platform=f"{platform.system()} {platform.release()}, {platform.machine()}, {' '.join(platform.libc_ver())}",
        python=platform.python_version(),
        libstdcxx=_libstdcxx(),
        cpu=found["cpu"],
        features=found["features"].split(),
        cores=int(found["cores"]),
        physical_cores=usable_cores(),
        cpu_quota=_cpu_quota(),
        governors=sorted({_text(path) for path in _CPU.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {""}),
        memory_available=available_memory(),
        memory_limit=_memory_limit(),
        nvidia_driver=_nvidia_driver(),
        cudnn=_has_cudnn(),
        start_method=multiprocessing.get_context().get_start_method(),
        variables={name: os.environ[name] for name in _VARIABLES if name in os.environ}
        | {name: "set" for name in _PATHS if os.environ.get(name)},
        versions=tool_versions() | {name: there for name in _OTHER_TOOLS if (there := _version(name))},
        unmet=[*_unmet()],
        runtimes=runtimes,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _unmet() -> Iterator[str]:
    """Hold what the tools require of each other against what is there; what is missing altogether is not asked."""
    for tool in TOOLS:
        for text in (requires(tool) or ()) if _version(tool) else ():
            requirement = Requirement(text)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            there = _version(requirement.name)
            if wanted and there and not requirement.specifier.contains(there, prereleases=True):
                yield f"{tool} {version(tool)} needs {requirement.name}{requirement.specifier}, not {there}"


def _libstdcxx() -> str | None:
    """Read the library that this process has loaded, which is the one that runtimes get."""
    with contextlib.suppress(OSError):
        paths = re.findall(r"\S*/libstdc\+\+\.so\S*$", _text(Path("/proc/self/maps")), re.MULTILINE)
        if paths:
            found = re.findall(rb"GLIBCXX_(\d+)\.(\d+)\.(\d+)", Path(paths[0]).read_bytes())
            return "GLIBCXX_" + ".".join(map(str, max(tuple(map(int, each)) for each in found))) if found else None
    return None


def _cgroups() -> Iterator[Path]:
    """The folders of the control groups that this process is in, from its own to the outermost."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, place = line.split(":", 2)
        root = _CGROUP / controllers if controllers else _CGROUP
        own = root / place.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def _cpu_quota() -> float | None:
    quotas = []
    for folder in _cgroups():
        words = _text(folder / "cpu.max").split() or [
            _text(folder / "cpu.cfs_quota_us"),
            _text(folder / "cpu.cfs_period_us"),
        ]
        with contextlib.suppress(ValueError, ZeroDivisionError):  # `max`, -1 or no such file
            if (quota := int(words[0])) > 0:
                quotas.append(quota / int(words[1]))
    return min(quotas, default=None)


def _memory_limit() -> int | None:
    limits = []
    for folder in _cgroups():
        with contextlib.suppress(ValueError):
            limits.append(int(_text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")))
    return min((limit for limit in limits if limit < 2**60), default=None)  # version 1 writes 2⁶³ for none


def _nvidia_driver() -> str | None:
    found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", _text(Path("/proc/driver/nvidia/version")))
    return found.group(1) if found else None


def _has_cudnn() -> bool:
    if find_spec("nvidia") is not None and find_spec("nvidia.cudnn") is not None:
        return True
    with contextlib.suppress(OSError):
        return b"libcudnn.so" in Path("/etc/ld.so.cache").read_bytes()
    return False


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
