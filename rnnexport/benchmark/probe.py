"""Measures what this CPU can do at best, in a process of its own.

1. A probe is a bound: the best of many short repetitions counts, and of several ways to do the same thing.
2. Matrix products run in the libraries that will be judged by them, since the fastest kernel differs from CPU to CPU.
3. Reading is a reduction that sweeps a working set many times within one call, so that no call overhead is in it.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnexport.benchmark.machine import Arithmetic, Cache, Machine, MemoryLevel, Rate, data_caches, usable_cores
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds, Precision
from rnnexport.runtime.worker import Arrays, Extras, run_job

_LEAST_SECONDS, _MOST_SECONDS = 0.02, 0.12  # for each way of doing each thing, in each round
_CONFIRMED = 5
_FORK_JOIN_SECONDS = 1.0
_PRODUCT_SIZE = 512
_SWEPT_BYTES = 2**25  # read in one call, so that its overhead is below 1 %
_LEAST_MEMORY_BYTES = 2**26
_GRAIN = 2**15  # numbers that PyTorch gives one thread at least

if TYPE_CHECKING:
    from torch import Tensor

Call = Callable[[], object]


def probe_machine() -> Machine:
    """Measure this machine in a worker; takes about ten seconds.

    Raises:
        EngineError: The worker failed.
    """
    (result,) = run_job("rnnexport.benchmark.probe:probe_job", {}, [{}])
    return Machine.model_validate(result.checked().extras)


def probe_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: gives a `Machine` as JSON in the extras."""
    for _ in cases:
        with tempfile.TemporaryDirectory(prefix="rnnexport-probe-") as folder:
            best = _probe(Path(folder)).best(_probe(Path(folder)))
        yield {}, best.model_dump(mode="json")


def _probe(folder: Path) -> Machine:
    cores = usable_cores()
    kinds: tuple[Arithmetic, ...] = ("float32", "bfloat16", "int8")
    return Machine(
        cores=cores,
        flop_per_second={kind: _rate(partial(_product_rate, kind, folder), cores) for kind in kinds},
        levels=tuple(_level(*level, cores) for level in _levels(data_caches())),
        fork_join_ns=_fork_join_ns(cores),
    )


def _rate(measure: Callable[[int], float], cores: int) -> Rate:
    """Measure with one thread and with one for each core, who do together what one of them does alone at least."""
    one = measure(1)
    return Rate(one=one, all=max(one, measure(cores)))


def _level(name: str, cache: Cache | None, nearer: tuple[Cache, ...], sets: set[int], cores: int) -> MemoryLevel:
    return MemoryLevel(
        name=name,
        nearer=nearer,
        private=cache is not None and cache.instances >= cores,
        bytes_per_second=_rate(partial(_read_rate, sets, shared=cache is not None), cores),
    )


