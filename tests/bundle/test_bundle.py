"""A bundle is whole or it is not there."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rnnexport.bundle.bundle import load_bundle, read_evaluation, reference_bundles
from rnnexport.bundle.manifest import Manifest, Source, TensorInfo, Tolerance
from rnnexport.bundle.store import seal, write_bundle
from rnnexport.errors import BundleError, RnnexportWarning

MANIFEST = Manifest(
    name="tiny",
    source=Source(kind="onnx", name="nothing"),
    inputs=(TensorInfo(name="x", dtype="float32", shape=("batch", "time", 3)),),
    outputs=(TensorInfo(name="logits", dtype="float32", shape=("batch", 2), role="output"),),
    tolerances={"float32": Tolerance(atol=1e-5, rtol=1e-6)},
    versions={},
    files={},
)


def write(target: Path, content: str) -> None:
    with write_bundle(target) as folder:
        (folder / "test_data_set_0").mkdir()
        (folder / "test_data_set_0" / "input_0.pb").write_text("input")
        (folder / "model.onnx").write_bytes(model(content))
        (folder / "parity_cases.npz").write_bytes(b"")
        seal(folder, MANIFEST)


def model(producer: str) -> bytes:
    info, single = helper.make_tensor_value_info, TensorProto.FLOAT
    ends = [info("x", single, ["batch", "time", 3])], [info("logits", single, ["batch", 2])]
    node = helper.make_node("ReduceMax", ["x"], ["maxima"], axes=[1, 2], keepdims=0)
    tile = helper.make_node("Concat", ["rows", "rows"], ["logits"], axis=1)
    rows = helper.make_node("Unsqueeze", ["maxima", "axes"], ["rows"])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    graph = helper.make_graph([node, rows, tile], "tiny", *ends, [axes])
    opset = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, producer_name=producer, opset_imports=opset).SerializeToString()


def producer(bundle: Path) -> str:
    return str(onnx.load(load_bundle(bundle).model_path).producer_name)


def test_a_bundle_lists_every_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "gru", "model")
    bundle = load_bundle(tmp_path / "gru")
    assert set(bundle.manifest.files) == {"model.onnx", "parity_cases.npz", "test_data_set_0/input_0.pb"}
    assert [path.name for path in tmp_path.iterdir()] == ["gru"]


def test_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    write(tmp_path / "gru", "old")
    write(tmp_path / "gru", "new")
    assert producer(tmp_path / "gru") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["gru"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_export_that_fails_leaves_the_old_bundle(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with write_bundle(tmp_path / "gru") as folder:
            (folder / "model.onnx").write_text("half")
            raise error

    write(tmp_path / "gru", "old")
    with pytest.raises(error):
        fail()
    assert producer(tmp_path / "gru") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["gru"]


_WRITE_AND_WAIT = """
import signal, sys
from collections.abc import Mapping
from pathlib import Path
from rnnexport.bundle.store import write_bundle
with write_bundle(Path(sys.argv[1])) as folder:
    (folder / "model.onnx").write_text("half")
    print("writing", flush=True)
    signal.pause()
