"""All hypotheses: every class of this folder that is a `Hypothesis`."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

from rnnexport.parity.hypothesis import Hypothesis


def all_hypotheses() -> list[Hypothesis]:
    """Return one of each hypothesis, by name."""
    modules = [import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    classes = {
        member
        for module in modules
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Hypothesis) and member.__module__ == module.__name__
    }
    return sorted((kind() for kind in classes), key=lambda hypothesis: hypothesis.name)