def _levels(caches: tuple[Cache, ...]) -> Iterator[tuple[str, Cache | None, tuple[Cache, ...], set[int]]]:
    """Name, cache, nearer caches and working sets (bytes) of every level behind L1; none where no cache is known."""
    for number, cache in enumerate(caches):
        if number:
            beyond_nearer = 2 * caches[number - 1].size
            sets = {max(cache.size // 4, beyond_nearer), max(cache.size // 2, beyond_nearer)}
            yield f"L{cache.level}", cache, caches[:number], sets
    if caches:
        yield "memory", None, caches, {max(4 * caches[-1].size, _LEAST_MEMORY_BYTES)}


def _fastest(call: Call, most_seconds: float = _MOST_SECONDS) -> float:
    """Seconds of the fastest of many calls; goes on until that time has been met again, for work beside us may pass."""
    call()
    samples: list[float] = []
    start = time.perf_counter()
    confirmed = False
    while not confirmed and (end := time.perf_counter() + _LEAST_SECONDS) < start + most_seconds:
        while (before := time.perf_counter()) < end:
            call()
            samples.append(time.perf_counter() - before)
        confirmed = sum(np.less_equal(samples, 1.02 * min(samples))) >= _CONFIRMED
    return min(samples)


def _read_rate(sets: set[int], threads: int, *, shared: bool) -> float:
    """Bytes per second of the fastest way in which threads read working sets of these sizes.

    Each thread's best counts, so that a core which other work takes for a while does not make the sum too small.
    """
    import torch

    rates = []
    for size in sets:
        numbers = torch.ones(size // 4)
        parts = [numbers] * threads if shared else list(numbers.chunk(threads))
        barrier = threading.Barrier(threads)
        with ThreadPoolExecutor(threads) as pool:
            for way in range(len(_ways(numbers))):
                found = pool.map(lambda part, way=way, barrier=barrier: _read_alone(part, way, barrier), parts)
                rates.append(sum(found))
    return max(rates)


def _read_alone(numbers: Tensor, way: int, barrier: threading.Barrier) -> float:
    """Bytes per second of one thread, while the others that share the barrier do the same."""
    import torch

    torch.set_num_threads(1)  # a setting of each thread
    sweeps, call = _ways(numbers)[way]
    barrier.wait()
    return sweeps * numbers.nbytes / _fastest(call)


def _ways(numbers: Tensor) -> list[tuple[int, Call]]:
    """Calls that read all of `numbers`, and how often each call does."""
    import torch

    sweeps = max(1, _SWEPT_BYTES // numbers.nbytes)
    swept = numbers.expand(sweeps, -1)  # the same memory, `sweeps` times over
    first, second = numbers[: len(numbers) // 2 * 2].chunk(2)
    return [
        (sweeps, lambda: swept.sum(1)),
        (sweeps, lambda: swept.amax(1)),
        (1, lambda: torch.dot(first, second)),
    ]


def _fork_join_ns(cores: int) -> float:
    """What the same share of work takes longer where each core has one, against one core alone."""
    import torch

    if cores == 1:
        return 0.0
    torch.set_num_threads(cores)
    alone, together = torch.ones(_GRAIN), torch.ones(cores * _GRAIN)
    return max(0.0, 1e9 * (_fastest(together.relu_, _FORK_JOIN_SECONDS) - _fastest(alone.relu_, _FORK_JOIN_SECONDS)))


def _product_rate(kind: Arithmetic, folder: Path, threads: int) -> float:
    """Flop per second (multiply and add count two) of the fastest square matrix product."""
    import torch

    torch.set_num_threads(threads)
    calls = chain([_torch_product(kind, _PRODUCT_SIZE)], _engine_products(kind, _PRODUCT_SIZE, threads, folder))
    return 2 * _PRODUCT_SIZE**3 / min(_fastest(call) for call in calls)


def _torch_product(kind: Arithmetic, size: int) -> Call:
    import torch

    if kind == "int8":
        left, right = torch.ones(2, size, size, dtype=torch.int8)
        return lambda: torch._int_mm(left, right)
    left, right = torch.ones(2, size, size, dtype=getattr(torch, kind))
    return lambda: torch.mm(left, right)


def _engine_products(kind: Arithmetic, size: int, threads: int, folder: Path) -> Iterator[Call]:
    """The product in each library that has it."""
    runs: dict[Arithmetic, list[tuple[str, Precision]]] = {
        "float32": [("onnxruntime", "float32"), ("openvino", "float32")],
        "bfloat16": [("openvino", "bfloat16")],
        "int8": [("onnxruntime", "float32")],
    }
    path = folder / f"{kind}.onnx"
    feeds = _write_product(path, kind, size)
    for engine_name, precision in runs[kind]:
        definition = Definition(name="probe", engine=engine_name, precision=precision, threads=threads)
        engine = get_engine(engine_name)
        if engine.available(definition).usable:
            session = engine.load(path, definition)
            yield session.bind(feeds)
            session.close()


def _write_product(path: Path, kind: Arithmetic, size: int) -> Feeds:
    """Write a graph that multiplies its input by a constant, and return the input."""
    import onnx
    from onnx import helper, numpy_helper

    operator, left_type, right_type, result = "MatMul", "float32", "float32", onnx.TensorProto.FLOAT
    if kind == "int8":
        operator, left_type, right_type, result = "MatMulInteger", "uint8", "int8", onnx.TensorProto.INT32
    left, right = np.ones((size, size), left_type), np.ones((size, size), right_type)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(left.dtype), left.shape)],
        [helper.make_tensor_value_info("y", result, left.shape)],
        [numpy_helper.from_array(right, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return {"x": left}