"""


def test_a_killed_export_leaves_the_old_bundle_and_the_next_one_works(tmp_path: Path) -> None:
    write(tmp_path / "gru", "old")
    command = [sys.executable, "-c", _WRITE_AND_WAIT, str(tmp_path / "gru")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        with pytest.raises(BundleError, match="is being written by another command"):
            write(tmp_path / "gru", "other")
        process.kill()
    assert producer(tmp_path / "gru") == "old"
    write(tmp_path / "gru", "new")
    assert producer(tmp_path / "gru") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["gru"]


def test_an_exchange_cut_between_its_two_renames_is_mended_by_the_reader(tmp_path: Path) -> None:
    write(tmp_path / "gru", "old")
    (tmp_path / ".gru.rnnexport").mkdir()
    (tmp_path / "gru").rename(tmp_path / ".gru.rnnexport" / "old")
    assert producer(tmp_path / "gru") == "old"


def test_a_link_stays_a_link_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "v1", "old")
    (tmp_path / "current").symlink_to("v1")
    for content in ("new", "newer"):
        write(tmp_path / "current", content)
        assert (tmp_path / "current").readlink() == Path("v1")
        assert producer(tmp_path / "v1") == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "v1"]


@pytest.mark.parametrize("name", [".gru.previous", ".gru.building", ".gru.rnnexport"])
def test_what_others_put_beside_a_bundle_is_left_alone(tmp_path: Path, name: str) -> None:
    write(tmp_path / "gru", "old")
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").write_text("years of work")
    assert producer(tmp_path / "gru") == "old"
    with contextlib.suppress(BundleError):  # which says that the folder is not ours
        write(tmp_path / "gru", "new")
    load_bundle(tmp_path / "gru")
    assert (tmp_path / name / "thesis.tex").read_text() == "years of work"


def test_a_link_in_the_place_of_the_working_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "work" / "new").mkdir(parents=True)
    (tmp_path / "work" / "new" / "thesis.tex").write_text("years of work")
    (tmp_path / ".gru.rnnexport").symlink_to("work")
    with pytest.raises(BundleError, match="cannot write to"):
        write(tmp_path / "gru", "new")
    assert (tmp_path / "work" / "new" / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("place", ["/", "gru/..", "loop", "a\0b"])
def test_what_is_no_place_for_a_bundle_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "gru").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(BundleError, match=r"is no place for a bundle|exists and is no bundle"):
        write(tmp_path / place, "new")


def test_a_folder_of_a_bundle_that_lies_elsewhere_does_not_count(tmp_path: Path) -> None:
    write(tmp_path / "gru", "model")
    (tmp_path / "gru" / "test_data_set_0").rename(tmp_path / "elsewhere")
    (tmp_path / "gru" / "test_data_set_0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="lies outside the bundle"):
        load_bundle(tmp_path / "gru")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_regular_files_count(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "gru", "model")
    model = tmp_path / "gru" / "model.onnx"
    model.rename(tmp_path / "elsewhere")
    {"link": lambda: model.symlink_to(tmp_path / "elsewhere"), "pipe": lambda: os.mkfifo(model), "folder": model.mkdir}[
        kind
    ]()
    with pytest.raises(BundleError, match=r"model\.onnx cannot be read: .*; export again"):
        load_bundle(tmp_path / "gru")


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BundleError, match="exists and is no bundle"):
        write(tmp_path, "new")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


_WRITE_MUCH = """
import resource, signal, sys
from collections.abc import Mapping
from pathlib import Path
from rnnexport.bundle.store import write_bundle
from rnnexport.errors import BundleError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with write_bundle(Path(sys.argv[1])) as folder:
        (folder / "model.onnx").write_bytes(bytes(10_000))
except BundleError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_bundle(tmp_path: Path) -> None:
    write(tmp_path / "gru", "old")
    command = [sys.executable, "-c", _WRITE_MUCH, str(tmp_path / "gru")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cannot write bundle" in printed
    assert "File too large" in printed
    assert producer(tmp_path / "gru") == "old"


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match=r"cannot write to .*file"):
        write(tmp_path / "file" / "gru", "new")


def test_rejects_an_altered_file(tmp_path: Path) -> None:
    write(tmp_path / "gru", "model")
    (tmp_path / "gru" / "model.onnx").write_text("other")
    with pytest.raises(BundleError, match=r"model\.onnx was changed after the export; export again"):
        load_bundle(tmp_path / "gru")


def test_rejects_a_missing_file(tmp_path: Path) -> None:
    write(tmp_path / "gru", "model")
    (tmp_path / "gru" / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx cannot be read: No such file"):
        load_bundle(tmp_path / "gru")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 7}, r"is schema 7, this version reads 2; export again or upgrade"),
        ({"files": {"../../secret": "0", "model.onnx": "", "parity_cases.npz": ""}}, "lies outside the bundle"),
        ({"inputs": 3}, "is damaged at 'inputs'"),
        ({"inputs": []}, r"the inputs are not those of model\.onnx"),
        ({"outputs": []}, "is damaged at 'outputs'"),
        ({"files": {}}, "'model.onnx' is not among its files"),
        ({"files": {"a\0b": "0"}}, "is damaged at 'files"),
        ({"name": "\ud800"}, "is damaged"),
        ({"class_names": ["a", "b", "c"]}, "it names 3 classes, and no output has as many columns"),
        ({"tolerances": {"float32": {"atol": 1e400, "rtol": 0}}}, "is damaged at 'tolerances.float32.atol'"),
        ({"state_pairs": [["h_0", "h_n"]]}, "it pairs states without a step graph"),
    ],
)
def test_rejects_a_manifest_that_is_not_ours(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write(tmp_path / "gru", "model")
    manifest = tmp_path / "gru" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path / "gru")


