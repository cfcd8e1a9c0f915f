"""Recurrent networks from PyTorch to ONNX Runtime and OpenVINO, proven and measured.

    import rnnexport

    rnnexport.train(cell="gru")
    rnnexport.export("checkpoints/vowels-gru", out="exported/gru")
    rnnexport.verify("exported/gru").passed
    rnnexport.load("exported/gru")([series])    # class probabilities

The functions are imported when they are first used: `import rnnexport` alone loads neither PyTorch nor a runtime.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rnnexport.onnx_files.collector import few_collections

if TYPE_CHECKING:
    from rnnexport.benchmark.benchmark import bench
    from rnnexport.exporting.export import export
    from rnnexport.parity.verify import verify
    from rnnexport.predicting.predictor import load
    from rnnexport.training.training import train
    from rnnexport.tuning.tune import tune

__all__ = ["bench", "export", "load", "train", "tune", "verify"]

_HOMES = {
    "bench": "rnnexport.benchmark.benchmark",
    "export": "rnnexport.exporting.export",
    "load": "rnnexport.predicting.predictor",
    "train": "rnnexport.training.training",
    "tune": "rnnexport.tuning.tune",
    "verify": "rnnexport.parity.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rnnexport' has no attribute {name!r}")
    with few_collections():
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
