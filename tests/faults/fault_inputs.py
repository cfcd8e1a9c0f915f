"""Which damaged input goes to which command."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from tests.evidence import EVIDENCE
from tests.faults.keras_mutations import damaged_h5, damaged_keras
from tests.faults.mutations import damaged_bytes, damaged_json, damaged_npz, damaged_onnx, damaged_text
from tests.faults.tensor_mutations import damaged_parquet, damaged_safetensors, damaged_torch_file

CSV = "series,a,b,label\n" + "".join(f"s{i // 6},{i}.5,{i * i},{'xy'[i // 6 % 2]}\n" for i in range(120))
TOML = 'engine = "onnxruntime"\ndevice = "cpu"\nprecision = "float32"\nthreads = 1\n\n[options]\n'
TS = "@problemName own\n@timeStamps false\n@univariate true\n@classLabel true x y\n@data\n" + "".join(
    f"1.0,2.0,3.{i}:{'xy'[i % 2]}\n" for i in range(20)
)
MODULE = """import torch

class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0]
"""


@dataclass(frozen=True)
class Originals:
    """Whole files, to be damaged."""

    graphs: dict[str, bytes]
    """ONNX files."""
    bundles: dict[str, Path]
    evidence: dict[str, bytes]
    """What commands wrote: `parity.json` with its npz, `bench.json`."""
    keras: dict[str, bytes]
    """Keras files."""


Command = list[str]
Kind = Callable[[Random, Originals, Path], Command]


def onnx_file(random: Random, originals: Originals, work: Path) -> Command:
    """A damaged ONNX file, for the commands that only read."""
    _write_graph(random, originals, work)
    return ["show", "model.onnx", *_json(random)]


def onnx_file_to_work_with(random: Random, originals: Originals, work: Path) -> Command:
    """A damaged ONNX file, for the commands that run it, too."""
    _write_graph(random, originals, work)
    rewrites = [["--lowering", "scan"], ["--lowering", "unrolled", "--time-steps", "3"], ["--weights", "int8"]]
    rewrites += [["--lowering", "fused", "--weight-only-int8"], ["--lowering", "fused", "--time-steps", "1"]]
    return random.choice(
        (
            ["lint", "model.onnx", *_json(random)],
            ["lint", "model.onnx", "--fix", "-o", "out/fixed.onnx"],
            ["optimize", "model.onnx", "-o", "out/fast.onnx", *random.choice(rewrites)],
            ["export", "model.onnx", "--out", "out/bundle", *_json(random)],
        )
    )


def _write_graph(random: Random, originals: Originals, work: Path) -> None:
    content = originals.graphs[random.choice([*originals.graphs])]
    damage = damaged_onnx if random.random() < 0.75 else damaged_bytes
    (work / "model.onnx").write_bytes(damage(random, content))


def _json(random: Random) -> Command:
    return ["--json"] if random.random() < 0.3 else []


def _damaged_bundle(random: Random, originals: Originals, work: Path) -> None:
    """Damage one file of a bundle, and, mostly, set its hash right again."""
    shutil.copytree(originals.bundles[random.choice([*originals.bundles])], work / "gru", ignore=EVIDENCE)
    paths = [path for path in sorted((work / "gru").rglob("*")) if path.is_file()]
    path = random.choice(paths if random.random() < 0.6 else [work / "gru" / "manifest.json"])
    content = path.read_bytes()
    by_kind = {".onnx": damaged_onnx, ".json": damaged_json, ".npz": damaged_npz}
    damage = by_kind.get(path.suffix, damaged_bytes) if random.random() < 0.8 else damaged_bytes
    path.write_bytes(damage(random, content))
    if random.random() < 0.1:
        path.unlink()
    if random.random() < 0.05:
        path.unlink(missing_ok=True)
        path.symlink_to("/etc/hostname")
    manifest = work / "gru" / "manifest.json"
    try:
        document = json.loads(manifest.read_bytes())
        for name in document["files"]:
            if (work / "gru" / name).is_file() and random.random() < 0.95:
                document["files"][name] = hashlib.sha256((work / "gru" / name).read_bytes()).hexdigest()
        manifest.write_text(json.dumps(document))
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return  # the manifest itself is what was damaged


def bundle(random: Random, originals: Originals, work: Path) -> Command:
    """A damaged bundle behind good hashes, for the commands that only read."""
    _damaged_bundle(random, originals, work)
    if random.random() < 0.5:
        return ["show", "gru", *_json(random)]
    _write_series(work)
    return [
        "predict",
        "gru",
        "series.npz",
        "-r",
        random.choice(("ort-cpu", "openvino-cpu", "torch-cpu")),
        *_json(random),
    ]


def bundle_to_work_with(random: Random, originals: Originals, work: Path) -> Command:
    """A damaged bundle behind good hashes, for the commands that judge and measure."""
    _damaged_bundle(random, originals, work)
    few = ["-r", "ort-cpu", *_json(random)]
    return random.choice(
        (
            ["verify", "gru", "--grid", "quick", *few],
            ["bench", "gru", "--seconds", "0.01", "--repetitions", "1", *few],
            ["drift", "gru", "--steps", "50", *few],
            ["bench", "gru", "--scenario", "streaming", "--seconds", "0.01", *few],
        )
    )


def _write_series(work: Path) -> None:
    np.savez(work / "series.npz", first=np.ones((7, 12), np.float32), second=np.ones((3, 12), np.float32))


def series(random: Random, originals: Originals, work: Path) -> Command:
    """Damaged series, for prediction."""
    buffer, values = io.BytesIO(), np.ones((7, 12), np.float32)
    header = "series," + ",".join("abcdefghijkl") + "\n"
    kind = random.choice(("npz", "npz", "npy", "csv", "csv", "parquet"))
    if kind == "npz":
        np.savez(buffer, first=values, second=values[:3])
        content = damaged_npz(random, buffer.getvalue())
    elif kind == "npy":
        np.save(buffer, values)
        content = damaged_bytes(random, buffer.getvalue())
    elif kind == "csv":
        content = damaged_text(random, (header + "".join(f"s{i // 4}{',1.5' * 12}\n" for i in range(12))).encode())
    else:
        content = damaged_parquet(random, {name: [*range(9)] for name in "abcdefghijkl"})
    if random.random() < 0.15:
        content = damaged_bytes(random, content)
    path = work / f"own.{random.choice(('npz', 'npy')) if kind in ('npz', 'npy') and random.random() < 0.2 else kind}"
    path.write_bytes(content)
    out = random.choice(([], ["-o", "out/classes.csv"], ["-o", "out/classes.json"]))
    return ["predict", str(originals.bundles["reference"]), path.name, "-r", "ort-cpu", *out]


def training_data(random: Random, originals: Originals, work: Path) -> Command:
    """Damaged data of the user's own, for a training of one epoch."""
    kind = random.choice(("csv", "csv", "npz", "npz", "ts", "parquet"))
    if kind == "npz":
        buffer = io.BytesIO()
        lengths = np.full(20, 6)
        np.savez(buffer, values=np.ones((120, 2), np.float32), lengths=lengths, labels=np.arange(20) % 2)
        content = damaged_npz(random, buffer.getvalue())
    elif kind == "parquet":
        rows = [line.split(",") for line in CSV.splitlines()[1:]]
        columns = {"series": [row[0] for row in rows], "label": [row[3] for row in rows]}
        numbers = {name: [float(row[place]) for row in rows] for place, name in ((1, "a"), (2, "b"))}
        content = damaged_parquet(random, {**columns, **numbers})
    else:
        content = damaged_text(random, {"csv": CSV, "ts": TS}[kind].encode())
    (work / f"own.{kind}").write_bytes(content)
    sizes = ["--epochs", "1", "--hidden-size", "2", "--cell", "gru"]
    return ["train", "--data", f"own.{kind}", *sizes, "--out", "out/checkpoint"]


