"""OpenVINO on the CPU.

1. The precision is always asked for, since OpenVINO picks bfloat16 by itself where the machine has it, and read back.
2. Synchronous inference with one thread swallows run-time shape errors and returns stale output, so new feeds are
   computed asynchronously. Only what `bind` repeats, on feeds that went well once, is synchronous, which costs less.
3. A request computes one call at a time, so each call takes an idle one, and makes another where all are busy.
4. Nothing is sent to anybody: importing openvino reports itself to Intel unless its telemetry package is out of sight.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

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
from rnnexport.engines.openvino_profile import node_times
from rnnexport.errors import EngineError, InputError, RuntimeUnavailableError, UnknownNameError

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
_STATIC_SHAPES = "static_shapes"
_Shapes = tuple[tuple[int, ...], ...]
# What the definition's own keys already say.
_RESERVED = {"INFERENCE_PRECISION_HINT": "precision", "INFERENCE_NUM_THREADS": "threads", "DEVICE_ID": "device"}


def import_openvino() -> Any:
    """Import the library so that it sends nothing to anybody."""
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    hidden = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # its import fails, openvino does without
    try:
        import openvino
    finally:
        del sys.modules["openvino_telemetry"]
        if hidden is not None:
            sys.modules["openvino_telemetry"] = hidden
    return openvino


def engine_error(what: str, exc: Exception) -> EngineError:
    """OpenVINO's own words without the places in its source: the last line that says something."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    words = [line for line in lines if not line.startswith(("Exception from ", "Check '"))]
    return EngineError(f"openvino {what}: {(words or lines or ['no reason given'])[-1][:300]}")


def _spec(port: Any) -> TensorSpec:
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    return TensorSpec(port.get_any_name(), np.dtype(port.element_type.to_dtype()), shape)


class OpenVinoSession:
    """A model in OpenVINO: compiled once, or once for each set of input shapes where `static_shapes` is on."""

    def __init__(self, core: Any, model: Path, definition: Definition) -> None:
        remember_loading()
        self._core, self._name, self._definition = core, model.name, definition
        try:
            self._model = core.read_model(str(model))
            self._inputs = tuple(_spec(port) for port in self._model.inputs)
            self._outputs = tuple(_spec(port) for port in self._model.outputs)
        except RuntimeError as exc:
            raise engine_error(f"cannot load {self._name!r}", exc) from exc
        self._compiled: dict[_Shapes, tuple[Any, list[Any]]] = {}
        self._compiling = threading.Lock()
        self._static = bool(definition.options.get(_STATIC_SHAPES))
        if not self._static:
            self._idle(())

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs; OpenVINO keeps no names of symbolic dimensions."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs."""
        return self._outputs

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Compute all outputs."""
        check_feeds(self._inputs, feeds)
        with self._request(feeds) as request:
            self._call_checked(request, feeds)
            return {name: array.copy() for name, array in self._views(request).items()}

    def bind(self, feeds: Feeds) -> Callable[[], dict[str, NDArray[Any]]]:
        """Prepare one call; the arrays it returns are OpenVINO's own memory."""
        check_feeds(self._inputs, feeds)
        request = self._idle(self._shapes(feeds))[0].create_infer_request()
        self._call_checked(request, feeds)
        return partial(self._repeat, request)

    def bind_in_place(self, feeds: Feeds, outputs: Feeds) -> Callable[[], None]:
        """Copy to and from the memory of a request: one that is given others' memory corrupts the heap when that ends.

        Seen with OpenVINO 2026.4 and dynamic shapes, where the requests of a model share one graph.
        """
        check_feeds(self._inputs, feeds)
        request = self._idle(self._shapes(feeds))[0].create_infer_request()
        self._call_checked(request, feeds)
        inside = {spec.name: request.get_input_tensor(i).data for i, spec in enumerate(self._inputs)}
        return partial(self._repeat_copying, request, inside, feeds, outputs)

    def profile(self, feeds: Feeds, calls: int) -> list[NodeTime]:
        """Time of each node, of a session that was loaded with performance counters."""
        check_feeds(self._inputs, feeds)
        with self._request(feeds) as request:
            for _ in range(PROFILE_WARMUP_CALLS):
                self._call_checked(request, feeds)
            return node_times(request, calls)

    def close(self) -> None:
        """Free the compiled models."""
        self._compiled.clear()

    @contextlib.contextmanager
    def _request(self, feeds: Feeds) -> Iterator[Any]:
        """A request that no other thread has until the block ends."""
        compiled, idle = self._idle(self._shapes(feeds))
        try:
            request = idle.pop()  # one step for all threads, as append is
        except IndexError:
            request = compiled.create_infer_request()
        try:
            yield request
        finally:
            idle.append(request)

    def _shapes(self, feeds: Feeds) -> _Shapes:
        return tuple(feeds[spec.name].shape for spec in self._inputs) if self._static else ()

    def _idle(self, shapes: _Shapes) -> tuple[Any, list[Any]]:
        """The model compiled for these shapes, once, and its idle requests."""
        if shapes not in self._compiled:
            with self._compiling:
                if shapes not in self._compiled:
                    compiled = self._compile(shapes)
                    self._compiled[shapes] = compiled, [compiled.create_infer_request()]
        return self._compiled[shapes]

    def _compile(self, shapes: _Shapes) -> Any:
        """Compile for these input shapes; none leaves them dynamic."""
        wanted = _PRECISIONS[self._definition.precision]
        try:
            model = self._model.clone()
            if shapes:
                model.reshape(dict(enumerate(map(list, shapes))))
            compiled = self._core.compile_model(model, "CPU", _properties(self._definition))
            got = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        except RuntimeError as exc:
            raise engine_error(f"cannot compile {self._name!r}", exc) from exc
        if got != wanted:
            raise RuntimeUnavailableError(
                f"runtime {self._definition.name!r} is not usable: asked for {wanted}, openvino would compute in {got}"
            )
        return compiled

    def _call_checked(self, request: Any, feeds: Feeds) -> None:
        try:
            request.start_async({i: feeds[spec.name] for i, spec in enumerate(self._inputs)}, share_inputs=False)
            request.wait()
        except RuntimeError as exc:
            raise engine_error(f"failed on {self._name!r}", exc) from exc

    def _repeat(self, request: Any) -> dict[str, NDArray[Any]]:
        try:
            request.infer()
        except RuntimeError as exc:
            raise engine_error(f"failed on {self._name!r}", exc) from exc
        return self._views(request)

    def _repeat_copying(self, request: Any, inside: Feeds, feeds: Feeds, outputs: Feeds) -> None:
        for name, array in inside.items():
            np.copyto(array, feeds[name])
        for name, array in self._repeat(request).items():
            np.copyto(outputs[name], array)

    def _views(self, request: Any) -> dict[str, NDArray[Any]]:
        return {spec.name: request.get_output_tensor(i).data for i, spec in enumerate(self._outputs)}


