"""A command from a function: options of the library become flags, its errors speak of flags."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from annotated_types import Ge

from rnnexport.arguments.options import meaning, metadata, plain_type
from rnnexport.cli.completion import COMPLETIONS
from rnnexport.cli.flags import flag_of, in_flags
from rnnexport.cli.options import numbers
from rnnexport.errors import RnnexportError
from rnnexport.results.invocation import invoked_as

SHORT = {"runtimes": "-r"}


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Return the command that `function` is.

    In place of a parameter whose type is a dataclass of options, the command has a flag for each field of it that is no
    parameter of the function's own, and the function is given the dataclass.
    """
    name = function.__name__
    own = inspect.signature(function, eval_str=True).parameters
    models: dict[str, Any] = {each.name: each.annotation for each in own.values() if is_dataclass(each.annotation)}
    offered = {each: offered_fields(name, model) for each, model in models.items()}
    taken = {field.name for of_model in offered.values() for field in of_model}
    parameters: list[inspect.Parameter] = []
    for parameter in own.values():
        if parameter.name in offered:
            parameters += [own.get(field.name) or flag_parameter(name, field) for field in offered[parameter.name]]
        elif parameter.name not in taken:
            parameters.append(parameter)

    @wraps(function)
    def run(**given: Any) -> None:
        values = {each: given[each] for each in own if each in given}
        try:
            for each, model in models.items():
                chosen = [field for field in offered[each] if field.name not in own]
                values[each] = model(**{field.name: read(name, field, given[field.name]) for field in chosen})
            with invoked_as(shlex.join(["rnnexport", *sys.argv[1:]])):
                function(**values)
        except RnnexportError as error:
            error.args = (in_flags(name, str(error)),)
            raise

    run.__doc__ = _no_markup(function.__doc__ or "")
    for parameter in parameters:
        for info in getattr(parameter.annotation, "__metadata__", ()):
            info.help = _no_markup(info.help or "")
            info.autocompletion = COMPLETIONS.get(parameter.name)
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    return run


def with_parameters(more: Sequence[inspect.Parameter]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a function that takes any keywords a signature with these."""

    def give(function: Callable[..., None]) -> Callable[..., None]:
        *own, _ = inspect.signature(function, eval_str=True).parameters.values()
        keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *more)]
        function.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
        return function

    return give


def offered_fields(command_name: str, options: Any) -> list[Field[Any]]:
    """Return the fields of a dataclass that have a flag."""
    return [
        field
        for field in fields(options)
        if field.init and flag_of(command_name, field.name) and get_origin(plain_type(field)) is not Callable
    ]


def flag_parameter(command_name: str, field: Field[Any]) -> inspect.Parameter:
    """Return the parameter from which Typer makes a field's flag."""
    default = None if field.default in (MISSING, ()) else field.default
    return parameter(command_name, field, flag_type(field), flag_help(field), default)


def flag_type(field: Field[Any]) -> Any:
    """Return the type that Typer reads a field's flag as."""
    kind = plain_type(field)
    if get_origin(kind) is Sequence:
        return list[str] | None
    return Path | None if Path in get_args(kind) else kind


def flag_help(field: Field[Any]) -> str:
    """Return what a field means and, where it takes several values, how they are written."""
    kind = plain_type(field)
    if get_origin(kind) is not Sequence:
        return meaning(field)
    first, *rest = meaning(field).split(". ")
    several = "one or several, like 1,4,16" if get_args(kind)[0] is int else "repeat it for several"
    return ". ".join([f"{first.rstrip('.')}; {several}" + ("" if rest else "."), *rest])


def parameter(
    command_name: str, field: Field[Any], kind: Any, help_: str, default: Any, **more: Any
) -> inspect.Parameter:
    """Return the parameter of a field's flag, of this type and with this help; `more` is for `typer.Option`."""
    least = next((each.ge for each in metadata(field) if isinstance(each, Ge) and kind != str | None), None)
    flags = filter(None, [flag_of(command_name, field.name), SHORT.get(field.name)])
    help_ = in_flags(command_name, help_)
    option = typer.Option(*flags, help=help_, min=least, show_default=default is not None, **more)  # type: ignore[arg-type]
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def read(command_name: str, field: Field[Any], value: Any) -> Any:
    """Return what was given for a field's flag as a value of its type."""
    if get_origin(plain_type(field)) is not Sequence:
        return value
    if get_args(plain_type(field))[0] is int:
        return numbers(str(flag_of(command_name, field.name)), value or ())
    return tuple(value or ())


def _no_markup(text: str) -> str:
    """Have brackets printed as they are."""
    return re.sub(r"(?<!\\)\[", r"\\[", text)
