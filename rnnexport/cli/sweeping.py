"""The options of `rnnexport bench` that measure bare layers in place of bundles."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnexport.cli.options import numbers
from rnnexport.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from rnnexport.benchmark.results import BenchReport

_DEFAULT_OUT = Path("bench-sweep.jsonl")
_SIZES: dict[str, list[str]] = {"hidden_size": [], "batch_size": ["1"], "time_steps": ["25"]}
"""Options and their defaults."""


def run_sweep(
    bundles: list[Path],
    runtimes: list[str],
    options: dict[str, Any],
    common: dict[str, Any],
    on_progress: Callable[[str], None],
) -> BenchReport:
    """Measure the shapes that the options name.

    Raises:
        InputError: The options contradict each other, or name no shape.
    """
    from rnnexport.benchmark.deepbench import LayerShape, deepbench_shapes
    from rnnexport.benchmark.sweep import sweep

    if bundles:
        raise InputError(
            f"--shapes and --hidden-size measure layers of their own, not {str(bundles[0])!r}; leave it out"
        )
    if surplus := sorted(options.keys() & {"compare", "against", "fail_over", "profile"}):
        raise InputError(f"--{surplus[0].replace('_', '-')} is for bundles, not for bare layers; leave it out")
    if ("shapes" in options) == ("hidden_size" in options):
        raise InputError("bare layers need either --shapes deepbench or --hidden-size N")
    if "shapes" in options:
        if surplus := sorted(options.keys() & {"batch_size", "time_steps", "cell"}):
            raise InputError(f"--{surplus[0].replace('_', '-')} goes with --hidden-size; --shapes has its own")
        shapes = deepbench_shapes(every="all_shapes" in options)
    else:
        sizes = [numbers(f"--{name.replace('_', '-')}", options.get(name, default)) for name, default in _SIZES.items()]
        shapes = [LayerShape(*values) for values in product(_cells(options.get("cell", ["lstm,gru"])), *sizes)]
    kept = {key: options[key] for key in ("repetitions", "resume", "roofline") if key in options}
    out = options.get("out", _DEFAULT_OUT)
    return sweep(shapes, runtimes, out=out, **kept, **common, on_progress=on_progress)


def _cells(words: list[str]) -> list[Any]:
    cells = [part.strip() for word in words for part in word.split(",")]
    if wrong := [cell for cell in cells if cell not in ("lstm", "gru")]:
        raise UnknownNameError("cell", wrong[0], ("lstm", "gru"))
    return list(dict.fromkeys(cells))