def _properties(definition: Definition) -> dict[str, Any]:
    """What OpenVINO is told; the definition's options come last, so they can change the performance hint."""
    options = {key: value for key, value in definition.options.items() if key != _STATIC_SHAPES}
    threads = {"INFERENCE_NUM_THREADS": definition.threads} if definition.threads else {}
    precision = {"INFERENCE_PRECISION_HINT": _PRECISIONS[definition.precision]}
    return {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, **options, **threads, **precision}


class OpenVinoEngine:
    """OpenVINO on the CPU."""

    name = "openvino"

    def available(self, definition: Definition) -> Availability:
        """Say whether the CPU computes in the definition's precision."""
        return self._available(definition, definition.threads)

    def _available(self, definition: Definition, threads: int) -> Availability:
        """As `available`; finding out the default of 0 threads costs a compilation."""
        try:
            library = import_openvino()
            core = library.Core()
            capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            threads = threads or _default_threads(library, core)
        except Exception as exc:  # a damaged installation can raise anything
            remedy = "pip install --force-reinstall openvino"
            return Availability(False, None, reason=f"openvino cannot be used: {exc}", remedy=remedy)
        version = library.__version__.partition("-")[0]
        if definition.precision == "bfloat16" and "BF16" not in capabilities:
            return Availability(False, version, threads, reason="this CPU has no bfloat16 instructions")
        return Availability(True, version, threads)

    def check_options(self, definition: Definition) -> None:
        """Refuse what OpenVINO, as used here, does not know."""
        if definition.device != "cpu":
            raise InputError(f"device {definition.device!r}: openvino is used on the CPU only; choose 'cpu'")
        if definition.precision not in _PRECISIONS:
            raise InputError(f"precision {definition.precision!r}: openvino has {' and '.join(sorted(_PRECISIONS))}")
        if definition.options:
            _check_properties(definition.options)

    def load(self, model: Path, definition: Definition) -> OpenVinoSession:
        """Load an ONNX or OpenVINO IR file."""
        self.check_options(definition)
        if not (availability := self._available(definition, threads=1)).usable:
            raise availability.error(definition.name)
        return OpenVinoSession(import_openvino().Core(), model, definition)

    def profile(self, model: Path, definition: Definition, feeds: Feeds, calls: int) -> list[NodeTime]:
        """Read OpenVINO's performance counters after each call."""
        options = {**definition.options, "PERF_COUNT": True}
        session = self.load(model, definition.model_copy(update={"options": options}))
        return session.profile(feeds, calls)


def _check_properties(options: dict[str, Any]) -> None:
    properties = import_openvino().Core().get_property("CPU", "SUPPORTED_PROPERTIES")
    known = {_STATIC_SHAPES, *(name for name, access in properties.items() if access == "RW")} - _RESERVED.keys()
    for option, value in options.items():
        if option in _RESERVED:
            raise InputError(f"option {option!r}: say it with the key {_RESERVED[option]!r}")
        if option not in known:
            raise UnknownNameError("option", option, known)
        if option == _STATIC_SHAPES and not isinstance(value, bool):
            raise InputError(f"option {option!r} = {value!r}: choose true or false (default false)")


def _default_threads(library: Any, core: Any) -> int:
    """What OpenVINO gives one call when it is told nothing; only a compiled model can say."""
    parameter = library.opset13.parameter([1])
    compiled = core.compile_model(library.Model([library.opset13.relu(parameter)], [parameter]), "CPU")
    return int(compiled.get_property("INFERENCE_NUM_THREADS"))
