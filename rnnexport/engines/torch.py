"""PyTorch, running the source model: the `model.json` of a bundle or checkpoint, with the weights beside it.

1. In float64 on the CPU this engine is the oracle: float32 feeds are cast up, and the outputs stay float64.
2. On CUDA TF32 is off, in matrix products and in cuDNN.
3. Threads and TF32 are settings of the whole process, so two sessions that differ in them need a process each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rnnexport.engines.contract import (
    PROFILE_WARMUP_CALLS,
    Availability,
    Definition,
    Feeds,
    NodeTime,
    TensorSpec,
    check_feeds,
    remember_loading,
)
from rnnexport.errors import EngineError, InputError

_PRECISIONS = {"float64", "float32", "bfloat16"}
_WEIGHTS = ("weights.safetensors", "model.safetensors")  # in a bundle, in a checkpoint
_CUDA_BUILD = "pip install --force-reinstall torch --index-url https://pypi.org/simple"


def _is_built_with_cuda(package: Path) -> bool:
    """Read it off the installed file: importing PyTorch takes seconds."""
    with contextlib.suppress(OSError):
        lines = (package / "version.py").read_text(encoding="utf-8").splitlines()
        return any(line.startswith("cuda") and not line.endswith("None") for line in lines)
    return True  # unknown: asking PyTorch itself will tell


class TorchSession:
    """A source model in PyTorch eager mode."""

    def __init__(self, module: Any, definition: Definition) -> None:
        import torch

        remember_loading()
        self._dtype = getattr(torch, definition.precision)
        self._device = torch.device(definition.device)
        self._module = module.to(self._device, self._dtype)
        config = module.config
        tokens = TensorSpec("x", np.dtype("int64"), ("batch", "time"))
        numbers = TensorSpec("x", np.dtype("float32"), ("batch", "time", config.input_size))
        self._inputs = (
            tokens if config.takes_tokens else numbers,
            TensorSpec("lengths", np.dtype("int64"), ("batch",)),
        )
        output = "float64" if definition.precision == "float64" else "float32"  # numpy has no bfloat16
        self._output_dtype = getattr(torch, output)
        shape = ("batch", "time", config.num_outputs) if config.per_step else ("batch", config.num_outputs)
        self._outputs = (TensorSpec("logits", np.dtype(output), shape),)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """`x` [B, T, I], or tokens [B, T], and `lengths` [B]."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """`logits`."""
        return self._outputs

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Compute all outputs."""
        return {name: array.copy() for name, array in self.bind(feeds)().items()}

    def bind(self, feeds: Feeds) -> Callable[[], dict[str, NDArray[Any]]]:
        """Prepare one call; copying the logits to the host, which also waits for the device, is inside."""
        import torch

        check_feeds(self._inputs, feeds)
        if len(feeds["x"]) != len(feeds["lengths"]):  # packing takes fewer lengths without a word
            raise EngineError(f"input 'lengths': got {len(feeds['lengths'])} for the {len(feeds['x'])} series of 'x'")
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}
        x = tensors["x"].to(self._device, self._dtype if tensors["x"].is_floating_point() else None)
        lengths = tensors["lengths"]  # stays on the host, where packing wants it

        @torch.inference_mode()
        def call() -> dict[str, NDArray[Any]]:
            try:
                return {"logits": self._module(x, lengths).to("cpu", self._output_dtype).numpy()}
            except (RuntimeError, ValueError, IndexError) as exc:
                raise EngineError(f"torch failed: {str(exc).splitlines()[0]}") from exc

        return call

    def profile(self, feeds: Feeds, calls: int) -> list[NodeTime]:
        """Time of each innermost module; one `nn.LSTM` or `nn.GRU` is all its layers together."""
        from torch.profiler import profile

        modules = {name: part for name, part in self._module.named_modules() if not [*part.children()]}
        call = self.bind(feeds)
        for _ in range(PROFILE_WARMUP_CALLS):
            call()
        with _recorded(modules), profile() as profiler:
            for _ in range(calls):
                call()
        on_device = self._device.type != "cpu"
        durations: dict[str, list[float]] = {}
        for event in profiler.events() or ():
            if event.name in modules:
                microseconds = event.device_time_total if on_device else event.cpu_time_total
                durations.setdefault(event.name, []).append(1e3 * microseconds)
        return [
            NodeTime.typical((name,), type(modules[name]).__name__, nanoseconds, calls)
            for name, nanoseconds in durations.items()
        ]

    def close(self) -> None:
        """Free the module."""
        self._module = None


@contextlib.contextmanager
def _recorded(modules: Mapping[str, Any]) -> Iterator[None]:
    """Have the profiler see each call of these modules under their names."""
    from torch.profiler import record_function

    running: list[Any] = []

    def enter(name: str, *_: object) -> None:
        running.append(record_function(name))
        running[-1].__enter__()

    def leave(*_: object) -> None:
        running.pop().__exit__(None, None, None)

    hooks = [module.register_forward_pre_hook(partial(enter, name)) for name, module in modules.items()]
    hooks += [module.register_forward_hook(leave) for module in modules.values()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class TorchEngine:
    """PyTorch eager mode on the CPU or on CUDA."""

    name = "torch"
    reads_source: Literal[True] = True

    def available(self, definition: Definition) -> Availability:
        """Say whether PyTorch has the definition's device."""
        reason: str | None = None
        remedy: str | None = None
        found = find_spec("torch")
        if found is None or not found.submodule_search_locations:
            return Availability(False, None, reason="torch is not installed", remedy="pip install torch")
        if definition.device != "cpu" and not _is_built_with_cuda(Path(found.submodule_search_locations[0])):
            reason, remedy = "this torch is built without CUDA", _CUDA_BUILD
        elif definition.device != "cpu":
            import torch

            index, count = int(definition.device.partition(":")[2] or 0), torch.cuda.device_count()
            if index >= count:
                reason = f"there is no {definition.device!r}: torch finds {count} CUDA devices (see nvidia-smi)"
        return Availability(reason is None, version("torch"), definition.threads or None, reason, remedy)

    def check_options(self, definition: Definition) -> None:
        """Refuse what PyTorch, as used here, does not know."""
        if definition.precision not in _PRECISIONS:
            raise InputError(f"precision {definition.precision!r}: torch has {', '.join(sorted(_PRECISIONS))}")
        if definition.options:
            raise InputError(f"option {min(definition.options)!r} is unknown; engine 'torch' has no options")

    def load(self, model: Path, definition: Definition) -> TorchSession:
        """Build the model that `model` (a `model.json`) describes, with the weights that lie beside it."""
        self.check_options(definition)
        if not (availability := self.available(definition)).usable:
            raise availability.error(definition.name)
        try:
            import torch

            from rnnexport.models.classifier import load_model
        except (ImportError, OSError) as exc:
            remedy = "pip install --force-reinstall torch"
            broken = Availability(False, availability.version, reason=f"torch cannot be imported: {exc}", remedy=remedy)
            raise broken.error(definition.name) from exc
        weights = [path for name in _WEIGHTS if (path := model.parent / name).exists()]
        if not weights:
            raise EngineError(f"{model.parent}: no {' or '.join(_WEIGHTS)} beside {model.name!r}")
        if definition.threads:
            torch.set_num_threads(definition.threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        return TorchSession(load_model(model, weights[0]), definition)

    def profile(self, model: Path, definition: Definition, feeds: Feeds, calls: int) -> list[NodeTime]:
        """Ask PyTorch's profiler."""
        return self.load(model, definition).profile(feeds, calls)
