"""What is known to go wrong on machines and in installations, and what mends it.

To add one: a function here that takes the facts and yields a conflict where there is one, named in `_KNOWN`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from pydantic import BaseModel

from rnnexport.environment.installation import Facts

_GPU_PACKAGE = "onnxruntime-gpu"


class Conflict(BaseModel):
    """One thing that is amiss."""

    level: Literal["error", "warning", "note"]
    """`error`: something does not work; `warning`: figures are worse than they could be; `note`: good to know."""
    what: str
    remedy: str


def conflicts(facts: Facts) -> list[Conflict]:
    """Return what is amiss, the worst first."""
    found = [conflict for known in _KNOWN for conflict in known(facts)]
    return sorted(found, key=lambda conflict: ("error", "warning", "note").index(conflict.level))


def _two_onnxruntimes(facts: Facts) -> Iterator[Conflict]:
    if {"onnxruntime", _GPU_PACKAGE} <= facts.versions.keys():
        yield Conflict(
            level="error",
            what="onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files",
            remedy="pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
        )


def _unmet_requirements(facts: Facts) -> Iterator[Conflict]:
    for sentence in facts.unmet:
        wanted = sentence.partition(" needs ")[2].rpartition(", not ")[0]
        yield Conflict(level="error", what=sentence, remedy=f"pip install '{wanted}'")


def _old_libstdcxx(facts: Facts) -> Iterator[Conflict]:
    """A library of conda's or of LD_LIBRARY_PATH in place of the system's, older than what a wheel was built for."""
    for status in facts.runtimes:
        reason = status.availability.reason or ""
        if "GLIBCXX_" in reason or "CXXABI_" in reason:
            yield Conflict(
                level="error",
                what=f"runtime {status.definition.name!r} needs a newer libstdc++: {reason}",
                remedy="unset LD_LIBRARY_PATH, or in conda: conda install -c conda-forge 'libstdcxx-ng>=12'",
            )


def _protobuf_in_python(facts: Facts) -> Iterator[Conflict]:
    if facts.variables.get("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION") == "python":
        yield Conflict(
            level="warning",
            what="protobuf runs in Python, so that ONNX files are read many times more slowly",
            remedy="unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION",
        )


def _gpu_unused(facts: Facts) -> Iterator[Conflict]:
    if facts.nvidia_driver and _GPU_PACKAGE not in facts.versions:
        yield Conflict(
            level="note",
            what="there is an NVIDIA GPU, and this onnxruntime runs on the CPU only",
            remedy="pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
        )


def _gpu_incomplete(facts: Facts) -> Iterator[Conflict]:
    if _GPU_PACKAGE not in facts.versions:
        return
    if not facts.nvidia_driver:
        yield Conflict(
            level="warning",
            what="onnxruntime-gpu is installed, and there is no NVIDIA driver",
            remedy="install NVIDIA's driver, start the container with --gpus all, or: "
            "pip uninstall -y onnxruntime-gpu && pip install onnxruntime",
        )
    elif not facts.cudnn:
        yield Conflict(
            level="error",
            what="onnxruntime-gpu is installed, and cuDNN is not, which runs its recurrent layers",
            remedy="pip install 'onnxruntime-gpu[cuda,cudnn]'",
        )


def _throttled(facts: Facts) -> Iterator[Conflict]:
    if facts.cpu_quota is not None and facts.cpu_quota < facts.cores:
        threads = max(1, int(facts.cpu_quota))
        yield Conflict(
            level="warning",
            what=f"the container shows {facts.cores} cores and grants the time of {facts.cpu_quota:g}: runtimes start "
            "a thread for each core, and all are stopped when the time is used up",
            remedy=f"threads = {threads} in the runtime's definition, or start the container with --cpuset-cpus",
        )


def _governor(facts: Facts) -> Iterator[Conflict]:
    if slow := [governor for governor in facts.governors if governor != "performance"]:
        yield Conflict(
            level="warning",
            what=f"the CPU's frequency is governed by {' and '.join(slow)}, so that latencies are unsteady",
            remedy="sudo cpupower frequency-set -g performance",
        )


def _limited_instructions(facts: Facts) -> Iterator[Conflict]:
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        if name in facts.variables:
            yield Conflict(
                level="warning",
                what=f"{name}={facts.variables[name]} keeps OpenVINO and PyTorch from newer instructions",
                remedy=f"unset {name}",
            )


def _few_instructions(facts: Facts) -> Iterator[Conflict]:
    if "x86_64" not in facts.platform:
        yield Conflict(
            level="warning",
            what="this is no x86-64 CPU, on which alone rnnexport is tested",
            remedy="verify each model here before its figures are relied on",
        )
    elif "avx2" not in facts.features:
        yield Conflict(
            level="warning",
            what="the CPU has no AVX2, or the virtual machine hides it; products are several times slower",
            remedy="let the virtual machine pass the host's CPU through",
        )
    elif not {"avx512_vnni", "avx_vnni"} & {*facts.features}:
        yield Conflict(
            level="note",
            what="the CPU has no VNNI, so that some products of 8 bits saturate",
            remedy="judge quantized models here: rnnexport tune does",
        )


def _fork(facts: Facts) -> Iterator[Conflict]:
    if facts.start_method == "fork":
        yield Conflict(
            level="note",
            what="multiprocessing forks; a model of OpenVINO or ONNX Runtime that was loaded before waits for ever in "
            "the child",
            remedy="load models after the fork, or: multiprocessing.set_start_method('spawn')",
        )


_KNOWN: tuple[Callable[[Facts], Iterator[Conflict]], ...] = (
    *(_two_onnxruntimes, _unmet_requirements, _old_libstdcxx, _protobuf_in_python, _gpu_unused, _gpu_incomplete),
    *(_throttled, _governor, _limited_instructions, _few_instructions, _fork),
)
