"""The flags of `rnnexport bench`: which scenario takes which, and what was given as its options.

A flag that several scenarios take is one flag, whose help says what it means in each.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

from annotated_doc import Doc

from rnnexport.arguments.options import plain_type
from rnnexport.benchmark.options import (
    BareLayerOptions,
    LatencyOptions,
    MixOptions,
    ServerOptions,
    StreamingOptions,
    SweepOptions,
    ThroughputOptions,
)
from rnnexport.cli.commands import flag_help, flag_type, offered_fields, parameter, read
from rnnexport.cli.flags import flag_of
from rnnexport.cli.options import one_number, share, words
from rnnexport.errors import InputError

Options = TypeVar("Options")
LATENCY, LAYERS = "latency", "bare layers"


@dataclass(frozen=True)
class PlotOptions:
    """Of scenarios whose rows can be drawn."""

    plot: Annotated[Path | None, Doc("Draw the rows into this .svg, .png or .pdf file.")] = None


SCENARIOS: dict[str, tuple[Any, ...]] = {
    LATENCY: (LatencyOptions, PlotOptions),
    "throughput": (ThroughputOptions, PlotOptions),
    "streaming": (StreamingOptions,),
    "server": (ServerOptions,),
    "mix": (MixOptions,),
    LAYERS: (BareLayerOptions, SweepOptions, PlotOptions),
}
"""The options of each scenario; bare layers are the scenario `latency` without bundles."""
_OWN = ("bundles", "runtimes")
"""What the command takes for all scenarios."""


def _read_lengths(flag: str, path: Path) -> list[int]:
    from rnnexport.benchmark.mix import read_lengths

    return read_lengths(path)


@dataclass(frozen=True)
class Written:
    """An option whose flag takes words that are no value yet."""

    kind: Any
    read: Callable[[str, Any], Any]
    help: str
    default: str = ""


_WRITTEN = {
    "fail_over": Written(
        str,
        share,
        "Status 1 where a compared row is slower by more than this.",
        "5% with --compare, none with --against",
    ),
    "lengths": Written(Path, _read_lengths, "A file of time steps to draw from.", "those of the bundle's own series"),
    "cells": Written(list[str], words, "With --hidden-size: lstm, gru or both.", "both"),
}


def _fields(scenario: str) -> dict[str, Field[Any]]:
    """The fields of a scenario's options by flag."""
    found = [field for options in SCENARIOS[scenario] for field in offered_fields("bench", options)]
    return {str(flag_of("bench", field.name)): field for field in found if field.name not in _OWN}


FIELDS = {scenario: _fields(scenario) for scenario in SCENARIOS}
_OF_ALL = set.intersection(*(set(of_one) for of_one in FIELDS.values()))


def parameters() -> list[inspect.Parameter]:
    """Return the parameters from which Typer makes the flags, in groups for `--help`."""
    flags = dict.fromkeys(flag for of_one in FIELDS.values() for flag in of_one)
    return [_parameter({name: FIELDS[name][flag] for name in FIELDS if flag in FIELDS[name]}) for flag in flags]


def _parameter(uses: Mapping[str, Field[Any]]) -> inspect.Parameter:
    """The parameter of one flag, from the field that it is in each scenario that has it."""
    first, *others = uses.values()
    if first.name in _WRITTEN:
        written = _WRITTEN[first.name]
        kind, help_, default = written.kind, written.help, written.default
    else:
        # a flag that takes several values in one scenario is read as a list for all
        first = next((field for field in uses.values() if get_origin(plain_type(field)) is Sequence), first)
        kind = flag_type(first)
        of_all = len(uses) == len(SCENARIOS)
        helps = {name: flag_help(field) for name, field in uses.items()}
        help_ = flag_help(first) if of_all else _by_scenario(helps, named=bool(others))
        default = _by_scenario({name: _default(field) for name, field in uses.items()})
    help_ += f" Default: {default}." if default else ""
    return parameter("bench", first, kind | None, help_, None, rich_help_panel=_panel(list(uses)))


def _panel(scenarios: Sequence[str]) -> str | None:
    """The group of a flag in `--help`; `None` for what all scenarios take."""
    if len(scenarios) == 1:
        return f"Scenario {scenarios[0]}"
    return "Several scenarios" if len(scenarios) < len(SCENARIOS) else None


def _by_scenario(texts: Mapping[str, str], *, named: bool = False) -> str:
    """Say each text once, with the scenarios that it is for where they differ, or where they are to be `named`."""
    together = {text: [name for name in texts if texts[name] == text] for text in texts.values() if text}
    if len(together) == 1 and not named:
        return next(iter(together))
    separator = " " if named else "; "
    return separator.join(f"{', '.join(names)}: {text}" for text, names in together.items())


def _default(field: Field[Any]) -> str:
    """A field's default as one would write it; nothing where it is none, or a flag that is off."""
    if field.default is None or field.default is False:
        return ""
    return ",".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)


def chosen_scenario(scenario: str, given: Mapping[str, Any]) -> str:
    """Return the scenario that is meant, once it is sure that it takes each flag that was given.

    Raises:
        InputError: It does not take one of them.
    """
    alone = FIELDS[LAYERS].keys() - {flag for name in FIELDS if name != LAYERS for flag in FIELDS[name]}
    meant = LAYERS if scenario == LATENCY and alone & given.keys() else scenario
    surplus = sorted(given.keys() - FIELDS[meant].keys())
    if surplus and meant == LAYERS and surplus[0] in FIELDS[LATENCY]:
        raise InputError(f"{surplus[0]} is for bundles, not for bare layers; leave it out")
    if surplus:
        taken = FIELDS[meant].keys() | (alone if scenario == LATENCY else set())
        takes = ", ".join(sorted(taken - _OF_ALL))
        raise InputError(f"{surplus[0]} is no option of --scenario {scenario}, which takes: {takes}")
    return meant


def options_of(options: Callable[..., Options], given: Mapping[str, Any], **more: Any) -> Options:
    """Return what was given as options of this class, with `more`, which no flag gives.

    Raises:
        InputError: A value is no number, list or percentage where it should be one, or out of bounds.
    """
    named = {field.name: (str(flag_of("bench", field.name)), field) for field in offered_fields("bench", options)}
    return options(
        **{name: _read(flag, field, given[flag]) for name, (flag, field) in named.items() if flag in given}, **more
    )


def _read(flag: str, field: Field[Any], value: Any) -> Any:
    if field.name in _WRITTEN:
        return _WRITTEN[field.name].read(flag, value)
    if isinstance(value, list) and plain_type(field) is int:
        return one_number(flag, value)
    return read("bench", field, value)
