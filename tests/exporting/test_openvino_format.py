"""OpenVINO's own format computes what the ONNX file computes; its step graph can keep the states inside."""

import numpy as np
import pytest
import torch
from torch import nn

import rnnexport
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.engines.openvino import import_openvino
from rnnexport.errors import InputError

DEFINITION = Definition(name="openvino", engine="openvino", precision="float32", threads=1)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(5, 16, 2, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    return _export(tmp_path_factory.mktemp("b") / "b", streaming=True, stateful=True)


def _export(path, **options):
    torch.manual_seed(0)
    return rnnexport.export(Model(), path, inputs=["x:float32[batch,time,5]"], openvino=True, **options)


def _run(path, x):
    session = get_engine("openvino").load(path, DEFINITION)
    (result,) = session.run({"x": x}).values()
    session.close()
    return result


X = np.random.default_rng(0).standard_normal((2, 9, 5)).astype(np.float32)


@pytest.mark.slow
def test_the_format_gives_the_onnx_files_results_with_float32_weights(bundle):
    np.testing.assert_array_equal(_run(bundle.path / "model.xml", X), _run(bundle.model_path, X))
    assert {"model.xml", "model.bin", "step.xml", "step.bin"} <= set(bundle.manifest.files)


def test_compressed_weights_take_half_the_room_and_round(bundle, tmp_path):
    small = _export(tmp_path / "small", compress=True)
    sizes = [(b.path / "model.bin").stat().st_size for b in (small, bundle)]
    assert 0.45 < sizes[0] / sizes[1] < 0.6
    difference = np.abs(_run(small.path / "model.xml", X) - _run(bundle.model_path, X)).max()
    assert 0 < difference < 1e-2


def test_a_stateful_graph_carries_its_states_until_they_are_reset(bundle):
    compiled = (
        import_openvino().Core().compile_model(bundle.path / "step.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )
    request = compiled.create_infer_request()
    whole = _run(bundle.model_path, X)
    assert [port.any_name for port in compiled.inputs] == ["x"]
    for _ in range(2):
        request.reset_state()
        chunks = [request.infer({"x": X[:, start:stop]})[0].copy() for start, stop in [(0, 1), (1, 5), (5, 9)]]
        np.testing.assert_allclose(np.concatenate(chunks, axis=1), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compress": True}, "add `openvino`"),
        ({"stateful": True, "streaming": True}, "add `streaming` and `openvino`"),
        ({"stateful": True, "openvino": True}, "add `streaming` and `openvino`"),
    ],
)
def test_options_that_need_others_say_which(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        rnnexport.export(Model(), tmp_path / "b", inputs=["x:float32[batch,time,5]"], **options)
