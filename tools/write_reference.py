"""Writes the pages of the site that come from the code: commands, lint rules and fault models.

    python -m tools.write_reference docs/reference

The settings of the site call it at each build, so these pages cannot fall behind the code.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from rnnexport.cli.app import COMMANDS, load_command
from rnnexport.linting.loading import LOADS
from rnnexport.linting.rule import Rule
from rnnexport.linting.rules import all_rules
from rnnexport.parity.diagnosis.fault_model import FaultModel
from rnnexport.parity.diagnosis.fault_models import all_fault_models
from rnnexport.parity.static_axis import REMEDY as STATIC_REMEDY


def write_reference(folder: Path) -> None:
    """Write `commands.md`, `rules.md` and `fault-models.md` into `folder`."""
    for name, lines in (("commands", _commands()), ("rules", _rules()), ("fault-models", _fault_models())):
        text = "\n".join(lines) + "\n"
        page = folder / f"{name}.md"
        if not page.exists() or page.read_text(encoding="utf-8") != text:  # an equal page is not built again
            page.write_text(text, encoding="utf-8")


def _commands() -> Iterator[str]:
    yield "# Commands"
    yield "What `rnnexport COMMAND --help` prints, for all commands on one page."
    for name in COMMANDS:
        command = load_command(name)
        options = [each for each in command.params if each.opts[0].startswith("-") and not each.hidden]
        arguments = [each for each in command.params if each not in options and not each.hidden]
        usage = " ".join(["rnnexport", name, *(_metavar(each) for each in arguments), "[OPTIONS]"])
        yield f"\n## {name}\n\n```text\n{usage}\n```\n"
        yield _paragraphs(command.help or "")
        for argument in arguments:
            yield f"\n`{_metavar(argument)}`: {_text(argument.help)}"
        for panel, group in groupby(options, key=lambda each: each.rich_help_panel or "Options"):
            yield f"\n### {name}: {panel.lower()}\n\n| option | value | what it does |\n|---|---|---|"
            for option in group:
                flags = ", ".join(f"`{flag}`" for flag in [*option.opts, *option.secondary_opts])
                yield f"| {flags} | {_value(option)} | {_text(option.help)}{_default(option)} |"


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    several = f"{name}..." if argument.nargs == -1 else name
    return several if argument.required else f"[{several}]"


def _value(option: Any) -> str:
    if option.is_flag:
        return ""
    kind = option.type_descriptor.annotation
    kinds = (
        [each for each in get_args(kind) if each is not NoneType]
        if get_origin(kind) in (list, Union, UnionType)
        else [kind]
    )
    kind = kinds[0]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    return {Path: "a path", str: "a text", int: "a whole number", float: "a number"}.get(kind, kind.__name__)


def _default(option: Any) -> str:
    return f" Default: `{option.default}`." if option.show_default and option.default not in (None, False) else ""


def _text(text: str | None) -> str:
    return " ".join((text or "").replace("\\[", "[").replace("|", "\\|").replace("<", "&lt;").split())


def _paragraphs(text: str) -> str:
    """A command's help: lines are joined, and what stands behind `Example:` is code."""
    paragraphs = [" ".join(each.replace("\\[", "[").split()) for each in text.split("\n\n")]
    return "\n\n".join(re.sub(r"^Example: (.+)$", r"```text\n\1\n```", each) for each in paragraphs)


def _rules() -> Iterator[str]:
    yield "# Lint rules"
    yield "What [`rnnexport lint`](commands.md#lint) looks for in an ONNX file. *error*: some runtime computes"
    yield "something else or nothing; *warning*: it may; *note*: good to know, and no reason for a bad status.\n"
    rules = all_rules()
    yield "| rule | severity | finds | repair |\n|---|---|---|---|"
    for rule in rules:
        yield f"| [`{rule.name}`](#{rule.name}) | {rule.severity} | {rule.title} | {'yes' if rule.repair() else ''} |"
    yield f"| `{LOADS}` | error | a runtime does not load the file; its own words are printed |  |"
    for rule in rules:
        yield from _rule(rule)


def _rule(rule: Rule) -> Iterator[str]:
    found, example = _documented(type(rule))
    yield f"\n## {rule.name}\n\n**{rule.severity}**: {rule.title}.\n\n{found}\n\n### {rule.name}: why it matters\n"
    for runtime, consequence in rule.consequences.items():
        yield f"* {runtime}: {consequence}."
    yield f"\n### {rule.name}: example\n\n```text\n{example}\n```\n\n### {rule.name}: repair\n"
    if rule.repair() is None:
        yield "There is none that a tool can make: export the model again."
    else:
        yield f"`rnnexport lint FILE --fix -o OUT`. {inspect.getdoc(rule.repair)}"
        if rule.changes_results:
            yield "The repaired file gives other numbers than this one, on purpose."


def _fault_models() -> Iterator[str]:
    yield "# Fault models"
    yield "Where a runtime or a file is wrong, [`rnnexport verify`](commands.md#verify) lets each of these predict"
    yield "what its fault would make of the wrong calls, and names the one that explains the numbers."
    for fault_model in all_fault_models():
        yield from _fault_model(fault_model)
    yield "\n## time or batch axis frozen\n\nThe calls pass at one size of that axis only: the size of the example.\n"
    yield f"What to do: {STATIC_REMEDY}."


def _fault_model(fault_model: FaultModel) -> Iterator[str]:
    found, example = _documented(type(fault_model))
    yield f"\n## {fault_model.name}\n\n{found}\n\nExample: {example}\n"
    if variants := [variant.says for variant in fault_model.variants()]:
        yield "Verify says:\n"
        yield from (f"* {says}" for says in variants[:8])
        if len(variants) > 8:
            yield f"* and {len(variants) - 8} more of this kind"
    yield f"\nWhat to do: {fault_model.remedy}."


def _documented(kind: type[Any]) -> tuple[str, str]:
    """What a class says of itself, and its example."""
    documentation, _, example = (inspect.getdoc(kind) or "").partition("\n\nExample:\n")
    if not example:
        raise SystemExit(f"{kind.__module__}: the docstring of {kind.__name__} needs a section 'Example:'")
    return documentation, inspect.cleandoc(example)


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
