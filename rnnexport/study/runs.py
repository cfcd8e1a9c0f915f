"""The trainings of a study: one process and one thread each, on all cores; what is done is not done again."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

from pydantic import ValidationError

from rnnexport.errors import InputError, TrainingError
from rnnexport.runtime.worker import die_with
from rnnexport.study.order import hopeless, seconds_left, startable
from rnnexport.study.results import RunResult
from rnnexport.study.trainings import TrainingRun

RESULT = "run.json"


def run_all(runs: Sequence[TrainingRun], cache: Path, on_progress: Callable[[str], None]) -> list[RunResult]:
    """Do every run that `cache` does not hold; an interrupted study goes on with those that are missing.

    Raises:
        InputError: Lightning is not installed.
        TrainingError: A process was killed.
    """
    runs = list(dict.fromkeys(runs))
    results = {run: found for run in runs if (found := _cached(run, cache))}
    if find_spec("lightning") is None:
        raise InputError("training needs lightning; run: pip install 'rnnexport[study]'")
    processes = max(1, min(len(os.sched_getaffinity(0)), len(runs) - len(results)))
    running: dict[Future[RunResult], TrainingRun] = {}
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_start, initargs=(os.getpid(),)) as pool:
        try:
            while True:
                results |= hopeless(runs, results)
                waiting = startable(runs, results, running.values())
                with _interrupts_held():
                    running |= {pool.submit(do_run, run, cache): run for run in waiting[: processes - len(running)]}
                if not running:
                    return [results[run] for run in runs]
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    results[running.pop(future)] = future.result()
                    on_progress(_progress(runs, results, processes))
        except BrokenProcessPool as exc:
            raise TrainingError(
                "a process of the study was ended from outside, perhaps for its memory; run it again, it goes on"
            ) from exc
        except BaseException:
            for process in [*(pool._processes or {}).values()]:  # a training may take minutes yet
                process.kill()
            pool.shutdown(cancel_futures=True)
            raise


def _progress(runs: Sequence[TrainingRun], results: dict[TrainingRun, RunResult], processes: int) -> str:
    last = list(results.values())[-1]
    left = seconds_left(runs, results, processes) / 60
    about = f"about {left:.0f} minutes left" if left >= 1 else "less than a minute left"
    return f"{len(results)} of {len(runs)} trainings ({last.run.task}, {last.run.cell}, seed {last.run.seed}), {about}"


def do_run(run: TrainingRun, cache: Path) -> RunResult:
    """Train once, and keep the result as the last thing."""
    from rnnexport.data.metrics import reaches
    from rnnexport.data.tasks import get_task
    from rnnexport.training.training import train

    started = time.perf_counter()
    folder = cache / run.key
    task = get_task(run.task)
    series = len(task.load(run.seed).train.series)  # and the libraries it needs do not count as memory of the training
    before = _reset_peak_memory()
    settings = run.model_dump(include={"hidden_size", "epochs", "seed"})
    try:
        trained = train(run.task, run.cell, out=folder, **settings)
    except TrainingError as exc:
        result = RunResult(run=run, folder=str(folder), failure=str(exc), seconds=time.perf_counter() - started)
    else:
        validation = [epoch["validation_metric"] for epoch in trained.history]
        target = task.target
        hits = [i for i, value in enumerate(validation) if target is not None and reaches(task.metric, value, target)]
        updates = -(-series // trained.settings.batch_size)
        result = RunResult(
            run=run,
            folder=str(folder),
            metric=trained.metric,
            test=trained.test,
            baseline=trained.baseline,
            parameters=trained.parameters,
            updates=updates * trained.epochs,
            updates_to_target=updates * (hits[0] + 1) if hits else None,
            seconds=time.perf_counter() - started,
            cpu_seconds_per_epoch=trained.cpu_seconds_per_epoch or float("nan"),
            peak_memory_bytes=_peak_memory() - before,
            validation=validation,
        )
    temporary = cache / f".{run.key}.json"
    temporary.write_text(result.model_dump_json(indent=1), encoding="utf-8")
    folder.mkdir(exist_ok=True)
    temporary.replace(folder / RESULT)
    return result


def _cached(run: TrainingRun, cache: Path) -> RunResult | None:
    try:
        return RunResult.model_validate_json((cache / run.key / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Start processes that Ctrl-C, which reaches the whole group, does not end with a traceback: we end them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(parent: int) -> None:
    """Prepare a process of the pool: it ends with its parent, and computes in one thread."""
    die_with(parent)
    import torch

    import rnnexport.training.loop  # noqa: F401 # so that loading Lightning counts in no run

    torch.set_num_threads(1)
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 # the parent shows progress; open until the process ends


def _reset_peak_memory() -> int:
    """Give back what earlier runs left, let the kernel count the peak anew (proc(5), clear_refs), and return it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_memory()


def _peak_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
