"""How a command ends: one message on stderr and an exit status, whatever happened.

Statuses: those of `rnnexport.errors`; 128 and the signal's number where it was ended by one, as shells have it; 70 for
a fault of rnnexport itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from rnnexport.cli.output import forget, say
from rnnexport.errors import InterruptedBySignal, RnnexportError

DEBUG_VARIABLE = "RNNEXPORT_DEBUG"
_INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_to_the_end(command: Callable[[], int | None]) -> int:
    """Run `command`, print one message where it fails, and return the exit status."""
    try:
        with _safe_streams(), _signals_as_exceptions():
            status = _run(command)
            sys.stdout.flush()
            return status
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        forget(sys.stdout)
        return 128 + signal.SIGPIPE
    except InterruptedBySignal as exc:  # at any moment: while modules are imported, too
        name = signal.Signals(exc.number).name
        return _say("interrupted" if exc.number == signal.SIGINT else f"ended by {name}", 128 + exc.number)
    except KeyboardInterrupt:
        return _say("interrupted", 128 + signal.SIGINT)


def _run(command: Callable[[], int | None]) -> int:
    import typer

    try:
        if wrong := [argument for argument in sys.argv if not _is_text(argument)]:
            return _say(f"the argument {wrong[0]!a} is not UTF-8; rename the file", 2)
        return command() or 0
    except typer.Exit as exc:
        return exc.exit_code
    except RnnexportError as exc:
        return _say(str(exc), exc.exit_status)
    except BrokenPipeError:
        raise
    except OSError as exc:
        where = f" {exc.filename!r}" if exc.filename else ""
        return _say(f"{exc.strerror or exc}{where}", 2)
    except MemoryError as exc:
        what = (str(exc).splitlines() or [""])[0] or "this takes more memory than there is"
        return _say(f"{what}; ask for smaller sizes", 2)
    except SystemExit as exc:  # a library that ends the process is no success
        if isinstance(exc.__context__, BrokenPipeError):  # Typer's own way with `| head`
            raise exc.__context__ from None
        if exc.code == 0 and _by_typer(exc):  # the shell's question after Tab is answered
            return 0
        return exc.code if isinstance(exc.code, int) and exc.code else _say(f"ended by a library: {exc.code}", 2)
    except Exception as exc:
        if hasattr(exc, "format_message"):  # a usage error, of a class that differs between versions of Typer
            return _usage(exc)
        if os.environ.get(DEBUG_VARIABLE):
            raise
        cause = exc.__cause__ if isinstance(exc, typer.Abort) and exc.__cause__ else exc  # which was an EOFError
        what = (str(cause).splitlines() or [""])[0]
        return _say(
            f"a fault in rnnexport itself: {type(cause).__name__}: {what}\n"
            f"set {DEBUG_VARIABLE}=1 to see where, and please report it",
            _INTERNAL_ERROR,
        )


def _usage(exc: Any) -> int:
    """Say in one line what is wrong with the call; a call without a command prints the help."""
    context = getattr(exc, "ctx", None)
    message = exc.format_message()
    if context is None:
        return _say(message, exc.exit_code)
    if type(exc).__name__ == "NoArgsIsHelpError":
        print(message)
        return int(exc.exit_code)
    return _say(f"{message.rstrip('.')}; see: {context.command_path} --help", exc.exit_code)


def _say(message: str, status: int) -> int:
    with contextlib.suppress(OSError):  # a reader that is gone
        sys.stdout.flush()
    say(f"rnnexport: {message}")
    return status


def _by_typer(exc: SystemExit) -> bool:
    """Whether Typer's own code ended the process, and not what a command called."""
    *_, (frame, _) = traceback.walk_tb(exc.__traceback__)
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "typer"


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def _safe_streams() -> Iterator[None]:
    """Have all three streams open, so that no file takes their numbers, and able to print every character."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    yield


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGHUP clean up as Ctrl-C does; what the parent had ignored, as nohup does, stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # the clean-up is not to be interrupted
        raise InterruptedBySignal(number)

    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number in _ENDING if (handler := signal.getsignal(number)) in usual}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
