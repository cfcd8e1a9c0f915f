"""openvino 2026.4.1 is wrong without a word: f not default or Sigmoid · second_direction default activations.

Y differs by 0.023

Needs onnx, numpy and openvino. The exit status is 1 if an output is not what the specification demands.
"""

import sys
from pathlib import Path

import numpy as np
import openvino
from onnx import TensorProto, numpy_helper

HERE = Path(__file__).parent
TOLERANCE = 1e-05


def read(folder, kind):
    protos = [TensorProto.FromString(path.read_bytes()) for path in sorted(folder.glob(kind + "_*.pb"))]
    return {proto.name: numpy_helper.to_array(proto) for proto in protos}


core = openvino.Core()
model = core.read_model(HERE / "model.onnx")
properties = {'INFERENCE_NUM_THREADS': 1, 'INFERENCE_PRECISION_HINT': 'f32'}
compiled = core.compile_model(model, "CPU", properties)


def run(feeds):
    inputs = {i: feeds[port.get_any_name()] for i, port in enumerate(model.inputs)}
    request = compiled.create_infer_request()
    request.start_async(inputs)
    request.wait()
    return {port.get_any_name(): request.get_output_tensor(i).data for i, port in enumerate(model.outputs)}


differs = False
for folder in sorted(HERE.glob("test_data_set_*")):
    outputs = run(read(folder, "input"))
    for name, expected in read(folder, "output").items():
        actual = outputs[name]
        same = actual.shape == expected.shape and np.allclose(actual, expected, rtol=TOLERANCE, atol=TOLERANCE)
        print(f"{folder.name} {name}: {'as specified' if same else 'DIFFERS'}")
        if not same:
            print(f"  expected {expected.shape} {expected.tolist()}")
            print(f"  actual   {actual.shape} {actual.tolist()}")
            differs = True
sys.exit(differs)