def definition(random: Random, originals: Originals, work: Path) -> Command:
    """A damaged runtime definition, by its path or in ./runtimes/."""
    (work / "runtimes").mkdir()
    (work / "runtimes" / "mine.toml").write_bytes(damaged_text(random, TOML.encode()))
    _write_series(work)
    return random.choice(
        (
            ["runtimes", *_json(random)],
            ["predict", str(originals.bundles["reference"]), "series.npz", "-r", "mine"],
            ["predict", str(originals.bundles["reference"]), "series.npz", "-r", "runtimes/mine.toml"],
        )
    )


def plan(random: Random, originals: Originals, work: Path) -> Command:
    """A damaged plan of a bundle that is whole."""
    shutil.copytree(originals.bundles["planned"], work / "gru")
    path = work / "gru" / "plan.toml"
    path.write_bytes((damaged_text if random.random() < 0.8 else damaged_bytes)(random, path.read_bytes()))
    _write_series(work)
    return ["predict", "gru", "series.npz", *_json(random)]


def evidence(random: Random, originals: Originals, work: Path) -> Command:
    """Damaged results of earlier runs."""
    for name, content in originals.evidence.items():
        (work / name).write_bytes(content)
    name = random.choice(("parity.json", "parity_outputs.npz"))
    damage = {"json": damaged_json, "npz": damaged_npz}[name.rpartition(".")[2]]
    (work / name).write_bytes((damage if random.random() < 0.8 else damaged_bytes)(random, originals.evidence[name]))
    if name == "parity_outputs.npz" and random.random() < 0.8:
        report = json.loads((work / "parity.json").read_bytes())
        report["raw_outputs"] = hashlib.sha256((work / name).read_bytes()).hexdigest()
        (work / "parity.json").write_text(json.dumps(report))
    return ["verify", "--from", "parity.json", *_json(random)]


