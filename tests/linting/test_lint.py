"""Each rule finds its fault and nothing else; each repair is proved by running both files."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.table import Table

from rnnexport.bundle.bundle import reference_bundles
from rnnexport.errors import InputError
from rnnexport.linting.keras_origin import keras_exporter
from rnnexport.linting.lint import find, lint
from rnnexport.linting.rules import all_rules
from rnnexport.onnx_files.reading import read_model
from rnnexport.report.lint import lint_tables
from tests.graphs import Graph

FLOAT, HIDDEN, INPUTS = TensorProto.FLOAT, 6, 4
Change = Callable[[onnx.ModelProto], None]


def clean(batch="batch", time="time") -> onnx.ModelProto:
    """Map x [time, batch, 4] → GRU → Squeeze → y, with dynamic sizes."""
    g = Graph(opset=20)
    weights = g.weights("GRU", INPUTS, HIDDEN)
    g.op("GRU", "x", *weights, outputs=["Y", "Y_h"], name="gru", hidden_size=HIDDEN, linear_before_reset=1)
    g.op("Squeeze", "Y", g.constant([1], np.int64, "one"), outputs=["y"], name="squeeze")
    shapes = {"x": [time, batch, INPUTS]}, {"y": [time, batch, HIDDEN]}
    return g.model(*shapes, ir_version=10, producer="test")


def node(model: onnx.ModelProto, op_type: str = "GRU") -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op_type)


def set_attribute(node: onnx.NodeProto, name: str, value: int) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def fixed_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3


def fixed_time(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 9
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 9


def layout(model):
    """X [batch, time, 4], Y [batch, time, 1, 6]: the squeezed axis is another one."""
    set_attribute(node(model), "layout", 1)
    model.graph.initializer[2].CopyFrom(numpy_helper.from_array(np.array([2]), "one"))
    for value in (model.graph.input[0], model.graph.output[0]):
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("batch", "time"), strict=False):
            dimension.dim_param = name


def gru_form(model):
    set_attribute(node(model), "linear_before_reset", 0)
    model.producer_name = "pytorch"


def sequence_lens(model):
    model.graph.input.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
    node(model).input.extend(["", "lengths"])


def double(model):
    for tensor in model.graph.initializer:
        if tensor.data_type == FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE


def training_mode(model):
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.array(0.5, np.float32), "p"), numpy_helper.from_array(np.array(True), "training")]
    )
    node(model, "Squeeze").input[0] = "kept"
    model.graph.node.insert(1, helper.make_node("Dropout", ["Y", "p", "training"], ["kept"], "drop"))


def output_shape(model):
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = HIDDEN + 1


def vague_output_shape(model):
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_param = "hidden"


def random(model):
    """Noise on the output."""
    model.graph.node.extend(
        [
            helper.make_node("RandomNormalLike", ["y"], ["noise"], "noise"),
            helper.make_node("Add", ["y", "noise"], ["z"]),
        ]
    )
    model.graph.output[0].name = "z"


def saturates(model):
    """A head with weights of 8 bits, one of which uses them all."""
    weights = np.full((HIDDEN, HIDDEN), 3, np.int8)
    weights[0, 0] = -127
    model.graph.initializer.extend(
        [numpy_helper.from_array(weights, "codes"), numpy_helper.from_array(np.array(0.1, np.float32), "scale")]
    )
    inputs = ["y", "codes", "scale"]
    model.graph.node.append(helper.make_node("DynamicQuantizeMatMul", inputs, ["z"], "head", domain="com.microsoft"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.output[0].name = "z"


def ignored_steps(model):
    """The layer gets step 0 of x, whatever its length."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    model.graph.node.insert(0, helper.make_node("Tanh", ["x"], ["bounded"]))
    model.graph.node.insert(1, helper.make_node("Gather", ["bounded", "first"], ["x0"], axis=0))
    node(model).input[0] = "x0"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1


