"""ONNX Runtime.

1. ONNX Runtime computes in the types that the graph states, so the only precision one can ask for is float32. On the
   CPU it casts float16 graphs to float32 by itself; on CUDA a graph with float16 inputs or outputs is refused.
2. On CUDA the nodes that matter are checked to be there: `get_providers()` does not show which nodes fell back.
3. Nothing is sent to anybody: ONNX Runtime's telemetry is off before it is imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import mmap
import os
import re
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, entry_points, version
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
from rnnexport.engines.onnxruntime_profile import node_times
from rnnexport.errors import EngineError, InputError, RuntimeUnavailableError, UnknownNameError
from rnnexport.onnx_files.operators import RECURRENT, STACK, STACK_PACKAGES
from rnnexport.versions import lacks_vnni

_CUDA = "CUDAExecutionProvider"
_USE_GPU_PACKAGE = "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_SESSION_OPTIONS: dict[str, str | bool] = {
    "graph_optimization_level": "all",
    # Spinning threads make two threads 1.1-1.7 times as fast as sleeping ones, but slow whatever runs beside them.
    "allow_spinning": True,
}
_CUDA_OPTIONS = {"use_tf32", "gpu_mem_limit", "arena_extend_strategy", "cudnn_conv_algo_search"}
_EXACT_PRODUCTS = "session.x64quantprecision"
# Where the time of a recurrent model goes; shape arithmetic may stay on the CPU.
_HEAVY = {*RECURRENT, "MatMul", "Gemm", "Conv", "MatMulInteger", "QLinearMatMul"} | {
    "MatMulNBits",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",  # ONNX Runtime's own operators
    STACK,  # that of rnnexport-kernels
}
_STACK_OPERATOR = STACK.encode()
_STACK_PACKAGE = "rnnexport-kernels"


def _import_onnxruntime() -> Any:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # otherwise the import alone writes a device id into the home folder
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors only
    return onnxruntime


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _cuda_device_count() -> int:
    """How many devices NVIDIA's driver shows; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def _device_id(definition: Definition) -> int:
    return int(definition.device.partition(":")[2] or 0)


def _engine_error(what: str, exc: Exception) -> EngineError:
    """The first line of ONNX Runtime's own words; its exceptions share no base class but `Exception`."""
    words = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(exc).strip()) or type(exc).__name__
    return EngineError(f"onnxruntime {what}: {words.splitlines()[0]}")


def _dtype(onnx_type: str) -> np.dtype[Any]:
    """`tensor(float)` → float32."""
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype({"float": "float32", "double": "float64", "string": "object"}.get(name, name))
    except TypeError as exc:
        raise EngineError(f"onnxruntime has a {onnx_type} here, which is no array of numbers") from exc


def _spec(argument: Any) -> TensorSpec:
    return TensorSpec(argument.name, _dtype(argument.type), tuple(argument.shape))


