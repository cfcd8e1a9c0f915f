"""`rnnexport doctor`: what is said of this machine holds, and every known conflict is found where it is."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from rnnexport.engines.contract import Availability, Definition
from rnnexport.environment.conflicts import conflicts
from rnnexport.environment.doctor import DoctorReport
from rnnexport.environment.installation import Facts
from rnnexport.report.doctor import doctor_text
from rnnexport.runtime.definitions import RuntimeStatus
from tests.command_line import Run

SOUND = Facts(
    platform="Linux 6.1, x86_64, glibc 2.36",
    python="3.12.1",
    libstdcxx="GLIBCXX_3.4.30",
    cpu="a CPU",
    features=["avx2", "avx512_vnni"],
    cores=8,
    physical_cores=4,
    cpu_quota=None,
    governors=["performance"],
    memory_available=2**34,
    memory_limit=None,
    nvidia_driver=None,
    cudnn=False,
    start_method="spawn",
    variables={},
    versions={"onnxruntime": "1.32.0"},
    unmet=[],
    runtimes=[],
)
GPU = {"versions": {"onnxruntime-gpu": "1.32.0"}}
OLD_LIBRARY = RuntimeStatus(
    definition=Definition(name="ort-cpu", engine="onnxruntime", precision="float32"),
    availability=Availability(False, None, reason="version `GLIBCXX_3.4.32' not found (required by onnxruntime)"),
)


@pytest.mark.parametrize(
    ("changed", "level", "what", "remedy"),
    [
        ({"versions": {"onnxruntime": "1", "onnxruntime-gpu": "1"}, "nvidia_driver": "1", "cudnn": True}, "error",
         "overwrite each other", "pip uninstall"),
        ({"unmet": ["onnx 1.23.2 needs protobuf>=4.25.1, not 3.20.3"]}, "error",
         "onnx 1.23.2 needs protobuf>=4.25.1, not 3.20.3", "pip install 'protobuf>=4.25.1'"),
        ({"runtimes": [OLD_LIBRARY]}, "error", "runtime 'ort-cpu' needs a newer libstdc", "unset LD_LIBRARY_PATH"),
        ({"variables": {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}}, "warning", "protobuf runs in", "unset"),
        ({"nvidia_driver": "580.1"}, "note", "this onnxruntime runs on the CPU only", "pip install onnxruntime-gpu"),
        (GPU, "warning", "there is no NVIDIA driver", "--gpus all"),
        (GPU | {"nvidia_driver": "580.1"}, "error", "cuDNN is not", "onnxruntime-gpu[cuda,cudnn]"),
        ({"cpu_quota": 1.5}, "warning", "shows 8 cores and grants the time of 1.5", "threads = 1"),
        ({"governors": ["powersave"]}, "warning", "governed by powersave", "cpupower"),
        ({"variables": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}, "warning", "ONEDNN_MAX_CPU_ISA=AVX2 keeps", "unset ONEDNN"),
        ({"features": []}, "warning", "no AVX2", "virtual machine"),
        ({"features": ["avx2"]}, "note", "no VNNI", "rnnexport tune"),
        ({"platform": "Linux 6.1, aarch64"}, "warning", "no x86-64", "verify"),
        ({"start_method": "fork"}, "note", "multiprocessing forks", "set_start_method('spawn')"),
    ],
)  # fmt: skip
def test_a_known_conflict_is_found_with_its_remedy(changed: dict[str, Any], level: str, what: str, remedy: str) -> None:
    assert conflicts(SOUND) == []
    facts = SOUND.model_copy(update=changed)
    (found,) = conflicts(facts)
    assert found.level == level
    assert what in found.what
    assert remedy in found.remedy
    report = DoctorReport(facts=facts, conflicts=[found])
    assert report.exit_status == (1 if level == "error" else 0)
    text = doctor_text(report)
    assert f"{level}: {found.what.split()[0]}" in text
    assert all(len(line) <= 80 for line in text.splitlines() if " " in line.strip())


def test_what_works_with_gpu_and_cudnn_is_no_conflict() -> None:
    whole = GPU | {"nvidia_driver": "580.1", "cudnn": True}
    assert conflicts(SOUND.model_copy(update=whole)) == []


def test_doctor_says_what_this_machine_is_and_no_name_of_a_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/home/somebody/lib")
    found = json.loads(run("doctor", "--json").out)["facts"]
    assert found["cores"] == len(os.sched_getaffinity(0))
    names = {status["definition"]["name"]: status["availability"] for status in found["runtimes"]}
    assert names["ort-cpu"]["usable"]
    assert re.fullmatch(r"GLIBCXX_3\.4\.\d+", found["libstdcxx"])
    assert found["variables"]["LD_LIBRARY_PATH"] == "set"
    outcome = run("doctor")
    assert "ort-cpu: usable, onnxruntime" in outcome.out
    assert not re.search(rf"{re.escape(str(Path.home()))}|somebody", outcome.out)
