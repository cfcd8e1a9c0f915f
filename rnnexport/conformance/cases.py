"""A minimal example as an ONNX test case that needs nothing of ours.

A folder has the layout of the ONNX backend tests: `model.onnx` and `test_data_set_N/`, one set for each call of the
same session, with the outputs that the specification demands. `reproduce.py` beside them needs only onnx, numpy and
the runtime's own package; its exit status is 1 where the runtime differs. For an engine that is not one of ours it
loads the engine's adapter, since only that knows how to call it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from rnnexport.conformance.causes import Cause
from rnnexport.conformance.graphs import build_model, call_feeds, expected_outputs
from rnnexport.conformance.judging import TOLERANCE
from rnnexport.engines.contract import Definition

_SCRIPT = '''"""{title}

{message}

Needs onnx, numpy and {package}. The exit status is 1 if an output is not what the specification demands.
"""

import sys
from pathlib import Path

import numpy as np
{imports}
from onnx import TensorProto, numpy_helper

HERE = Path(__file__).parent
TOLERANCE = {tolerance}


def read(folder, kind):
    protos = [TensorProto.FromString(path.read_bytes()) for path in sorted(folder.glob(kind + "_*.pb"))]
    return {{proto.name: numpy_helper.to_array(proto) for proto in protos}}


{load}

differs = False
for folder in sorted(HERE.glob("test_data_set_*")):
    outputs = run(read(folder, "input"))
    for name, expected in read(folder, "output").items():
        actual = outputs[name]
        same = actual.shape == expected.shape and np.allclose(actual, expected, rtol=TOLERANCE, atol=TOLERANCE)
        print(f"{{folder.name}} {{name}}: {{'as specified' if same else 'DIFFERS'}}")
        if not same:
            print(f"  expected {{expected.shape}} {{expected.tolist()}}")
            print(f"  actual   {{actual.shape}} {{actual.tolist()}}")
            differs = True
sys.exit(differs)
'''
_ONNXRUNTIME = """options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {threads}
session = onnxruntime.InferenceSession(HERE / "model.onnx", options, providers={providers})


def run(feeds):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds)))
"""
_OPENVINO = """core = openvino.Core()
model = core.read_model(HERE / "model.onnx")
properties = {properties}
{compile}


def run(feeds):
    inputs = {{i: feeds[port.get_any_name()] for i, port in enumerate(model.inputs)}}{reshape}
    request = compiled.create_infer_request()
    request.start_async(inputs)
    request.wait()
    return {{port.get_any_name(): request.get_output_tensor(i).data for i, port in enumerate(model.outputs)}}
"""
_COMPILE = 'compiled = core.compile_model(model, "CPU", properties)'
_RESHAPE = f"""
    model.reshape({{i: list(array.shape) for i, array in inputs.items()}})
    {_COMPILE}"""
_ADAPTER = """session = get_engine({engine!r}).load(HERE / "model.onnx", Definition(**{definition!r}))
run = session.run
"""

_VERDICTS = {"wrong": "is wrong without a word", "crash": "crashes", "refused": "refuses"}


def write_case(folder: Path, cause: Cause, definition: Definition, version: str | None) -> None:
    """Write the minimal example of a cause into a new folder."""
    folder.mkdir(parents=True)
    onnx.save(build_model(cause.example), folder / "model.onnx")
    for number, feeds in enumerate(call_feeds(cause.example)):
        data = folder / f"test_data_set_{number}"
        data.mkdir()
        _write_tensors(data, "input", feeds)
        outputs = {name: value.astype(np.float32) for name, value in expected_outputs(cause.example, feeds).items()}
        _write_tensors(data, "output", outputs)
    (folder / "reproduce.py").write_text(_script(cause, definition, version), encoding="utf-8")


def folder_name(number: int, cause: Cause) -> str:
    """Such as `1-wrong-lstm-p-given`."""
    words = re.sub(r"[^\w]+", "-", str(cause).lower()).strip("-")
    return f"{number}-{cause.outcome.kind}-{words[:60].rstrip('-')}"


def _write_tensors(folder: Path, kind: str, arrays: dict[str, NDArray[Any]]) -> None:
    for number, (name, array) in enumerate(arrays.items()):
        proto = numpy_helper.from_array(np.ascontiguousarray(array), name)
        (folder / f"{kind}_{number}.pb").write_bytes(proto.SerializeToString())


def _script(cause: Cause, definition: Definition, version: str | None) -> str:
    threads = cause.example.threads
    package, imports, load = definition.engine, f"import {definition.engine}", ""
    if definition.engine == "onnxruntime":
        provider = "CPUExecutionProvider" if definition.device == "cpu" else "CUDAExecutionProvider"
        load = _ONNXRUNTIME.format(threads=threads, providers=[provider])
    elif definition.engine == "openvino":
        options = {key: value for key, value in definition.options.items() if key != "static_shapes"}
        properties = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[definition.precision]}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        once, each = ("", _RESHAPE) if definition.options.get("static_shapes") else (_COMPILE, "")
        load = _OPENVINO.format(properties={**options, **properties}, compile=once, reshape=each)
    else:
        package = "rnnexport, for its adapter of this engine"
        imports = "from rnnexport.engines import get_engine\nfrom rnnexport.engines.contract import Definition"
        settings = definition.model_copy(update={"threads": threads}).model_dump()
        load = _ADAPTER.format(engine=definition.engine, definition=settings)
    return _SCRIPT.format(
        title=f"{definition.engine} {version or ''} {_VERDICTS[cause.outcome.kind]}: {cause}.",
        message=cause.outcome.message.replace("\\", "/").replace('"""', "'''"),
        package=package,
        imports=imports,
        tolerance=TOLERANCE[definition.precision],
        load=load,
    )