def bench_result(random: Random, originals: Originals, work: Path) -> Command:
    """A damaged result to compare with."""
    damage = damaged_json if random.random() < 0.8 else damaged_bytes
    (work / "bench.json").write_bytes(damage(random, originals.evidence["bench.json"]))
    quick = ["--seconds", "0.01", "--repetitions", "1", "-r", "ort-cpu"]
    return ["bench", str(originals.bundles["reference"]), *quick, "--compare", "bench.json"]


def checkpoint(random: Random, originals: Originals, work: Path) -> Command:
    """A damaged checkpoint, to be exported or resumed."""
    (work / "checkpoint").mkdir()
    reference = originals.bundles["reference"]
    for source, name in (("weights.safetensors", "model.safetensors"), ("model.json",) * 2, ("evaluation.npz",) * 2):
        content = (reference / source).read_bytes()
        if random.random() < 0.4:
            damages = {".json": damaged_json, ".npz": damaged_npz, ".safetensors": damaged_safetensors}
            damage = damages[Path(name).suffix]
            content = (damage if random.random() < 0.7 else damaged_bytes)(random, content)
        (work / "checkpoint" / name).write_bytes(content)
    return ["export", "--checkpoint", "checkpoint", "--out", "out/bundle"]


def keras_file(random: Random, originals: Originals, work: Path) -> Command:
    """A damaged Keras file."""
    name = random.choice([*originals.keras])
    suffix = Path(name).suffix
    damage = damaged_keras if suffix == ".keras" else damaged_h5
    (work / f"model{suffix}").write_bytes(damage(random, originals.keras[name]))
    streaming = ["--streaming"] if random.random() < 0.2 else []
    return ["export", f"model{suffix}", "--out", "out/bundle", *streaming, *_json(random)]


def module_weights(random: Random, originals: Originals, work: Path) -> Command:
    """Damaged weights of a user's module."""
    import torch
    from safetensors.torch import save

    (work / "tagger.py").write_text(MODULE)
    weights = {f"gru.{name}": value.detach() for name, value in torch.nn.GRU(3, 4).named_parameters()}
    suffix = random.choice(("pt", "pt", "safetensors"))
    content = damaged_torch_file(random, weights) if suffix == "pt" else damaged_safetensors(random, save(weights))
    (work / f"weights.{suffix}").write_bytes(content)
    example = ["--input", "x:float32[batch,time,3]", "--out", "out/bundle"]
    return ["export", "tagger.py:Tagger", "--weights", f"weights.{suffix}", *example]


QUICK: tuple[Kind, ...] = (onnx_file, onnx_file, onnx_file, bundle, bundle, series, series, definition, plan, evidence)
"""Inputs that cost milliseconds."""
ALL: tuple[Kind, ...] = (
    *QUICK,
    onnx_file_to_work_with,
    onnx_file_to_work_with,
    bundle_to_work_with,
    training_data,
    checkpoint,
    bench_result,
    keras_file,
    keras_file,
    module_weights,
)


def prepare(kind: Kind, random: Random, originals: Originals, folder: Path) -> Command:
    """Lay the input out in `folder`/work, with something beside it that must stay as it is, and name the command."""
    work = folder / "work"
    (work / "out").mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    return kind(random, originals, work)
