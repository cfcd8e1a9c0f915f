"""For tests of your own: `assert_parity(module, "x:float32[batch,time,12]")`.

Nothing heavy is loaded before it is called, so that a pytest plug-in may import this at the start.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from rnnexport.bundle.bundle import Bundle

__all__ = ["assert_parity"]


def assert_parity(
    model: nn.Module | Bundle | str | Path,
    *inputs: Any,
    runtimes: Sequence[str | Path] = (),
    grid: Any = "default",
    lengths: Any = "exact",
    streaming: bool = False,
) -> None:
    """Assert that every runtime computes the model, at the calls of the parity grid and for the inputs given.

    Args:
        model: A module; or a bundle, an ONNX file, a Keras file or a checkpoint, which take no `inputs`. A bundle is
            left as it is.
        inputs: Of a module's forward, in order: specifications such as `"tokens:int64[batch,time]"`, or tensors and
            arrays. Those are calls to judge, too; their first axis is taken for the batch and the second for the time,
            both of any size.
        runtimes: Names or .toml files. Default: every usable float32 runtime.
        grid: How many calls are made of a bundle: quick, default or full.
        lengths: How padded batches of a module stay right; as for `rnnexport.export`.
        streaming: Judge a module's step graph, too.

    Raises:
        AssertionError: A runtime is wrong, or the model cannot be exported; it says where and, if known, why.
        InputError: `inputs` do not fit the model, or there is no such file or folder.
        RuntimeUnavailableError: A runtime that was named does not work here.
    """
    __tracebackhide__ = True
    from rnnexport.errors import RnnexportError
    from rnnexport.testing.judging import wrong_runtimes

    with tempfile.TemporaryDirectory(prefix="rnnexport-") as folder:
        try:
            wrong = wrong_runtimes(model, inputs, Path(folder) / "bundle", runtimes, grid, lengths, streaming)
        except RnnexportError as exc:
            raise exc.with_traceback(None) from None  # so that pytest shows the test's line and what is wrong
    assert not wrong, "\n".join(["the runtimes do not compute the model:", *wrong])
