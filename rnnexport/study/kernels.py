"""Why training time need not follow the count of gates: PyTorch's CPU kernels treat the cells differently."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from pydantic import BaseModel

BATCH, STEPS, FEATURES, HIDDEN = 50, 200, 2, 32
REPEATS = 9
WAYS = ("series of one length", "series of different lengths, packed", "packed, oneDNN switched off")


class KernelTimes(BaseModel):
    """Median CPU time in ms of one layer, forward and backward, on one thread."""

    batch_size: int = BATCH
    time_steps: int = STEPS
    hidden_size: int = HIDDEN
    milliseconds: dict[str, dict[str, float]]
    """By way, of `WAYS`, and by cell."""


def kernel_times() -> KernelTimes:
    """Time both cells in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measure).result()


def _measure() -> KernelTimes:
    import torch

    torch.set_num_threads(1)
    times = {}
    for way in WAYS:
        torch.backends.mkldnn.set_flags("off" not in way)  # type: ignore[no-untyped-call]
        cells = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
        times[way] = {name: _layer_ms(cell, packed="packed" in way) for name, cell in cells.items()}
    return KernelTimes(milliseconds=times)


def _layer_ms(cell: type, *, packed: bool) -> float:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence

    torch.manual_seed(0)
    layer = cell(FEATURES, HIDDEN, batch_first=True)
    series = torch.randn(BATCH, STEPS, FEATURES)
    given = pack_padded_sequence(series, torch.full((BATCH,), STEPS), batch_first=True) if packed else series
    samples = []
    for _ in range(REPEATS):
        started = time.process_time()
        steps = layer(given)[0]
        (steps.data if packed else steps).sum().backward()
        samples.append(1e3 * (time.process_time() - started))
    return sorted(samples)[REPEATS // 2]
