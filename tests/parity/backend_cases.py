"""The ONNX backend node cases, at every operator set: what an evaluator of ONNX operators is held against.

onnx makes each case for one form of its operator, mostly the newest. The others are held against the same inputs:

1. An input that is an attribute of the other form, such as the axes of Squeeze before operator set 13, becomes that
   attribute. An attribute that the other form lacks is left out where it has its default, and an input that was left
   out, but which the other form asks for, is empty.
2. The case is of the other form if onnx's checker and its strict shape inference, with types, accept it there.
3. What should come is what ONNX Runtime, unoptimised, gives at that operator set. Where it does not run it, it is what
   the case says, if the two forms have the same inputs, outputs and attributes and differ in types only.

Run as a script it prints operators and versions: right, wrong, refused, not claimed.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper, shape_inference
from onnx.backend.test.case import model as model_cases
from onnx.backend.test.case import node as node_cases

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.errors import InputError, NoReferenceError, RnnexportError
from rnnexport.onnx_files.reading import OLDEST_OPSET
from rnnexport.parity.compare import size_of
from rnnexport.parity.onnx_float64 import Float64Model

ORT = Definition(
    name="unoptimised",
    engine="onnxruntime",
    precision="float32",
    threads=1,
    options={"graph_optimization_level": "disabled"},
)
ALL_MODULES = tuple(module.name for module in pkgutil.iter_modules(node_cases.__path__))
Outcome = Literal["right", "wrong", "refused"]


@dataclass(frozen=True)
class BackendCase:
    """One case of one form of an operator."""

    name: str
    op_type: str
    since_version: int
    model: onnx.ModelProto
    inputs: list[Any]
    outputs: list[Any]


def backend_cases(modules: Sequence[str] = ()) -> Iterator[BackendCase]:
    """Yield the cases of some modules of `onnx.backend.test.case.node`, all by default, at every operator set."""
    for case in chain.from_iterable(_cases(name) for name in modules or ALL_MODULES):
        versions = [entry.version for entry in case.model.opset_import if entry.domain == ""]
        nodes = case.model.graph.node
        if not versions or len(nodes) != 1 or nodes[0].domain or "_expanded" in case.name:
            continue
        newest = defs.get_schema(nodes[0].op_type, versions[0], "")
        inputs, outputs = ([_array(value) for value in side] for side in case.data_sets[0])
        own = BackendCase(case.name, newest.name, newest.since_version, case.model, inputs, outputs)
        known = forms(newest.name)
        if newest.since_version in (form.since_version for form, _ in known):
            yield own
        for other, opset in known:
            if other.since_version != newest.since_version and (restamped := _at(own, other, opset, newest)):
                yield restamped


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


@cache
def _cases(module: str) -> list[Any]:
    """What a module adds to onnx's list when it is imported."""
    before = len(node_cases._NodeTestCases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx casts what overflows, on purpose
        importlib.import_module(f"{node_cases.__name__}.{module}")
    return node_cases._NodeTestCases[before:]


def sequence_cases() -> Iterator[BackendCase]:
    """Yield onnx's models of the operators on sequences, most of which have no node case, once for each operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(f"{model_cases.__name__}.sequence")
    for case in model_cases._SimpleModelTestCases:
        if not case.name.startswith("test_sequence"):
            continue
        (opset,) = (entry.version for entry in case.model.opset_import if entry.domain == "")
        inputs, outputs = ([_array(value) for value in side] for side in case.data_sets[0])
        for op_type in sorted({node.op_type for node in case.model.graph.node if "Sequence" in node.op_type}):
            version = defs.get_schema(op_type, opset, "").since_version
            yield BackendCase(case.name, op_type, version, case.model, inputs, outputs)


@cache
def all_cases() -> list[BackendCase]:
    """Every case there is."""
    return [*backend_cases(), *sequence_cases()]


def forms(op_type: str) -> list[tuple[defs.OpSchema, int]]:
    """Every form of an operator that a file may hold, and the newest operator set that has it."""
    newest = defs.onnx_opset_version()
    found: dict[int, tuple[defs.OpSchema, int]] = {}
    for opset in range(OLDEST_OPSET, newest + 1):
        if defs.has(op_type, opset, ""):
            schema = defs.get_schema(op_type, opset, "")
            found[schema.since_version] = schema, opset
    return [form for form in found.values() if not form[0].deprecated]


def _at(case: BackendCase, other: defs.OpSchema, opset: int, own: defs.OpSchema) -> BackendCase | None:
    """The case in another form of the operator, by the rules of this module; `None` where it is none."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    model.ir_version = min(model.ir_version, 10)
    next(entry for entry in model.opset_import if entry.domain == "").version = opset
    (node,) = model.graph.node
    inputs = dict(zip([name for name in node.input if name], case.inputs, strict=False))
    if not _inputs_as_attributes(node, other, own, inputs):
        return None
    for position, name in enumerate(node.input):
        if not name and other.inputs[position].option == defs.OpSchema.FormalParameterOption.Single:
            node.input[position] = f"empty {position}"
            inputs[node.input[position]] = np.zeros(0, np.float32)
            model.graph.input.append(helper.make_tensor_value_info(node.input[position], 1, [0]))
    for attribute in [*node.attribute]:
        if attribute.name not in other.attributes:
            default = own.attributes[attribute.name].default_value
            if helper.get_attribute_value(attribute) != (helper.get_attribute_value(default) if default.type else None):
                return None
            node.attribute.remove(attribute)
    kept = [value for value in model.graph.input if value.name in inputs]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    try:
        onnx.checker.check_model(model)
        shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except Exception:  # whatever it says, the other form has no such case
        return None
    given = [inputs[value.name] for value in kept]
    outputs = _onnxruntime(model, given)
    if outputs is None and _signature(other) == _signature(own):
        outputs = case.outputs
    if outputs is None:
        return None
    return BackendCase(f"{case.name}@{opset}", case.op_type, other.since_version, model, given, outputs)


def _inputs_as_attributes(
    node: onnx.NodeProto, other: defs.OpSchema, own: defs.OpSchema, inputs: dict[str, Any]
) -> bool:
    """Make attributes of those inputs that the other form takes as such; false where it takes them in no way."""
    names = [parameter.name for parameter in own.inputs]
    known = [parameter.name for parameter in other.inputs]
    for position in range(len(node.input))[::-1]:
        name = names[min(position, len(names) - 1)]
        if name in known or (len(known) > position and other.inputs[position].option != own.inputs[0].option):
            continue
        if name in other.attributes:
            value = node.input[position]
            if value:
                array = np.asarray(inputs.pop(value))
                of_list = other.attributes[name].type in (defs.OpSchema.AttrType.INTS, defs.OpSchema.AttrType.FLOATS)
                values, kind = array.tolist() if of_list else array.item(), int(other.attributes[name].type)  # type: ignore[call-overload]
                node.attribute.append(helper.make_attribute(name, values, attr_type=kind))
            del node.input[position]
        elif position >= other.max_input:
            if node.input[position]:
                return False
            del node.input[position]
    return True


def _signature(schema: defs.OpSchema) -> list[Any]:
    """All of a form but its types."""
    attributes = {
        name: (a.type, a.required, a.default_value.SerializeToString()) for name, a in schema.attributes.items()
    }
    parameters = [[(p.name, p.option) for p in side] for side in (schema.inputs, schema.outputs)]
    return [attributes, parameters]


def _onnxruntime(model: onnx.ModelProto, inputs: list[Any]) -> list[Any] | None:
    """What ONNX Runtime gives, or nothing where it does not run the file."""
    if not all(isinstance(array, np.ndarray) for array in inputs):
        return None
    feeds = {value.name: array for value, array in zip(model.graph.input, inputs, strict=True)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.onnx"
        onnx.save(model, path)
        try:
            return list(get_engine("onnxruntime").load(path, ORT).run(feeds).values())
        except (RnnexportError, TypeError):
            return None


def outcome(case: BackendCase) -> tuple[Outcome, str]:
    """What the evaluator makes of a case, and what is wrong or refused."""
    try:
        feeds = {value.name: array for value, array in zip(case.model.graph.input, case.inputs, strict=False)}
        actual = list(Float64Model(case.model).run(feeds).values())
    except NoReferenceError as exc:
        return "refused", str(exc)
    except InputError as exc:
        return "wrong", str(exc)
    for expected, found in zip(case.outputs, actual, strict=True):
        if problem := _difference(expected, found):
            return "wrong", problem
    return "right", ""


def _difference(expected: Any, actual: Any) -> str:
    if isinstance(actual, list) and not isinstance(expected, list):
        expected = [expected]  # so a case writes a sequence of one
    if isinstance(expected, list):
        return next((d for pair in zip(expected, actual, strict=True) if (d := _difference(*pair))), "")
    expected, actual = np.asarray(expected), np.asarray(actual)
    if actual.shape != expected.shape:
        return f"shape {actual.shape}, not {expected.shape}"
    if expected.dtype.kind in "OUS":
        return "" if [*map(str, expected.ravel())] == [*map(str, actual.ravel())] else "other strings"
    narrow = expected.dtype.name in ("float16", "bfloat16")
    wide = expected.dtype.name in ("float16", "bfloat16", "float32", "float64")
    if wide and actual.dtype != np.float64:
        return f"{actual.dtype}, not float64"
    if not wide and actual.dtype != expected.dtype:
        return f"{actual.dtype}, not {expected.dtype}"
    if not wide:
        return "" if np.array_equal(expected, actual) else "other values"
    expected = expected.astype(np.float64)
    bound = 2e-2 if narrow else 1e-4
    return "" if np.allclose(actual, expected, bound, bound * size_of(expected), equal_nan=True) else "other values"


def main() -> None:
    """Print the table."""
    counts: dict[str, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    for case in backend_cases(sys.argv[1:]) if sys.argv[1:] else all_cases():
        result, why = outcome(case)
        counts[case.op_type][case.since_version][result] += 1
        if result != "right":
            print(f"{result}: {case.name} ({case.op_type}-{case.since_version}): {why}")
    for op_type in sorted(counts):
        cells = []
        for schema, _ in forms(op_type):
            found = counts[op_type][schema.since_version]
            cells.append(f"{schema.since_version}: " + (", ".join(f"{n} {k}" for k, n in found.items()) or "no case"))
        print(f"{op_type:28}" + "; ".join(cells))


if __name__ == "__main__":
    main()
