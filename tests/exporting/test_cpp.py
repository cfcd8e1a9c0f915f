"""The C++ sources of a bundle, compiled and run with the shared library of the Python package."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # noqa: TID251 - whose shared library is linked
import pytest
import torch

import rnnexport
from rnnexport.errors import InputError
from rnnexport.optimizing.optimize import optimize
from rnnexport.optimizing.options import Rewrite

PROGRAM = """
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include "stream.h"
// arguments: step graph, streams, steps of a chunk, features, library of kernels; series on stdin, answers on stdout
int main(int, char** given) try {
  const NAMESPACE::Model model(given[1], 1, given[5]);
  const long streams = std::atol(given[2]), steps = std::atol(given[3]), features = std::atol(given[4]);
  NAMESPACE::Stream stream(model, streams);
  std::vector<TYPE> chunk(streams * steps * features);
  std::vector<TYPE> first;
  while (std::fread(chunk.data(), sizeof(TYPE), chunk.size(), stdin) == chunk.size()) {
    if (first.empty()) first = chunk;
    const NAMESPACE::Outputs& outputs = stream.process(chunk.data(), steps);
    size_t count = 1;
    for (int64_t size : outputs.FIELD.shape) count *= size;
    std::fwrite(outputs.FIELD.data, sizeof(float), count, stdout);
  }
  try {
    stream.process(chunk.data(), 0);
  } catch (const std::runtime_error&) {
    std::fputs("refused ", stderr);
  }
  stream.reset();
  std::fwrite(stream.process(first.data(), steps).FIELD.data, sizeof(float), 1, stdout);
} catch (const std::runtime_error& error) {
  std::fputs(error.what(), stderr);
  return 1;
}
"""


class Tagger(torch.nn.Module):
    """Embedding → LSTM → head; two outputs, one with a name that is a word of C++."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 6)
        self.rnn, self.head = torch.nn.LSTM(6, 16, 2, batch_first=True), torch.nn.Linear(16, 3)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, _ = self.rnn(self.embedding(tokens))
        return self.head(y), y


class Smoother(torch.nn.Module):
    """GRU → head."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = torch.nn.GRU(5, 16, 2, batch_first=True), torch.nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0])


def compiled(bundle: Path, folder: Path, namespace: str, field: str, kind: str) -> Path:
    """A program that streams what it reads."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler: install g++")
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    source, program = folder / "main.cpp", folder / "program"
    source.write_text(PROGRAM.replace("NAMESPACE", namespace).replace("FIELD", field).replace("TYPE", kind))
    options = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{bundle}"]
    link = folder / "libonnxruntime.so.1"  # the name that programs look for
    link.symlink_to(library)
    linked: list[str | Path] = [source, bundle / "stream.cpp", link, f"-Wl,-rpath,{folder}"]
    subprocess.run([compiler, *options, *linked, "-o", program], check=True)
    return program


def streamed(program: Path, graph: Path, series: np.ndarray, steps: int, kernels: str = "") -> np.ndarray:
    """What the program gives for each chunk of a series [streams, time, features], and for the first one again."""
    chunks = [np.ascontiguousarray(series[:, i : i + steps]) for i in range(0, series.shape[1], steps)]
    features = series[0, 0].size
    done = subprocess.run(
        [str(each) for each in (program, graph, len(series), steps, features, kernels)],
        input=b"".join(chunk.tobytes() for chunk in chunks),
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"refused "), done.stderr
    return np.frombuffer(done.stdout, np.float32)


def expected(bundle: Path, output: str, series: np.ndarray, steps: int) -> np.ndarray:
    """The same from Python's stream, with one thread."""
    definition = bundle.parent / "one-thread.toml"
    definition.write_text('engine = "onnxruntime"\nprecision = "float32"\nthreads = 1\n')
    stream = rnnexport.load(bundle, runtime=str(definition)).stream(batch_size=len(series))
    answers = [stream.outputs(series[:, i : i + steps])[output].ravel() for i in range(0, series.shape[1], steps)]
    return np.concatenate([*answers, answers[0][:1]])


@pytest.mark.slow
def test_tokens_and_several_streams_come_out_as_from_python(tmp_path: Path) -> None:
    bundle = tmp_path / "my tagger"
    torch.manual_seed(0)
    rnnexport.export(
        Tagger(), bundle, inputs=["tokens:int64[batch,time]"], output_names=["class", "y"], streaming=True, cpp=True
    )
    program = compiled(bundle, tmp_path, "my_tagger", "class_", "int64_t")
    series = np.random.default_rng(0).integers(0, 20, (3, 12))
    for steps in (1, 4):
        np.testing.assert_array_equal(
            streamed(program, bundle / "step.onnx", series, steps), expected(bundle, "class", series, steps)
        )


@pytest.mark.slow
def test_a_step_graph_with_the_fused_operator_runs_where_its_library_is_given(tmp_path: Path) -> None:
    kernels = pytest.importorskip("rnnexport_kernels", reason="rnnexport-kernels is not installed")
    bundle, plan = tmp_path / "smoother", tmp_path / "plan.onnx"
    torch.manual_seed(0)
    rnnexport.export(Smoother(), bundle, inputs=["x:float32[batch,time,5]"], streaming=True, cpp=True)
    optimize(bundle / "step.onnx", plan, Rewrite("stack", "int16"))
    assert "RecurrentStack" in {node.op_type for node in onnx.load(plan).graph.node}
    program = compiled(bundle, tmp_path, "smoother", "output", "float")
    series = np.random.default_rng(0).normal(size=(1, 10, 5)).astype(np.float32)
    library = str(kernels.library_path())
    np.testing.assert_array_equal(
        streamed(program, bundle / "step.onnx", series, 2), expected(bundle, "output", series, 2)
    )
    error = streamed(program, plan, series, 2, library) - expected(bundle, "output", series, 2)
    assert np.abs(error).max() < 1e-4
    refused = subprocess.run([program, plan, "1", "1", "5", ""], input=b"", capture_output=True)
    assert refused.returncode == 1
    assert b"RecurrentStack" in refused.stderr


def test_sources_without_a_step_graph_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the C\\+\\+ sources feed the step graph; add `streaming`"):
        rnnexport.export(Smoother(), tmp_path / "b", inputs=["x:float32[batch,time,5]"], cpp=True)
