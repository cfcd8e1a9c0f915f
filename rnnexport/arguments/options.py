"""Options: each argument of a public function is declared once, as a field of a frozen dataclass.

A field says its bounds and its meaning in its annotation: `Annotated[int, Ge(1), Doc("Time steps of a series.")]`. From
these come the function's signature and docstring, the check of its arguments, and the flags of the command line.

Modules that define options load neither PyTorch nor NumPy, since the command line loads them for `--help`. They do not
postpone the evaluation of annotations, so that `dataclasses.fields` has them as objects.
"""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, TypeVar, get_args, get_origin, overload

from annotated_doc import Doc
from annotated_types import Ge, Gt, Lt

from rnnexport.arguments.notebook_progress import in_notebook, progress_line
from rnnexport.errors import InputError, UnknownNameError
from rnnexport.results.invocation import invoked_as

P = ParamSpec("P")
Chosen = TypeVar("Chosen")
Subject = TypeVar("Subject")
Result = TypeVar("Result")


def silent(message: str) -> None:
    """Tell nobody."""


Runtimes = Annotated[
    Sequence[str | Path],
    Doc("A runtime's name (see `rnnexport runtimes`) or a .toml file. Default: every usable float32 runtime."),
]
Seed = Annotated[int, Ge(0), Doc("Seed of everything that is drawn.")]
OnProgress = Annotated[Callable[[str], None], Doc("Is told what is done next.")]


@dataclass(frozen=True)
class Options:
    """What the options of all functions have in common: bounds and choices are checked when they are made.

    Raises:
        InputError: A value is out of its bounds.
        UnknownNameError: A word is none of those to choose from.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and (known := choices(field)) and value not in known:
                raise UnknownNameError(f"`{field.name}`", value, known)
            for bound in metadata(field) if value is not None else ():
                if isinstance(bound, Ge) and not value >= bound.ge:
                    raise InputError(f"`{field.name}` is {value}; it must be at least {bound.ge}")
                if isinstance(bound, Gt) and not value > bound.gt:
                    raise InputError(f"`{field.name}` is {value}; it must be above {bound.gt}")
                if isinstance(bound, Lt) and not value < bound.lt:
                    raise InputError(f"`{field.name}` is {value}; it must be below {bound.lt}")

    def refuse_all_but(self, used: Collection[str], what: str) -> None:
        """Refuse what was given and would be ignored.

        Raises:
            InputError: A field that is none of `used` has not its default; `what` names the case.
        """
        for field in dataclasses.fields(self):
            unchanged = getattr(self, field.name) == field.default or get_origin(plain_type(field)) is Callable
            if field.name not in used and not unchanged:
                raise InputError(f"`{field.name}` is not for {what}; leave it out")


def metadata(field: "dataclasses.Field[Any]") -> tuple[Any, ...]:
    """Bounds and meaning of a field."""
    return getattr(field.type, "__metadata__", ())


def choices(field: "dataclasses.Field[Any]") -> tuple[str, ...]:
    """Return the words that a field may be, where it is one of a few."""
    kind = plain_type(field)
    words = [kind, *get_args(kind)] if get_origin(kind) is not Sequence else []
    return tuple(word for each in words if get_origin(each) is Literal for word in get_args(each))


def meaning(field: "dataclasses.Field[Any]") -> str:
    """Return the text of a field's `Doc`."""
    return next((each.documentation for each in metadata(field) if isinstance(each, Doc)), "")


def plain_type(field: "dataclasses.Field[Any]") -> Any:
    """Return a field's type alone."""
    return get_args(field.type)[0] if get_origin(field.type) is Annotated else field.type


@overload
def with_arguments(
    options: Callable[P, Chosen], function: Callable[[Chosen], Result], name: str
) -> Callable[P, Result]: ...
@overload
def with_arguments(
    options: Callable[P, Chosen], function: Callable[[Subject, Chosen], Result], name: str
) -> Callable[Concatenate[Subject, P], Result]: ...
def with_arguments(options: Any, function: Any, name: str) -> Any:
    """Return `function`, whose last parameter is an options object, as one that takes the options one by one.

    Args:
        options: The dataclass.
        function: Takes nothing or one subject before the options.
        name: Of the new function.
    """
    *subjects, _ = inspect.signature(function).parameters.values()
    fields = dataclasses.fields(options)
    types = {field.name: plain_type(field) for field in fields}
    arguments = [each.replace(annotation=types[each.name]) for each in inspect.signature(options).parameters.values()]
    signature = inspect.signature(function).replace(parameters=[*subjects, *arguments])

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        with invoked_as(_call_text(name, given)), contextlib.ExitStack() as shown:
            if "on_progress" in types and "on_progress" not in given and in_notebook():
                given["on_progress"] = shown.enter_context(progress_line(name))
            return function(*[given.pop(subject.name) for subject in subjects], options(**given))

    call.__name__ = call.__qualname__ = name
    call.__signature__ = signature  # type: ignore[attr-defined]
    what, raises, errors = (inspect.getdoc(function) or "").partition("\n\nRaises:")
    lines = "".join(f"\n    {field.name}: {meaning(field)}" for field in fields)
    call.__doc__ = f"{what}\n\nArgs:{lines}{raises}{errors}"
    return call


def _call_text(name: str, given: dict[str, Any]) -> str:
    """Return a call as one would type it, without what cannot be typed, such as a module or a function."""
    typed = {each: value for each, value in given.items() if not callable(value)}
    values = {each: str(value) if isinstance(value, Path) else value for each, value in typed.items()}
    return f"rnnexport.{name}({', '.join(f'{each}={value!r}' for each, value in values.items())})"
