"""Greedy decoding: an encoder runs once, then a step that is fed its own output, with its states carried.

What is fed next is the number of the largest element of the step's first output, or, where the step takes frames, that
output itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rnnexport.bundle.chunks import Arrays
from rnnexport.bundle.manifest import DecoderInfo
from rnnexport.engines.contract import Feeds, Session
from rnnexport.errors import InputError

_Size = TypeVar("_Size", bound=int | str)
Ends = Callable[[Arrays], NDArray[np.bool_]]
"""Says of each row, from a step's outputs, whether that step is its last."""


def decoded_rows(
    encoder: Session,
    step: Session,
    decoder: DecoderInfo,
    feeds: Feeds,
    *,
    max_steps: int,
    start_token: int | None = None,
    ends: Ends | None = None,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Run the encoder on `feeds`, then steps until each row has ended, `max_steps` at most.

    Returns:
        What was fed, without the start: tokens [rows, steps] or frames [rows, steps, …]; and the number of steps of
        each row, its last included.

    Raises:
        EngineError: An input is missing, unknown, or of another type or shape.
    """
    encoded = {**feeds, **encoder.run(feeds)}
    fed_info, *others = decoder.inputs
    given = {info.name: encoded[info.name] for info in others}
    sizes = {d: n for info in others for d, n in zip(info.shape, given[info.name].shape, strict=True)}
    shape = [sizes[d] if isinstance(d, str) else d for d in fed_info.shape]
    fed = np.full(shape, start_token or 0, fed_info.dtype)
    rows = _row_shape(decoder, shape)
    lengths = np.full(rows[0], max_steps)
    steps: list[NDArray[Any]] = []
    for number in range(1, max_steps + 1):
        results = step.run({fed_info.name: fed, **given})
        given |= {before: results[after] for before, after in decoder.state_pairs}
        output = results[decoder.outputs[0].name]
        fed = (output.argmax(-1).astype(fed_info.dtype) if decoder.is_fed_tokens else output).reshape(shape)
        steps.append(fed.reshape(rows))
        if ends is not None:
            ended = np.asarray(ends(results)).reshape(-1)
            if len(ended) != len(lengths):
                raise InputError(f"what ends a row said {len(ended)} things of {len(lengths)} rows")
            lengths[ended & (lengths == max_steps)] = number
            if (lengths <= number).all():
                break
    return np.stack(steps, axis=1), lengths


def ends_at(decoder: DecoderInfo, stop_token: int) -> Ends:
    """End a row at the step that gives this token."""
    output = decoder.outputs[0].name
    return lambda results: np.asarray(results[output].argmax(-1) == stop_token)


def _row_shape(decoder: DecoderInfo, shape: list[int]) -> list[int]:
    """The shape of what is fed without its axis of one step: [rows] of tokens, [rows, …] of frames."""
    if decoder.is_fed_tokens:
        return [int(np.prod(shape))]
    return list(without_step(shape))


def without_step(shape: Sequence[_Size]) -> Sequence[_Size]:
    """The shape of a frame [rows, 1, …] without its axis of one step."""
    return [*shape[:1], *shape[2:]] if len(shape) > 2 and shape[1] == 1 else shape