class OnnxRuntimeSession:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, model: Path, session: Any, definition: Definition) -> None:
        remember_loading()
        self._model = model
        self._session = session
        self._device = definition.device.partition(":")[0], _device_id(definition)
        self._inputs = tuple(_spec(argument) for argument in session.get_inputs())
        self._outputs = tuple(_spec(argument) for argument in session.get_outputs())

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return self._outputs

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Compute all outputs."""
        check_feeds(self._inputs, feeds)
        try:
            arrays = self._session.run(None, dict(feeds))
        except Exception as exc:
            raise _engine_error(f"failed on {self._model.name!r}", exc) from exc
        return dict(zip((spec.name for spec in self._outputs), arrays, strict=True))

    def bind(self, feeds: Feeds) -> Callable[[], dict[str, NDArray[Any]]]:
        """Prepare one call; on CUDA the inputs are on the device, and copying the outputs to the host is inside."""
        outputs = {name: np.empty_like(array) for name, array in self.run(feeds).items()}
        values = {name: self._value(array) for name, array in feeds.items()}
        binding = self._session.io_binding()
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return partial(self._run_bound, binding, outputs, values)

    def bind_in_place(self, feeds: Feeds, outputs: Feeds) -> Callable[[], None]:
        """Bind the arrays' own memory; on CUDA they are copied by each call."""
        check_feeds(self._inputs, feeds)
        if self._device[0] != "cpu":
            return partial(self._run_copying, feeds, outputs)
        binding = self._session.io_binding()
        for bind, arrays in ((binding.bind_input, feeds), (binding.bind_output, outputs)):
            for name, array in arrays.items():
                bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return partial(self._run_in_place, binding, feeds, outputs)

    def _run_copying(self, feeds: Feeds, outputs: Feeds) -> None:
        for name, array in self.run(feeds).items():
            np.copyto(outputs[name], array)

    def _run_in_place(self, binding: Any, *_alive: object) -> None:
        try:
            self._session.run_with_iobinding(binding)
        except Exception as exc:
            raise _engine_error(f"failed on {self._model.name!r}", exc) from exc

    def _value(self, array: NDArray[Any]) -> Any:
        return _import_onnxruntime().OrtValue.ortvalue_from_numpy(np.array(array, order="C"), *self._device)

    def _run_bound(self, binding: Any, outputs: dict[str, NDArray[Any]], _alive: object) -> dict[str, NDArray[Any]]:
        """Run what is bound; `_alive` only holds the memory that the binding points at."""
        try:
            self._session.run_with_iobinding(binding)
        except Exception as exc:
            raise _engine_error(f"failed on {self._model.name!r}", exc) from exc
        return outputs

    def close(self) -> None:
        """Free the session."""
        self._session = None


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU or on CUDA."""

    name = "onnxruntime"

    def available(self, definition: Definition) -> Availability:
        """Say whether ONNX Runtime has a provider and a device for the definition."""
        both = _installed("onnxruntime") and _installed("onnxruntime-gpu")
        reason: str | None = None
        remedy: str | None = None
        try:
            library = _import_onnxruntime()
        except Exception as exc:  # a damaged installation can raise anything
            reason = f"onnxruntime cannot be imported: {exc}"
            return Availability(False, None, reason=reason, remedy="pip install --force-reinstall onnxruntime")
        if both:
            reason = "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files"
            remedy = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        elif definition.device != "cpu" and _CUDA not in library.get_available_providers():
            reason, remedy = f"this onnxruntime has no {_CUDA}", _USE_GPU_PACKAGE
        elif definition.device != "cpu" and _device_id(definition) >= (count := _cuda_device_count()):
            reason = f"there is no {definition.device!r}: NVIDIA's driver shows {count} devices (see nvidia-smi)"
        return Availability(reason is None, library.__version__, definition.threads or None, reason, remedy)

    def check_options(self, definition: Definition) -> None:
        """Refuse what ONNX Runtime, as used here, does not know."""
        if definition.precision != "float32":
            raise InputError(
                f"precision {definition.precision!r}: onnxruntime computes in the types that the graph states; "
                "choose 'float32'"
            )
        known = {*_SESSION_OPTIONS, *(_CUDA_OPTIONS if definition.device != "cpu" else ())}
        for option, value in definition.options.items():
            if option not in known:
                raise UnknownNameError("option", option, known)
            if isinstance(_SESSION_OPTIONS.get(option), bool) and not isinstance(value, bool):
                raise InputError(f"option {option!r} = {value!r}: choose true or false")
        level = str(definition.options.get("graph_optimization_level", "all"))
        if level not in _LEVELS:
            raise UnknownNameError("graph_optimization_level", level, _LEVELS)

    def load(self, model: Path, definition: Definition) -> OnnxRuntimeSession:
        """Load an ONNX file."""
        return OnnxRuntimeSession(model, self._open(model, definition), definition)

    def profile(self, model: Path, definition: Definition, feeds: Feeds, calls: int) -> list[NodeTime]:
        """Read the file that ONNX Runtime's profiler writes; it counts whole microseconds."""
        with tempfile.TemporaryDirectory(prefix="rnnexport-profile-") as folder:
            library_session = self._open(model, definition, profile_prefix=str(Path(folder) / "profile"))
            session = OnnxRuntimeSession(model, library_session, definition)
            for _ in range(PROFILE_WARMUP_CALLS + calls):
                session.run(feeds)
            return node_times(Path(library_session.end_profiling()), calls)

    def _open(self, model: Path, definition: Definition, profile_prefix: str | None = None) -> Any:
        self.check_options(definition)
        if not (availability := self.available(definition)).usable:
            raise availability.error(definition.name)
        library = _import_onnxruntime()
        missing = _preload_cuda(library) if definition.device != "cpu" else ""
        options = _session_options(library, definition)
        if profile_prefix:
            options.enable_profiling, options.profile_file_prefix = True, profile_prefix
        registered = _register_operators(options, model)
        try:
            session = _open_session(library, model, options, definition)
        except Exception as exc:
            if not registered:
                raise RuntimeUnavailableError(
                    f"runtime {definition.name!r} is not usable for {model.name!r}: its layers need {_STACK_PACKAGE}, "
                    f"which is not installed; run: pip install {_STACK_PACKAGE}"
                ) from exc
            raise _engine_error(f"cannot load {model.name!r}", exc) from exc
        session.disable_fallback()
        if definition.device != "cpu":
            _check_on_cuda(session, definition, missing)
        return session