def limited_sizes(model):
    """The layer's output becomes rows of the batch that the exporter's example had."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([7, -1, HIDDEN]), "example"))
    model.graph.node.append(helper.make_node("Reshape", ["y", "example"], ["z"], "rows"))
    output = model.graph.output[0]
    output.CopyFrom(helper.make_tensor_value_info("z", FLOAT, [7, None, HIDDEN]))


def half_weights(model):
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), "W16"))
    model.graph.node.insert(0, helper.make_node("Cast", ["W16"], ["W"], "widen", to=FLOAT))


def two_layouts(model):
    """Feed y → a second GRU; both are transposed to the end."""
    generator = np.random.default_rng(1)
    for name in ("W2", "R2"):
        array = generator.normal(size=(1, 3 * HIDDEN, HIDDEN)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    model.graph.node.extend(
        [
            helper.make_node("GRU", ["y", "W2", "R2"], ["Y2"], "second", hidden_size=HIDDEN, linear_before_reset=1),
            helper.make_node("Squeeze", ["Y2", "one"], ["y2"]),
            helper.make_node("Transpose", ["y"], ["t1"], "t1", perm=[1, 0, 2]),
            helper.make_node("Transpose", ["y2"], ["t2"], perm=[1, 0, 2]),
            helper.make_node("Add", ["t1", "t2"], ["sum"]),
        ]
    )
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("sum", FLOAT, ["batch", "time", HIDDEN]))


def peepholes(model):
    """An LSTM in place of the GRU."""
    generator = np.random.default_rng(3)
    for tensor, columns in zip(model.graph.initializer[:2], (INPUTS, HIDDEN), strict=True):
        array = generator.normal(size=(1, 4 * HIDDEN, columns)).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    p = generator.normal(size=(1, 3 * HIDDEN)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(p, "P"))
    inputs = ["x", "W", "R", "", "", "", "", "P"]
    node(model).CopyFrom(helper.make_node("LSTM", inputs, ["Y"], "lstm", hidden_size=HIDDEN))


def side_by_side(model):
    """A second GRU on x; both outputs are added."""
    generator = np.random.default_rng(1)
    for name, size in (("W2", INPUTS), ("R2", HIDDEN)):
        array = generator.normal(size=(1, 3 * HIDDEN, size)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    model.graph.node.extend(
        [
            helper.make_node("GRU", ["x", "W2", "R2"], ["Y2"], "second", hidden_size=HIDDEN, linear_before_reset=1),
            helper.make_node("Squeeze", ["Y2", "one"], ["y2"]),
            helper.make_node("Add", ["y", "y2"], ["sum"]),
        ]
    )
    model.graph.output[0].name = "sum"


def unrolled(model):
    """An LSTM over 4 steps, as exporters without the operator write it."""
    _cells(model, steps=4)


def written_out(model):
    _cells(model, steps=1)


def _cells(model, steps):
    generator = np.random.default_rng(2)
    graph, make = model.graph, helper.make_node
    sizes = {"Wi": (INPUTS, 4 * HIDDEN), "Wh": (HIDDEN, 4 * HIDDEN)}
    for name, size in sizes.items():
        graph.initializer.append(numpy_helper.from_array(generator.normal(size=size).astype(np.float32), name))
    graph.initializer.append(numpy_helper.from_array(np.zeros((1, HIDDEN), np.float32), "zero"))
    graph.initializer.append(numpy_helper.from_array(np.array(0), "first"))
    h = c = "zero"
    for t in range(steps):
        graph.node.extend(
            [
                make("Gather", ["x", "first"], [f"x{t}"], axis=0),
                make("MatMul", [f"x{t}", "Wi"], [f"a{t}"]),
                make("MatMul", [h, "Wh"], [f"b{t}"]),
                make("Add", [f"a{t}", f"b{t}"], [f"gates{t}"]),
                make("Split", [f"gates{t}"], [f"{g}{t}" for g in "ifgo"], axis=1, num_outputs=4),
                *[make("Sigmoid", [f"{g}{t}"], [f"s{g}{t}"]) for g in "ifo"],
                make("Tanh", [f"g{t}"], [f"tg{t}"]),
                make("Mul", [f"sf{t}", c], [f"fc{t}"]),
                make("Mul", [f"si{t}", f"tg{t}"], [f"ig{t}"]),
                make("Add", [f"fc{t}", f"ig{t}"], [f"c{t}"]),
                make("Tanh", [f"c{t}"], [f"tc{t}"]),
                make("Mul", [f"so{t}", f"tc{t}"], [f"h{t}"], f"step{t}"),
            ]
        )
        h, c = f"h{t}", f"c{t}"
    graph.output.append(helper.make_tensor_value_info(h, FLOAT, ["batch", HIDDEN]))


FAULTS: dict[str, Change] = {
    "fixed-batch": fixed_batch,
    "fixed-time": fixed_time,
    "layout-1": layout,
    "gru-form": gru_form,
    "sequence-lens": sequence_lens,
    "double": double,
    "training-mode": training_mode,
    "output-shape": output_shape,
    "vague-output-shape": vague_output_shape,
    "random": random,
    "saturates": saturates,
    "ignored-steps": ignored_steps,
    "limited-sizes": limited_sizes,
    "half-weights": half_weights,
    "two-layouts": two_layouts,
    "ignored-by-openvino": peepholes,
    "side-by-side": side_by_side,
    "unrolled": unrolled,
    "decomposed": written_out,
}


def faulty(name: str, folder: Path) -> Path:
    model = clean()
    FAULTS[name](model)
    onnx.save(model, folder / f"{name}.onnx")
    return folder / f"{name}.onnx"


def test_every_rule_has_its_fault_here():
    assert {rule.name for rule in all_rules()} == FAULTS.keys()


@pytest.mark.parametrize("name", FAULTS)
def test_a_rule_finds_its_fault_and_no_other_does(name, tmp_path):
    assert {finding.rule for finding in find(faulty(name, tmp_path))} == {name}


def test_many_nodes_between_an_input_and_what_reads_it_are_followed(tmp_path):
    model = clean()
    ignored_steps(model)
    model.graph.node[0].output[0] = "v0"
    for i in range(1500):
        model.graph.node.insert(1 + i, helper.make_node("Mul", [f"v{i}"] * 2, [f"v{i + 1}" if i < 1499 else "bounded"]))
    onnx.save(model, tmp_path / "model.onnx")
    assert {finding.rule for finding in find(tmp_path / "model.onnx")} == {"ignored-steps"}


def test_every_other_step_of_a_fixed_part_is_a_part(tmp_path):
    model = clean()
    ends = {"starts": [0], "ends": [6], "axes": [0], "steps": [2]}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(ends[name]), name) for name in ends)
    model.graph.node.insert(0, helper.make_node("Slice", ["x", *ends], ["x0"], "slice"))
    node(model).input[0] = "x0"
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, tmp_path / "model.onnx")
    (found,) = [finding for finding in find(tmp_path / "model.onnx") if finding.rule == "ignored-steps"]
    assert found.what.endswith("read at 0, 2, 4 only")


def test_a_split_of_a_free_dimension_limits_it(tmp_path):
    model = clean()
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "sizes"))
    model.graph.node.insert(0, helper.make_node("Split", ["x", "sizes"], ["x0", "x1"], "split"))
    model.graph.node.insert(1, helper.make_node("Concat", ["x1", "x0"], ["rolled"], "concat", axis=0))
    node(model).input[0] = "rolled"
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, tmp_path / "model.onnx")
    (found,) = [finding for finding in find(tmp_path / "model.onnx") if finding.rule == "limited-sizes"]
    assert (found.where, found.what) == ("split", "time is split into 2 parts, which fits only where it is 5")


def test_clean_files_raise_nothing(tmp_path):
    onnx.save(clean(), tmp_path / "clean.onnx")
    for path in (tmp_path / "clean.onnx", *(bundle / "model.onnx" for bundle in reference_bundles())):
        report = lint(path)
        assert report.findings == []
        assert report.exit_status == 0


def test_the_body_of_an_if_is_looked_into(tmp_path):
    model = clean()
    set_attribute(node(model), "linear_before_reset", 0)
    body = helper.make_graph([*model.graph.node], "body", [], [*model.graph.output])
    model.producer_name = "pytorch"
    del model.graph.node[:]
    model.graph.input.append(helper.make_tensor_value_info("condition", TensorProto.BOOL, []))
    model.graph.output[0].name = "result"
    branches = {"then_branch": body, "else_branch": body}
    model.graph.node.append(helper.make_node("If", ["condition"], ["result"], **branches))
    onnx.save(model, tmp_path / "if.onnx")
    assert [finding.rule for finding in find(tmp_path / "if.onnx")] == ["gru-form", "gru-form"]


def test_steps_that_something_reads_whole_are_not_ignored(tmp_path):
    model = clean()
    ignored_steps(model)
    model.graph.node.append(helper.make_node("ReduceSum", ["bounded", "first"], ["total"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("total", FLOAT, ["batch", INPUTS]))
    onnx.save(model, tmp_path / "model.onnx")
    assert "ignored-steps" not in {finding.rule for finding in find(tmp_path / "model.onnx")}


@pytest.mark.parametrize(
    ("shape", "rule"),
    [
        (["time", "batch"], "output-shape"),
        ([7, "batch", HIDDEN], "output-shape"),
        (["time", "batch", "hidden"], "vague-output-shape"),
        (None, "vague-output-shape"),
        (["steps", "rows", HIDDEN], None),
    ],
)
def test_onnx_runtime_warns_of_wrong_shapes_and_of_no_others(shape, rule, tmp_path):
    model = clean()
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, shape))
    onnx.save(model, tmp_path / "model.onnx")
    assert {finding.rule for finding in find(tmp_path / "model.onnx")} == ({rule} if rule else set())
    code = (
        "import sys, numpy, onnxruntime; session = onnxruntime.InferenceSession(sys.argv[1]);"
        f"session.run(None, {{'x': numpy.zeros((2, 3, {INPUTS}), 'float32')}})"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.onnx")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert ("[W:onnxruntime" in said) is (rule == "output-shape")


def test_many_places_of_one_rule_are_counted_and_what_was_looked_at_is_told(tmp_path):
    model = clean()
    model.producer_name, model.producer_version = "tf2onnx", "1.17.0 abc123"
    for number in range(5):
        model.graph.node.append(helper.make_node("RandomNormalLike", ["y"], [f"noise{number}"]))
        model.graph.output.append(helper.make_tensor_value_info(f"noise{number}", FLOAT, ["time", "batch", HIDDEN]))
    onnx.save(model, tmp_path / "model.onnx")
    report = lint(tmp_path / "model.onnx")
    table, scope = lint_tables(report)
    assert isinstance(table, Table)
    assert isinstance(scope, str)
    assert list(table.columns[1].cells) == ["noise0", "noise1", "noise2", "and 2 more"]
    assert f"{len(all_rules())} rules found 5 places; recurrent layers recognised: 1; loads in every runtime" in scope
    assert "Numbers were not compared" in scope
    assert "tf2onnx 1.17.0 wrote the file: `rnnexport export model.keras`" in scope
    report.findings.clear()
    assert "model.keras" not in lint_tables(report)[0]


def test_a_sentence_is_no_column_of_single_words(run, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    said = run("lint", str(faulty("sequence-lens", tmp_path))).out
    assert "OpenVINO: ignores the lengths without a word: padding is read as" in said


def test_a_file_that_keras_wrote_is_known_by_its_inputs():
    model = clean()
    assert keras_exporter(ir.from_proto(model)) is None
    model.graph.input[0].name = model.graph.node[0].input[0] = "keras_tensor_6"
    assert keras_exporter(ir.from_proto(model)) == "Keras"


# What a runtime makes of the file before: an answer that is wrong by more than this, or none.
CONSEQUENCES = {
    "layout-1": ("ONNX Runtime", None),
    "sequence-lens": ("OpenVINO", 0.01),
    "two-layouts": ("OpenVINO, static shapes", 0.01),
    "side-by-side": ("OpenVINO, static shapes", 0.01),
    "training-mode": ("OpenVINO", None),
}


@pytest.mark.parametrize("name", [rule.name for rule in all_rules() if rule.repair()])
def test_a_repair_is_proved_in_every_runtime_and_leaves_the_file_clean(name, tmp_path):
    path = faulty(name, tmp_path)
    before = path.read_bytes()
    report = lint(path, tmp_path / "repaired.onnx")
    assert path.read_bytes() == before
    assert {row.runtime for row in report.proof} == {"ONNX Runtime", "OpenVINO", "OpenVINO, static shapes"}
    assert all(row.after < 1e-5 for row in report.proof)
    if name in CONSEQUENCES:
        runtime, at_least = CONSEQUENCES[name]
        (row,) = [row for row in report.proof if row.runtime == runtime]
        assert row.before is None if at_least is None else row.before > at_least
    left = {finding.rule for finding in lint(tmp_path / "repaired.onnx").findings}
    assert left == ({"fixed-time"} if name == "unrolled" else set())
    onnx.checker.check_model(tmp_path / "repaired.onnx", full_check=True)
    old, new = (onnx.load(p).graph for p in (path, tmp_path / "repaired.onnx"))
    assert [v.name for v in old.input] == [v.name for v in new.input]
    assert [v.name for v in old.output] == [v.name for v in new.output]
    assert unread(new) <= unread(old)


def unread(graph):
    """Initializers of the main graph that no node of it reads."""
    read = {name for each in graph.node for name in each.input} | {output.name for output in graph.output}
    return {tensor.name for tensor in graph.initializer} - read


def test_a_repair_does_nothing_the_second_time(tmp_path):
    for rule in all_rules():
        if repair := rule.repair():
            model = read_model(faulty(rule.name, tmp_path))
            assert repair(model).modified
            assert not repair(model).modified
            onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_a_file_that_a_runtime_cannot_load_is_told_in_its_own_words(tmp_path):
    findings = [finding for finding in lint(faulty("layout-1", tmp_path)).findings if finding.rule == "does-not-load"]
    assert [finding.where for finding in findings] == ["ONNX Runtime"]
    assert "layout" in findings[0].what


def test_the_file_itself_is_never_overwritten(tmp_path):
    path = faulty("sequence-lens", tmp_path)
    with pytest.raises(InputError, match="is never changed; give the repaired file another name"):
        lint(path, path)
