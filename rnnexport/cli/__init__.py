"""The command line: parse, call the library, print.

Whatever is imported is imported after the handlers of signals are in place.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; every error becomes one message on stderr and an exit status."""
    from rnnexport.cli.ending import run_to_the_end

    sys.exit(run_to_the_end(_call))


def _call() -> int | None:
    import logging

    from rnnexport.cli.app import app
    from rnnexport.cli.output import warnings_as_lines
    from rnnexport.onnx_files.lazy_imports import import_rarely_used_lazily

    import_rarely_used_lazily()
    logging.getLogger("onnx_ir").addHandler(logging.NullHandler())  # a file that contradicts itself is named by us
    logging.getLogger("onnx_ir").propagate = False
    with warnings_as_lines():
        status = app(standalone_mode=False)
    return status if isinstance(status, int) else None
