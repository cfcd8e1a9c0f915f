"""A classifier's graph, built without tracing, is the traced one."""

import pytest

from rnnexport.capture import capture, capture_plain, parse_input_spec
from rnnexport.errors import InputError
from rnnexport.models.classifier import CELLS, ModelConfig, SequenceClassifier

INPUTS = [parse_input_spec("x:float32[batch,time,5]"), parse_input_spec("lengths:int64[batch]")]


def classifier(cell="lstm", **options):
    model = SequenceClassifier(ModelConfig(cell=cell, input_size=5, hidden_size=6, num_outputs=3, **options))
    model.mean.normal_()
    model.std.uniform_(0.5, 2.0)
    return model


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.3}], ids=str)
def test_runs_as_in_pytorch(run_like, cell, options):
    model = classifier(cell, **options)
    run_like(model, capture_plain(model), INPUTS, ["onnxruntime"])


def test_has_the_traced_graph_s_recurrent_nodes():
    model = classifier("gru", num_layers=2, bidirectional=True)
    graphs = [captured.model.graph for captured in (capture_plain(model), capture(model, INPUTS))]
    nodes = [[(n.op_type, n.name, str(n.attributes)) for n in graph if n.op_type == "GRU"] for graph in graphs]
    assert nodes[0] == nodes[1]
    assert len(nodes[0]) == 2


def test_refuses_other_operator_sets():
    with pytest.raises(InputError, match="opset_version 23 is out of range; use 18 to 22"):
        capture_plain(classifier(), opset_version=23)
