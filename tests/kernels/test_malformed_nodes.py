"""A node that says something wrong is refused in one line when its session is made, and never crashes."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.kernels.recurrent_stack import DrawnStack, run, session

Change = Callable[[onnx.ModelProto], None]


def attribute(name: str, value: object) -> Change:
    """Set an attribute, or remove it."""

    def change(model: onnx.ModelProto) -> None:
        node = model.graph.node[0]
        kept = [each for each in node.attribute if each.name != name]
        del node.attribute[:]
        node.attribute.extend(kept)
        if value is not None:
            node.attribute.append(helper.make_attribute(name, value))

    return change


def constant(name: str, array: np.ndarray) -> Change:
    """Replace an initializer."""

    def change(model: onnx.ModelProto) -> None:
        place = next(i for i, each in enumerate(model.graph.initializer) if each.name == name)
        model.graph.initializer[place].CopyFrom(numpy_helper.from_array(array, name))

    return change


def weights_as_input(model: onnx.ModelProto) -> None:
    """No constant any more."""
    kept = [each for each in model.graph.initializer if each.name != "weights"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.input.append(helper.make_tensor_value_info("weights", onnx.TensorProto.UINT8, [None]))


def without_scales(model: onnx.ModelProto) -> None:
    """The input is left out."""
    model.graph.node[0].input[2] = ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (attribute("cell", None), "the attribute cell is missing"),
        (attribute("cell", "mamba"), "cell = 'mamba': choose lstm, gru, rnn_tanh or rnn_relu"),
        (attribute("cell", 3), "the attribute cell is missing or no string"),
        (attribute("direction", "up"), "direction = 'up': choose forward"),
        (attribute("layout", 2), "layout = 2: choose 0 or 1"),
        (attribute("linear_before_reset", -1), "linear_before_reset = -1: choose 0 or 1"),
        (attribute("hidden_size", 0), "hidden_size = 0: choose 1 to"),
        (attribute("hidden_size", 2**62), "hidden_size = 4611686018427387904: choose 1 to"),
        (attribute("hidden_size", 7), "B has the shape [1, 48]: give [1, 56]"),
        (attribute("input_size", None), "the attribute input_size is missing"),
        (attribute("num_layers", 2), "weight_bits has 4 values: give 8"),
        (attribute("weight_bits", [8, 8, 8, 5]), "weight_bits = 5: choose 32 or 16 or 8 or 4"),
        (attribute("weight_bits", [8, 8, 8, 16]), "weights has"),
        (attribute("block_size", 48), "block_size = 48: choose 32 or 64"),
        (attribute("activation_bits", 16), "activation_bits = 16: choose 12 or 8"),
        (constant("weights", np.zeros(3, np.uint8)), "weights has 3 bytes: these attributes take 264"),
        (constant("weights", np.zeros((2, 132), np.uint8)), "weights must have one dimension"),
        (constant("weights", np.full(264, 128, np.uint8)), "weights of 8 bits hold -128"),
        (constant("scales", np.zeros(5, np.float32)), "scales has 5 values: these attributes take 48"),
        (constant("scales", np.full(48, np.nan, np.float32)), "scales holds a value that is not finite"),
        (constant("B", np.zeros((1, 24), np.float32)), "B has the shape [1, 24]: give [1, 48]"),
        (without_scales, "scales has 0 values: these attributes take 48"),
        (weights_as_input, "weights is no constant"),
        (attribute("version", 2), "version = 2: this library knows 1; install another"),
    ],
)
def test_a_malformed_node_is_refused(library: Path, change: Change, words: str) -> None:
    model = DrawnStack(weight_bits=8).model()
    change(model)
    with pytest.raises(Exception, match="RecurrentStack") as refused:
        session(model, library)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("X", np.zeros((2, 3, 4), np.float32), "X has the shape [2, 3, 4]: give [2, 3, 5]"),
        ("X", np.zeros((0, 3, 5), np.float32), "X has no time step"),
        ("sequence_lens", np.array([1, 2, 3], np.int32), "sequence_lens holds 3: choose 0 to 2"),
        ("sequence_lens", np.array([1, -2, 2], np.int32), "sequence_lens holds -2: choose 0 to 2"),
        ("sequence_lens", np.array([1], np.int32), "sequence_lens has the shape [1]: give [3]"),
        ("initial_h", np.zeros((1, 3, 7), np.float32), "initial_h has the shape [1, 3, 7]: give [1, 3, 6]"),
        ("initial_c", np.zeros((2, 3, 6), np.float32), "initial_c has the shape [2, 3, 6]: give [1, 3, 6]"),
    ],
)
def test_a_malformed_call_is_refused(library: Path, name: str, array: np.ndarray, words: str) -> None:
    stack = DrawnStack()
    model = stack.model(lengths=True, states=True, shapes=["a", "b", "c"])
    for given in model.graph.input:
        given.type.tensor_type.shape.Clear()
    with pytest.raises(Exception, match="RecurrentStack") as refused:
        run(model, library, {**stack.feeds(3, 2, lengths=True, states=True), name: array})
    assert words in str(refused.value)


def mutated(model: onnx.ModelProto, generator: np.random.Generator) -> onnx.ModelProto:
    """One to three changes that a damaged or hostile file could hold."""
    model = copy.deepcopy(model)
    node = model.graph.node[0]
    for _ in range(generator.integers(1, 4)):
        kind = generator.integers(6)
        if kind == 0 and node.attribute:
            changed = node.attribute[generator.integers(len(node.attribute))]
            number = int(generator.choice([-1, 0, 1, 2, 3, 8, 31, 2**31, 2**62, -(2**63)]))
            new = [number, [number] * int(generator.integers(1, 9)), "lstm", 0.5][generator.integers(4)]
            changed.CopyFrom(helper.make_attribute(changed.name, new))
        elif kind == 1 and node.attribute:
            del node.attribute[generator.integers(len(node.attribute))]
        elif kind == 2:
            tensor = model.graph.initializer[generator.integers(len(model.graph.initializer))]
            array = numpy_helper.to_array(tensor)
            shapes = [
                array.ravel()[: generator.integers(array.size + 1)],
                array.reshape(-1, 1),
                np.append(array, array),
            ]
            tensor.CopyFrom(numpy_helper.from_array(shapes[generator.integers(3)].copy(), tensor.name))
        elif kind == 3 and node.input:
            node.input[generator.integers(len(node.input))] = ["", "X", "weights", "scales", "B"][generator.integers(5)]
        elif kind == 4:
            del node.input[generator.integers(len(node.input) + 1) :]
        else:
            tensor = model.graph.initializer[generator.integers(len(model.graph.initializer))]
            noise = bytearray(tensor.raw_data)
            for place in generator.integers(0, len(noise), 4) if noise else ():
                noise[place] = generator.integers(256)
            tensor.raw_data = bytes(noise)
    return model


@pytest.mark.slow
def test_a_thousand_mutated_files_are_run_or_refused(library: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(1000):
        bits = int(generator.choice([32, 16, 8, 4]))
        cell = str(generator.choice(["lstm", "gru", "rnn_tanh"]))
        stack = DrawnStack(cell, num_layers=2, hidden_size=20, weight_bits=bits)
        (tmp_path / f"{number}.onnx").write_bytes(mutated(stack.model(states=True), generator).SerializeToString())
        feeds: Any = stack.feeds(2, 3, states=True)
        np.savez(tmp_path / f"{number}.npz", **feeds)
    program = (
        "import sys, pathlib, numpy, onnx\n"
        "from tests.kernels.recurrent_stack import run\n"
        "refused = 0\n"
        "for path in sorted(pathlib.Path(sys.argv[2]).glob('*.onnx')):\n"
        "    print(path.stem, flush=True)\n"
        "    try:\n"
        "        run(onnx.load(path), pathlib.Path(sys.argv[1]), dict(numpy.load(path.with_suffix('.npz'))))\n"
        "    except Exception:\n"
        "        refused += 1\n"
        "print('refused', refused)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(library), str(tmp_path)], capture_output=True, text=True, check=False
    )
    last = ended.stdout.splitlines()[-1]
    assert ended.returncode == 0, f"the process ended with {ended.returncode} at {last}: {ended.stderr[-500:]}"
    assert 500 < int(last.removeprefix("refused ")) < 1000
