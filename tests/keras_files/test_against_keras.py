"""Models drawn by hypothesis, written by Keras, imported, and held against Keras.

Runs in `nox -s keras`, which has Keras; skipped elsewhere.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="needs Keras; run: nox -s keras")

from keras.src.backend.common import dtypes  # noqa: E402

# On PyTorch Keras narrows what its operations give, even where the policy is float64; on TensorFlow it does not.
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"

from hypothesis import HealthCheck, assume, given, settings  # noqa: E402

from rnnexport.bundle.manifest import Source  # noqa: E402
from rnnexport.engines import get_engine  # noqa: E402
from rnnexport.engines.contract import Definition  # noqa: E402
from rnnexport.exporting.graphs import Graphs  # noqa: E402
from rnnexport.exporting.options import ExportOptions  # noqa: E402
from rnnexport.exporting.writing import input_infos, save_graph  # noqa: E402
from rnnexport.keras_files.archive import read_keras_file  # noqa: E402
from rnnexport.keras_files.reference import evaluate  # noqa: E402
from rnnexport.keras_files.typed_model import read_model  # noqa: E402
from rnnexport.keras_files.writing import write_model  # noqa: E402
from tests.keras_files.drawn_keras_models import build, feeds, plans  # noqa: E402

# Three hundred models are one test, and the machine may do other work, too.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600), pytest.mark.filterwarnings("ignore")]
EXAMPLES = int(os.environ.get("RNNEXPORT_KERAS_EXAMPLES", "300"))
WORST = {}


@pytest.fixture(scope="module", autouse=True)
def report():
    yield
    print({key: float(value) for key, value in WORST.items()})


def saved(plan, x, folder, precision):
    """The file that Keras writes of the plan, and Keras's own answers."""
    keras.backend.clear_session(free_memory=False)
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)
    path = Path(folder) / f"model{plan['suffix']}"
    try:
        model = build(plan)
        outputs = model(x if plan["tokens"] else x.astype(precision), training=False)
    except (ValueError, RuntimeError) as exc:
        assume(not re.search("output size|Kernel size|too small", str(exc)))  # Keras refuses series that are too short
        raise
    model.save(path)
    return path, [o.detach().cpu().numpy() for o in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def judge(kind, answers, expected, limit):
    for answer, right in zip(answers, expected, strict=True):
        assert answer.shape == right.shape
        error = np.max(np.abs(answer - right) / np.maximum(1, np.abs(right)), initial=0)
        WORST[kind] = max(WORST.get(kind, 0), error)
        assert error <= limit, f"{kind}: {error}"


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, derandomize=True
)
@given(plan=plans())
def test_a_drawn_model_is_keras_s(plan, tmp_path_factory):
    folder, x = tmp_path_factory.mktemp("keras"), feeds(plan)
    path, wide = saved(plan, x, folder, "float64")
    assume(all(np.isfinite(y).all() and (np.abs(y) < 1e6).all() and y.size for y in wide))
    model = read_model(read_keras_file(path))
    (name,) = [tensor.name for tensor in model.inputs]
    judge("float64", evaluate(model, {name: x}).values(), wide, 1e-12)

    path, narrow = saved(plan, x, folder, "float32")
    assume(all(np.isfinite(y).all() for y in narrow))
    model = read_model(read_keras_file(path))
    graphs = Graphs.make(write_model(model), ExportOptions())
    file = folder / "model.onnx"
    save_graph(graphs.sequence, Source(kind="keras", name="model"), input_infos(graphs.sequence), file)
    dtype = {"float": np.float32, "int32": np.int32, "int64": np.int64}[model.inputs[0].kind]
    for engine in ("onnxruntime", "openvino"):
        session = get_engine(engine).load(file, Definition(name="x", engine=engine, precision="float32", threads=1))
        outputs = session.run({name: x.astype(dtype)})
        judge(engine, [outputs[tensor.name] for tensor in model.outputs], narrow, 1e-5)
        session.close()
