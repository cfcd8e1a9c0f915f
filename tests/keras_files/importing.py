"""What an imported Keras model answers, in NumPy and in both runtimes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rnnexport.bundle.manifest import Source
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition
from rnnexport.exporting.graphs import Graphs
from rnnexport.exporting.options import ExportOptions
from rnnexport.exporting.writing import input_infos, save_graph
from rnnexport.keras_files.archive import read_keras_file
from rnnexport.keras_files.reference import evaluate
from rnnexport.keras_files.typed_model import read_model
from rnnexport.keras_files.writing import write_model


def answers(model: Any, feeds: list[np.ndarray], suffix: str = ".keras") -> Iterator[tuple[str, list[np.ndarray]]]:
    """Save a model with Keras and import it; gives who answers, and the outputs in the model's order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        model.save(path)
        read = read_model(read_keras_file(path))
        names = [tensor.name for tensor in model.inputs]
        known = [tensor.name for tensor in read.inputs]
        if set(names) != set(known):  # a Sequential model without an Input names its own anew
            names = known
        kinds = {tensor.name: tensor.kind for tensor in read.inputs}
        dtypes = {"float": np.float32, "int32": np.int32, "int64": np.int64, "bool": np.bool_}
        given = {name: np.asarray(x, dtypes[kinds[name]]) for name, x in zip(names, feeds, strict=True)}
        yield "NumPy", [*evaluate(read, given).values()]
        graphs = Graphs.make(write_model(read), ExportOptions())
        file = Path(folder) / "model.onnx"
        save_graph(graphs.sequence, Source(kind="keras", name="model"), input_infos(graphs.sequence), file)
        for engine in ("onnxruntime", "openvino"):
            session = get_engine(engine).load(file, Definition(name="x", engine=engine, precision="float32", threads=1))
            outputs = session.run(given)
            session.close()
            yield engine, [outputs[tensor.name] for tensor in read.outputs]
