"""All rules: every class of this folder that is a `Rule`."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

from rnnexport.linting.rule import Rule


def all_rules() -> list[Rule]:
    """Return one of each rule, by name."""
    modules = [import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    classes = {
        member
        for module in modules
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Rule) and member.__module__ == module.__name__ and not inspect.isabstract(member)
    }
    return sorted((kind() for kind in classes), key=lambda rule: rule.name)