def _register_operators(options: Any, model: Path) -> bool:
    """Register the operators of installed packages where the file uses them; whether it has all that it uses."""
    if not _mentions(model, _STACK_OPERATOR):
        return True
    packages = entry_points(group=STACK_PACKAGES)
    for package in packages:
        try:
            options.register_custom_ops_library(str(package.load()()))
        except Exception as exc:  # a damaged installation can raise anything
            raise _engine_error(f"cannot use the operators of {package.value!r}", exc) from exc
    return bool(packages)


def _mentions(model: Path, word: bytes) -> bool:
    """Whether the bytes of a file hold a word; reading it so costs a tenth of parsing it."""
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(word) >= 0
    except (OSError, ValueError):  # no such file, or an empty one: ONNX Runtime says so
        return False


def _open_session(library: Any, model: Path, options: Any, definition: Definition) -> Any:
    """Open a session whose products of u8 and s8 are exact wherever ONNX Runtime can.

    A CPU without VNNI adds pairs of such products in 16 bits, which saturate. With the option that mends it, ONNX
    Runtime 1.32 cannot load a file whose nodes share a weight, such as unrolled steps; there they go on to saturate.
    """
    providers = _providers(definition)
    if lacks_vnni():
        options.add_session_config_entry(_EXACT_PRODUCTS, "1")
        options.log_severity_level = 4  # what fails here is tried again
        with contextlib.suppress(Exception):
            return library.InferenceSession(str(model), options, providers=providers)
        options.add_session_config_entry(_EXACT_PRODUCTS, "0")
        options.log_severity_level = 3
    return library.InferenceSession(str(model), options, providers=providers)


def _session_options(library: Any, definition: Definition) -> Any:
    chosen: dict[str, Any] = _SESSION_OPTIONS | definition.options
    options = library.SessionOptions()
    options.intra_op_num_threads = definition.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    level = _LEVELS[str(chosen["graph_optimization_level"])]
    options.graph_optimization_level = getattr(library.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(chosen["allow_spinning"])))
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _providers(definition: Definition) -> list[Any]:
    if definition.device == "cpu":
        return ["CPUExecutionProvider"]
    chosen = {"use_tf32": 0} | {key: value for key, value in definition.options.items() if key in _CUDA_OPTIONS}
    return [(_CUDA, {"device_id": _device_id(definition), **chosen}), "CPUExecutionProvider"]


def _preload_cuda(library: Any) -> str:
    """Load CUDA's libraries from where pip put them, and return what is printed about the first that is missing."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        library.preload_dlls()
    return printed.getvalue().partition("\n")[0]


def _check_on_cuda(session: Any, definition: Definition, missing: str) -> None:
    """Refuse a session in which the nodes that matter, or their type, are not what the definition says."""
    if _CUDA not in session.get_providers():
        raise RuntimeUnavailableError(
            f"runtime {definition.name!r} is not usable: {_CUDA} did not start: {missing or 'no reason given'}; "
            "run: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
    fallen = {
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != _CUDA
        for node in part.get_nodes()
    }
    if fallen & _HEAVY:
        raise RuntimeUnavailableError(
            f"runtime {definition.name!r} is not usable for this model: {', '.join(sorted(fallen & _HEAVY))} would run "
            "on the CPU; on CUDA a GRU needs linear_before_reset=1, and no LSTM or GRU may have clip or peepholes"
        )
    if any(a.type == "tensor(float16)" for a in (*session.get_inputs(), *session.get_outputs())):
        raise RuntimeUnavailableError(
            f"runtime {definition.name!r} is not usable for this model: the graph computes in float16, not float32"
        )
