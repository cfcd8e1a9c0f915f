"""A whole ONNX graph in float64, operator by operator: the reference where there is no PyTorch source.

1. Recurrent nodes are computed by `operators` (stacks of them by `recurrent_stack`), all others by `float64`; an
   operator that is not proven is refused.
2. Every float32, float16 and bfloat16 constant, cast and attribute becomes float64, in bodies too.
3. An `Alteration` computes the graph with one thing done differently, to see whether that explains a wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from rnnexport.engines.contract import Feeds
from rnnexport.errors import InputError, NoReferenceError
from rnnexport.onnx_files.operators import RECURRENT, STACK
from rnnexport.parity.crosscheck import ROUNDINGS, CrossCheck, least_size, load_unoptimised, run_unoptimised
from rnnexport.parity.float64.formats import FLOAT16, HALF_UNITS, narrow_values
from rnnexport.parity.float64.graph import Compiler, Graph, NodeFailedError, Step, Watch
from rnnexport.parity.float64.node import GraphNode, Kernel
from rnnexport.parity.float64.supported_operators import check_claimed, proven_kernel
from rnnexport.parity.float64.widening import wide
from rnnexport.parity.recurrent_operators import Arithmetic, Rounding, evaluate
from rnnexport.parity.recurrent_stack import evaluate_stack, rounded_stack
from rnnexport.parity.rounding import HALF_UNIT, SMALLEST, to_bfloat16, to_float16, to_float32, within_a_unit

if TYPE_CHECKING:
    import onnx

_DRAWS = 2
"""Of rounding at random, for each call."""


def _unchanged(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x


@dataclass(frozen=True, slots=True)
class Alteration:
    """What is computed otherwise than the operator specification says; by default nothing."""

    recurrent: Callable[..., tuple[NDArray[np.float64], ...]] = evaluate
    """Takes what `operators.evaluate` takes."""
    operand: Rounding = _unchanged
    """Of both operands of MatMul, Gemm and Conv."""
    constant: Rounding = _unchanged
    """Of every floating-point constant."""
    value: Rounding = _unchanged
    """Of every floating-point input of the graph and output of a node."""


def everything_in(rounding: Rounding) -> Alteration:
    """Every constant, operand and value rounded; sums stay wide."""
    return Alteration(partial(evaluate, arithmetic=Arithmetic(rounding, rounding)), rounding, rounding, rounding)


class Float64Model:
    """An ONNX graph, ready to be evaluated.

    Args:
        source: A file, whose external data is read, too; or a model, which is not changed.
        extra_outputs: Values inside the graph to return as well.
        alteration: What to compute differently.
        altered_node: The only recurrent node, by its first output, that `alteration.recurrent` is for; default: all.

    Raises:
        NoReferenceError: It holds an operator that is not proven to be computed rightly here.
        InputError: The file cannot be read, or contradicts itself.
    """

    def __init__(
        self,
        source: Path | onnx.ModelProto,
        extra_outputs: Sequence[str] = (),
        alteration: Alteration = Alteration(),
        altered_node: str | None = None,
    ) -> None:
        self.name = source.name if isinstance(source, Path) else "the graph"
        self._value = alteration.value
        kernel = partial(_kernel, alteration, altered_node)
        try:
            model, outside = _read(source, alteration.constant)
            self.opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
            self.graph = Graph(model.graph, Compiler(self.opset, kernel, alteration.constant), extra_outputs)
            self.narrow = narrow_values(model)
        except NoReferenceError as exc:
            raise NoReferenceError(f"{self.name} has no reference: none is proven for {exc}") from exc
        except Exception as exc:  # whatever a contradictory file makes the reader raise
            raise InputError(f"{self.name} cannot be evaluated in float64: {_first_line(exc)}") from exc
        self.graph.constants |= outside
        self.outputs = [*self.graph.outputs, *extra_outputs]

    def run(self, feeds: Feeds, watch: Watch | None = None) -> dict[str, NDArray[Any]]:
        """Return all outputs, floating-point ones as float64.

        `watch` sees the nodes one by one; see `graph.Watch`.

        Raises:
            NoReferenceError: On these feeds an operator has a form that is not proven.
            InputError: An operator fails on these feeds.
        """
        given = {name: self._round(name, wide(array)) for name, array in feeds.items()}
        if watch is None and self._value is not _unchanged:
            watch = self._round_outputs
        try:
            with np.errstate(all="ignore"):  # NaN and infinity are values like others here
                values = self.graph.run(given, watch=watch)
        except NoReferenceError as exc:
            raise NoReferenceError(f"{self.name} has no reference: none is proven for {exc}") from exc
        except NodeFailedError as exc:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise InputError(f"{self.name} cannot be evaluated with {shapes}: {exc}") from exc
        return {name: values[name] for name in self.outputs}

    def altered(self, path: Path, rounding: Rounding) -> Float64Model:
        """The file with every value and operand rounded; it shares the constants, which are float32 as they are."""
        model = Float64Model(path, alteration=replace(everything_in(rounding), constant=_unchanged))
        model.graph.constants = self.graph.constants
        return model

    def _round_outputs(
        self, step: Step, _inputs: Sequence[Any], _scope: Any, outputs: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        return tuple(self._round(name, array) for name, array in zip(step.node.outputs, outputs, strict=False))

    def _round(self, name: str, value: Any) -> Any:
        """Round a value, and then to what the file keeps it in, where that is less than float32."""
        rounded = _rounded(self._value, value)
        if self._value is _unchanged or name not in self.narrow:
            return rounded
        return _rounded(to_float16 if self.narrow[name] == FLOAT16 else to_bfloat16, rounded)


def _read(source: Path | onnx.ModelProto, constant: Rounding) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """The model, its own functions inlined, and the constants that lie beside the file."""
    import onnx
    from onnx import inliner

    if isinstance(source, Path):
        model = onnx.load(source, load_external_data=False)
        outside = _external_constants(source, model, constant)
    else:
        model, outside = source, {}
    return (inliner.inline_local_functions(model) if model.functions else model), outside


def _external_constants(path: Path, model: Any, constant: Rounding) -> dict[str, NDArray[Any]]:
    """Take the constants that lie beside the file out of the graph, as arrays; a message of over 2 GB is no message."""
    import onnx_ir
    from onnx.external_data_helper import load_external_data_for_model, uses_external_data

    outside = [tensor for tensor in model.graph.initializer if uses_external_data(tensor)]
    if not outside:
        return {}
    constants = {name: value.const_value for name, value in onnx_ir.load(path).graph.initializers.items()}
    for tensor in outside:
        model.graph.initializer.remove(tensor)
    load_external_data_for_model(model, str(path.parent))  # of the bodies of If, Loop and Scan
    names = {tensor.name for tensor in outside}
    arrays = {n: wide(np.asarray(t.numpy())) for n, t in constants.items() if n in names and t is not None}
    return {n: _rounded(constant, a) for n, a in arrays.items()}


def _rounded(rounding: Rounding, value: Any) -> Any:
    return rounding(value) if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating) else value


def _first_line(exc: Exception) -> str:
    return f"{type(exc).__name__}: {(str(exc).splitlines() or [''])[0]}"


def _kernel(alteration: Alteration, altered_node: str | None, node: GraphNode, opset: int) -> Kernel:
    """What computes a node, altered."""
    if node.op_type == STACK:
        return partial(_stack, alteration)
    if node.op_type in RECURRENT:
        check_claimed(node)
        return partial(_recurrent, alteration.recurrent if altered_node in (None, *node.outputs) else evaluate)
    kernel = proven_kernel(node, opset, alteration.constant)
    if node.op_type in ("MatMul", "Gemm", "Conv") and alteration.operand is not _unchanged:
        return partial(_product, kernel, alteration.operand)
    return kernel


def _recurrent(
    compute: Callable[..., tuple[NDArray[Any], ...]], node: GraphNode, *inputs: Any
) -> tuple[NDArray[Any], ...]:
    attributes = {name: value for name, value in node.attributes.items() if name != "output_sequence"}
    return compute(node.op_type, [*inputs], **attributes)


def _stack(alteration: Alteration, node: GraphNode, *inputs: Any) -> tuple[NDArray[Any], ...]:
    """The layers of a stack. Where numbers are rounded, it rounds its activations; fault models leave it as it is."""
    if alteration.operand is _unchanged:
        return evaluate_stack(inputs, node.attributes)
    return rounded_stack(inputs, node.attributes, Arithmetic(alteration.operand, alteration.value))


def _product(
    kernel: Kernel, operand: Rounding, node: GraphNode, first: Any, second: Any, *rest: Any
) -> tuple[Any, ...]:
    return kernel(node, operand(first), operand(second), *rest)


def float64_job(
    arguments: dict[str, Any], cases: Iterator[Feeds]
) -> Iterator[tuple[dict[str, NDArray[Any]], dict[str, Any]]]:
    """Worker job: the graph in float64, as `float64/NAME`, and in float32, as `float32/NAME`.

    Float32 is the worst of ONNX Runtime, unoptimised, where it runs the file, and of the evaluator with everything
    rounded, once as it is in float32 and some times at random: any alone may happen to be unusually exact, and would
    then condemn a runtime that is as exact as float32 can be expected to be. Each node is held against ONNX Runtime's
    in the first call that runs it.

    A call that cannot be evaluated is outside the model's domain: it has no outputs, and the extra `outside` says why.

    Raises:
        NoReferenceError: The evaluator cannot be trusted on this file.
    """
    path = Path(arguments["model"])
    model = Float64Model(path)
    check = CrossCheck(model.opset)
    session = load_unoptimised(path)
    nearest, random = [
        model.altered(path, to_float32),
        model.altered(path, partial(within_a_unit, generator=default_rng(0))),
    ]
    checked = False
    for feeds in cases:
        try:
            expected = model.run(feeds, watch=check)
        except NoReferenceError:
            raise
        except InputError as exc:
            if not checked:
                check = CrossCheck(model.opset)
            yield {}, {"outside": str(exc)}
            continue
        checked, check.runs = True, 1
        if check.found:
            raise NoReferenceError(f"{path.name} has no proven reference, so there is no verdict: {check.found[0]}")
        narrow: list[Feeds] = [nearest.run(feeds), *(random.run(feeds) for _ in range(_DRAWS))]
        if session is not None and (outputs := run_unoptimised(session, feeds)) is not None:
            _check_explained(model, expected, outputs, narrow)
            narrow.append(outputs)
        worst = {name: max((each[name] for each in narrow), key=partial(_error, expected[name])) for name in expected}
        yield (
            {f"float64/{n}": a for n, a in expected.items()} | {f"float32/{n}": a for n, a in worst.items()},
            {"held": check.held, "not_held": sorted(check.not_held), "never_run": check.never_run(model.graph)},
        )


def _check_explained(model: Float64Model, expected: Feeds, actual: Feeds, rounded: Sequence[Feeds]) -> None:
    """Refuse a reference from which ONNX Runtime is further than rounding explains."""
    least = least_size(model.graph.steps)
    for output, wide_values in expected.items():
        if wide_values.dtype != np.float64:
            continue
        size = np.abs(wide_values[np.isfinite(wide_values)]).max(initial=least)
        half_unit = HALF_UNITS[model.narrow[output]] / ROUNDINGS if output in model.narrow else HALF_UNIT
        rounding = max(_error(wide_values, each[output]) for each in rounded) + float(size) * half_unit + SMALLEST
        if (error := _error(wide_values, actual[output])) > ROUNDINGS * rounding:
            raise NoReferenceError(
                f"{model.name} has no proven reference, so there is no verdict: ONNX Runtime, unoptimised, differs "
                f"from it in {output!r} by {error:.2g}, where rounding explains {ROUNDINGS * rounding:.2g}"
            )


def _error(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    if actual.shape != expected.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(np.abs(actual.astype(np.float64) - expected)).max(initial=0.0))
