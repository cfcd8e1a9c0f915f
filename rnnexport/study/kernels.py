"""Why training time need not follow the count of gates: PyTorch's CPU kernels treat the cells differently."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from pydantic import BaseModel

BATCH, STEPS, FEATURES, HIDDEN = 50, 60, 2, 32
REPEATS = 9


class KernelTimes(BaseModel):
    """Median CPU time in ms of one layer, forward and backward, on one thread."""

    batch_size: int = BATCH
    time_steps: int = STEPS
    hidden_size: int = HIDDEN
    onednn: dict[str, float]
    """By cell, as PyTorch comes: it runs the LSTM through oneDNN."""
    plain: dict[str, float]
    """By cell, with oneDNN switched off, so that both cells run through the same code."""


def kernel_times() -> KernelTimes:
    """Time both cells in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measure).result()


def _measure() -> KernelTimes:
    import torch

    torch.set_num_threads(1)
    times = {}
    for enabled in (True, False):
        torch.backends.mkldnn.set_flags(enabled)  # type: ignore[no-untyped-call]
        times[enabled] = {"lstm": _layer_ms(torch.nn.LSTM), "gru": _layer_ms(torch.nn.GRU)}
    return KernelTimes(onednn=times[True], plain=times[False])


def _layer_ms(cell: type) -> float:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence

    torch.manual_seed(0)
    layer = cell(FEATURES, HIDDEN, batch_first=True)
    packed = pack_padded_sequence(torch.randn(BATCH, STEPS, FEATURES), torch.full((BATCH,), STEPS), batch_first=True)
    samples = []
    for _ in range(REPEATS):
        started = time.process_time()
        layer(packed)[0].data.sum().backward()
        samples.append(1e3 * (time.process_time() - started))
    return sorted(samples)[REPEATS // 2]