def test_rejects_a_manifest_that_is_nested_deeply(tmp_path: Path) -> None:
    write(tmp_path / "gru", "model")
    (tmp_path / "gru" / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(BundleError, match="is damaged; export again"):
        load_bundle(tmp_path / "gru")


def test_rejects_a_truncated_manifest(tmp_path: Path) -> None:
    write(tmp_path / "gru", "model")
    manifest = tmp_path / "gru" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:40])
    with pytest.raises(BundleError, match="is damaged; export again"):
        load_bundle(tmp_path / "gru")


def test_says_how_to_make_a_bundle_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist; make one with: rnnexport export"):
        load_bundle(tmp_path / "gru")
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        load_bundle(tmp_path)


def test_evidence_is_stale_after_a_new_export(tmp_path: Path) -> None:
    write(tmp_path / "gru", "old")
    bundle = load_bundle(tmp_path / "gru")
    assert bundle.evidence("parity.json") == "none"
    bundle.write_evidence("parity.json", {"passed": True})
    assert load_bundle(tmp_path / "gru").evidence("parity.json") == "current"
    kept = (tmp_path / "gru" / "parity.json").read_text()
    write(tmp_path / "gru", "new")
    (tmp_path / "gru" / "parity.json").write_text(kept)
    assert load_bundle(tmp_path / "gru").evidence("parity.json") == "stale"


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "gru", "model")
    bundle = load_bundle(tmp_path / "gru")
    monkeypatch.setattr("os.access", lambda path, mode: path != bundle.path)  # root may write anywhere
    with pytest.warns(RnnexportWarning, match=r"parity\.json is not kept: bundle '.*gru' cannot be written to"):
        bundle.write_evidence("parity.json", {"run": 1})
    assert not (tmp_path / "gru" / "parity.json").exists()


def test_evidence_that_cannot_be_written_keeps_the_old_one(tmp_path: Path) -> None:
    write(tmp_path / "gru", "model")
    bundle = load_bundle(tmp_path / "gru")
    bundle.write_evidence("parity.json", {"run": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        with pytest.raises(BundleError, match=r"cannot write .*parity\.json"):
            bundle.write_evidence("parity.json", {"run": "x" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert json.loads((tmp_path / "gru" / "parity.json").read_text())["run"] == 1
    left = sorted(path.name for path in (tmp_path / "gru").iterdir())
    assert left == ["manifest.json", "model.onnx", "parity.json", "parity_cases.npz", "test_data_set_0"]


@pytest.mark.parametrize("path", reference_bundles(), ids=lambda path: path.name)
def test_the_reference_bundles_are_whole(path: Path) -> None:
    assert load_bundle(path).manifest.task == "vowels"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array(3)}, r"labels is \[\]"),
        ({"labels": np.zeros(5)}, r"labels is \[5\], for 2 series of 6 steps"),
        ({"labels": np.array(["a", "b"])}, "both must be numbers"),
        ({"values": np.zeros((6, 7))}, r"a time step is \[7\], which no input of the model takes"),
        ({"lengths": np.array([2.0, 4.0])}, "a whole length for each series"),
        ({"lengths": np.array([2, 5])}, "that sum to 7"),
        ({"labels": None}, "has no array 'labels'"),
    ],
)
def test_an_evaluation_set_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    arrays = {"values": np.zeros((6, 3)), "lengths": np.array([2, 4]), "labels": np.array([0, 1])}
    assert len(read_evaluation(_saved(tmp_path, arrays), MANIFEST).series) == 2
    with pytest.raises(BundleError, match=message):
        read_evaluation(_saved(tmp_path, arrays | change), MANIFEST)


def _saved(folder: Path, arrays: Mapping[str, Any]) -> Path:
    np.savez(folder / "evaluation.npz", **{name: array for name, array in arrays.items() if array is not None})
    return folder / "evaluation.npz"
