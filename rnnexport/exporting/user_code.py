"""A user's module by name: imported because the user named it, and for no other reason."""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rnnexport.errors import InputError, InterruptedBySignal, RnnexportError

if TYPE_CHECKING:
    from torch import nn


@contextlib.contextmanager
def user_code(what: str, error: type[Exception] = InputError, *, ours_too: bool = False) -> Iterator[None]:
    """Keep what the user's code does within the block: its ends become `error`, its prints go to standard error.

    Code that calls `sys.exit(0)` would else end a command with status 0 and nothing done. With `ours_too`, code of
    rnnexport runs in the block as well, so that an `Exception` is not put down to the user.

    Raises:
        error: The code raised, whatever it was.
        KeyboardInterrupt: Somebody pressed Ctrl-C meanwhile.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (InterruptedBySignal, RnnexportError):
        raise
    except BaseException as exc:  # the user's code can raise anything
        if ours_too and isinstance(exc, Exception):
            raise
        by_default_handler = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if isinstance(exc, KeyboardInterrupt) and by_default_handler:
            raise
        message = (str(exc).splitlines() or [""])[0]
        raise error(f"{what}: {type(exc).__name__}{': ' if message else ''}{message}") from exc


def load_module(
    name: str,
    weights: Path | None = None,
    kwargs: Mapping[str, Any] = MappingProxyType({}),
    on_note: Callable[[str], None] = lambda _: None,
) -> nn.Module:
    """Import `package.module:Class`, call it with `kwargs`, and load its weights.

    The class may also be a function that returns a module; a file, as `tagger.py:Tagger`, counts as its module. Modules
    are looked up from the working directory, too.

    Raises:
        InputError: The name cannot be imported, or is no module.
        CheckpointError: The weights cannot be read, or do not fit.
    """
    from torch import nn

    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(f"{name!r} names no module; write it like 'my_package.models:TaggerNet'")
    file = Path(module_name)
    folder = Path.cwd() / file.parent if file.suffix == ".py" else Path.cwd()
    sys.path.insert(0, str(folder))
    try:
        with user_code(f"{name!r} cannot be built"):
            module = importlib.import_module(file.stem if file.suffix == ".py" else module_name)
            found = getattr(module, attribute)
            model = found if isinstance(found, nn.Module) and not kwargs else found(**kwargs)
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
    if not isinstance(model, nn.Module):
        raise InputError(f"{name!r} gives a {type(model).__name__}, not a torch.nn.Module")
    if weights is not None:
        from rnnexport.exporting.weights import load_weights

        with user_code(f"{name!r} does not take its weights"):
            prefix = load_weights(model, weights, name)
        if prefix:
            on_note(f"the names of the weights in {weights} begin with {prefix!r}, which is left out")
    return model
