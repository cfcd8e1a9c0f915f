"""Each place in ONNX Runtime's table of functions that the library uses holds the function that it takes it for.

An operator written here in Python, from the same places, asks each function something whose answer is known.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # noqa: TID251 - whose interface this is about
from onnx import helper, numpy_helper

from tests.graphs import value

HEADER = Path(__file__).parents[2] / "kernels" / "source" / "onnxruntime_abi.h"
POINTER, SIZE = ctypes.c_void_p, ctypes.c_size_t
CALLBACK = ctypes.CFUNCTYPE(None, POINTER, SIZE)
FIELDS = re.findall(r"\(\*(\w+)\)\(", HEADER.read_text().partition("struct CustomOperator {")[2])


def places() -> dict[str, int]:
    """The places that the header names."""
    found = re.findall(r"auto (\w+)\(\) const \{\s*return at<.*?>\((\d+)\);", HEADER.read_text(), re.DOTALL)
    return {name: int(place) for name, place in found}


def cast(arguments: tuple[Any, ...]) -> list[Any]:
    """Callbacks as pointers; all else as it is."""
    return [ctypes.cast(each, POINTER) if isinstance(each, CALLBACK) else each for each in arguments]


def always(address: int) -> Callable[[Any], int]:
    """A callback with one answer."""
    return lambda _operator: address


class CustomOperatorTable(ctypes.Structure):
    """OrtCustomOp."""

    _fields_ = [("version", ctypes.c_uint32), *((name, POINTER) for name in FIELDS)]


class Interface:
    """The table of functions, and which of them were called."""

    def __init__(self) -> None:
        (path,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
        library = ctypes.CDLL(str(path))
        library.OrtGetApiBase.restype = ctypes.POINTER(POINTER)
        get_api = ctypes.CFUNCTYPE(ctypes.POINTER(POINTER), ctypes.c_uint32)(library.OrtGetApiBase()[0])
        self.table = get_api(18)
        self.called: set[str] = set()

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that returns a status, which must be that all is well."""
        self.called.add(name)
        self.other(places()[name], *arguments)

    def other(self, place: int, *arguments: Any) -> None:
        """Call what stands at a place."""
        kinds = [SIZE if isinstance(each, int) else POINTER for each in arguments]
        assert not ctypes.CFUNCTYPE(POINTER, *kinds)(self.table[place])(*cast(arguments)), place

    def text(self, name: str, *arguments: Any) -> str:
        """What a function writes into a buffer whose size it states."""
        size = SIZE(0)
        self.call(name, *arguments, None, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(name, *arguments, buffer, ctypes.byref(size))
        return buffer.value.decode()

    def tensor(self, tensor: Any) -> tuple[list[int], int, int]:
        """Shape, type of the elements, and address of the data."""
        shape, data, kind, rank = POINTER(), POINTER(), ctypes.c_int(), SIZE()
        self.call("shape_of", tensor, ctypes.byref(shape))
        self.call("element_type", shape, ctypes.byref(kind))
        self.call("rank", shape, ctypes.byref(rank))
        sizes = (ctypes.c_int64 * rank.value)()
        self.call("dimensions", shape, sizes, rank.value)
        self.called.add("release_shape")
        ctypes.CFUNCTYPE(None, POINTER)(self.table[places()["release_shape"]])(shape)
        self.call("tensor_data", tensor, ctypes.byref(data))
        return list(sizes), kind.value, data.value or 0


def test_every_place_holds_the_function_that_it_is_taken_for() -> None:
    interface, told = Interface(), dict[str, Any]()

    def create(operator: int, table: int, info: int, kernel: int) -> None:
        number, count, constant, tensor = ctypes.c_int64(), SIZE(), ctypes.c_int(), POINTER()
        interface.call("attribute_int", POINTER(info), b"number", ctypes.byref(number))
        interface.call("node_input_count", POINTER(info), ctypes.byref(count))
        several, size = (ctypes.c_int64 * 3)(), SIZE(3)
        interface.call("attribute_ints", POINTER(info), b"several", several, ctypes.byref(size))
        interface.call("constant_input", POINTER(info), 1, ctypes.byref(constant), ctypes.byref(tensor))
        shape, kind, data = interface.tensor(tensor)
        told["made"] = (number.value, count.value, list(several), constant.value, shape, kind)
        told["constant"] = list((ctypes.c_float * 2).from_address(data))
        told["word"] = interface.text("attribute_string", POINTER(info), b"word")
        told["node"] = interface.text("node_name", POINTER(info))
        told["inputs"] = [interface.text("node_input_name", POINTER(info), i) for i in range(count.value)]
        POINTER.from_address(kernel).value = 1

    def compute(kernel: int, context: int) -> None:
        inputs, outputs, given, answer = SIZE(), SIZE(), POINTER(), POINTER()
        interface.call("input_count", POINTER(context), ctypes.byref(inputs))
        interface.call("output_count", POINTER(context), ctypes.byref(outputs))
        interface.call("input", POINTER(context), 0, ctypes.byref(given))
        shape, kind, data = interface.tensor(given)
        told["run"] = (inputs.value, outputs.value, shape, kind)
        interface.call("output", POINTER(context), 0, (ctypes.c_int64 * 1)(3), 1, ctypes.byref(answer))
        to = (ctypes.c_float * 3).from_address(interface.tensor(answer)[2])
        source = (ctypes.c_float * 3).from_address(data)

        def double(_data: int, i: int) -> None:
            to[i] = 2 * source[i]

        interface.call("parallel_for", POINTER(context), CALLBACK(double), 3, 3, POINTER())

    table = CustomOperatorTable(version=18)
    kept: list[Any] = [table]

    def answer(name: str, kind: Any, function: Callable[..., Any]) -> None:
        kept.append(kind(function))
        setattr(table, name, ctypes.cast(kept[-1], POINTER))

    # Nothing but what ONNX Runtime calls is answered.
    of_operator, of_index = (POINTER,), (POINTER, SIZE)
    for name, word in (("name", b"Probe"), ("execution_provider", b"CPUExecutionProvider")):
        kept.append(ctypes.create_string_buffer(word))
        answer(name, ctypes.CFUNCTYPE(POINTER, POINTER), always(ctypes.addressof(kept[-1])))
    answer("input_type", ctypes.CFUNCTYPE(ctypes.c_int, *of_index), lambda _op, _i: 1)
    answer("output_type", ctypes.CFUNCTYPE(ctypes.c_int, *of_index), lambda _op, _i: 1)
    answer("input_type_count", ctypes.CFUNCTYPE(SIZE, *of_operator), lambda _op: 2)
    answer("output_type_count", ctypes.CFUNCTYPE(SIZE, *of_operator), lambda _op: 1)
    for name in ("input_presence", "output_presence", "input_memory"):
        answer(name, ctypes.CFUNCTYPE(ctypes.c_int, *of_index), lambda _op, _i: 0)
    answer("destroy", ctypes.CFUNCTYPE(None, POINTER), lambda _kernel: None)
    answer("create", ctypes.CFUNCTYPE(POINTER, POINTER, POINTER, POINTER, POINTER), create)
    answer("compute", ctypes.CFUNCTYPE(POINTER, POINTER, POINTER), compute)
    answer("start_version", ctypes.CFUNCTYPE(ctypes.c_int, *of_operator), lambda _op: 1)
    answer("end_version", ctypes.CFUNCTYPE(ctypes.c_int, *of_operator), lambda _op: 1)

    attributes: dict[str, Any] = {"number": 7, "several": [1, 2, 3], "word": "seven"}
    node = helper.make_node("Probe", ["X", "two"], ["Y"], "a node", domain="probe", **attributes)
    constant = numpy_helper.from_array(np.array([1.5, 2.5], np.float32), "two")
    graph = helper.make_graph([node], "probe", [value("X", [3])], [value("Y", [3])], [constant])
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("probe", 1)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=10).SerializeToString()

    env, options, domain, session, memory, x, y = (POINTER() for _ in range(7))
    interface.call("create_domain", b"probe", ctypes.byref(domain))
    interface.call("domain_add", domain, ctypes.byref(table))
    interface.other(3, 3, b"probe", ctypes.byref(env))  # CreateEnv
    interface.other(10, ctypes.byref(options))  # CreateSessionOptions
    interface.call("add_domain", options, domain)
    interface.other(8, env, model, len(model), options, ctypes.byref(session))  # CreateSessionFromArray
    interface.other(69, 1, 0, ctypes.byref(memory))  # CreateCpuMemoryInfo
    given = np.array([1, 2, 3], np.float32)
    sizes = (ctypes.c_int64 * 1)(3)
    interface.other(49, memory, POINTER(given.ctypes.data), 12, sizes, 1, 1, ctypes.byref(x))  # a tensor of these data
    names = [(ctypes.c_char_p * 1)(name) for name in (b"X", b"Y")]
    interface.other(9, session, POINTER(), names[0], ctypes.byref(x), 1, names[1], 1, ctypes.byref(y))  # Run
    doubled = np.ctypeslib.as_array((ctypes.c_float * 3).from_address(interface.tensor(y)[2]))

    assert doubled.tolist() == [2, 4, 6]
    assert told == {
        "made": (7, 2, [1, 2, 3], 1, [2], 1),
        "constant": [1.5, 2.5],
        "word": "seven",
        "node": "a node",
        "inputs": ["X", "two"],
        "run": (2, 1, [3], 1),
    }
    status = ctypes.CFUNCTYPE(POINTER, ctypes.c_int, ctypes.c_char_p)(interface.table[places()["create_status"]])
    failed = status(2, b"in words")
    assert ctypes.CFUNCTYPE(ctypes.c_char_p, POINTER)(interface.table[2])(failed) == b"in words"
    ctypes.CFUNCTYPE(None, POINTER)(interface.table[places()["release_status"]])(failed)
    assert places().keys() - interface.called == {"create_status", "release_status"}
