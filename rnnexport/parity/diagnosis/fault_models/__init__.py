"""All fault models: every class of this folder that is a `FaultModel`."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

from rnnexport.parity.diagnosis.fault_model import FaultModel


def all_fault_models() -> list[FaultModel]:
    """Return one of each fault model, by name."""
    modules = [import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    classes = {
        member
        for module in modules
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, FaultModel) and member.__module__ == module.__name__
    }
    return sorted((kind() for kind in classes), key=lambda fault_model: fault_model.name)
