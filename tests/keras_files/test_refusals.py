"""What is damaged, hostile or cannot be exported is refused in one line by its name, and nothing is written."""

import collections
import io
import json
import random
import re
import shlex
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

import rnnexport
from rnnexport.errors import ExportError, InputError
from rnnexport.keras_files.archive import read_keras_file
from rnnexport.keras_files.readable import check_readable
from rnnexport.keras_files.typed_model import read_model


def rewritten(path, out, *, config=None, weights=None):
    """A `.keras` file with its configuration or its weights changed in place."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if config:
        document = json.loads(parts["config.json"])
        config(document)
        parts["config.json"] = json.dumps(document).encode()
    if weights:
        buffer = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(buffer, "r+") as file:
            weights(file)
        parts["model.weights.h5"] = buffer.getvalue()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out


def layer(document, name):
    return next(each for each in document["config"]["layers"] if each["config"]["name"].startswith(name))


def refused(path, tmp_path, error, message):
    with pytest.raises(error, match=message) as caught:
        rnnexport.export(path, tmp_path / "bundle")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "bundle").exists()
    assert not [each.name for each in tmp_path.iterdir() if "building" in each.name]


def replaced(file, place, array):
    del file[place]
    file[place] = array


LSTM = "layers/lstm/cell/vars/0"
WEIGHTS = {
    "missing": (lambda file: file.pop(LSTM), r"the kernel of layer 'lstm\w*' is missing \(layers/lstm/cell/vars/0\)"),
    "surplus": (
        lambda file: file.create_dataset("layers/lstm/cell/vars/3", data=np.zeros(3)),
        "layers/lstm/cell/vars/3 belongs to no weight of the model",
    ),
    "of another shape": (
        lambda file: replaced(file, LSTM, np.zeros((5, 12))),
        r"layers/lstm/cell/vars/0 of layer 'lstm\w*' is \[5, 12\], the layer's kernel is \[3, 12\]",
    ),
    "of whole numbers": (lambda file: replaced(file, LSTM, np.zeros((3, 12), int)), "is int64, not float16, float32"),
    "not a number": (lambda file: replaced(file, LSTM, np.full((3, 12), np.nan)), "holds NaN or infinity"),
    "of another layer": (
        lambda file: file["layers/lstm/vars"].attrs.modify("name", "gru_7"),
        "the weights at layers/lstm are those of 'gru_7', not of 'lstm",
    ),
    "claimed and not stored": (
        lambda file: (file.pop(LSTM), file.create_dataset(LSTM, shape=(3, 10**9), dtype="f4")),
        "claims 12,000,000,000 bytes and stores hardly any",
    ),
    "behind a link": (
        lambda file: (file.pop(LSTM), file.__setitem__(LSTM, h5py.ExternalLink("/etc/passwd", "/"))),
        "is a link; do not use this file",
    ),
    "in another file": (
        lambda file: (file.pop(LSTM), file.create_dataset(LSTM, (3, 12), "f4", external=[("/etc/hostname", 0, 144)])),
        "lies outside the file; do not use this file",
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_do_not_fit(name, kept, tmp_path):
    change, message = WEIGHTS[name]
    path = rewritten(kept / "keras3/masked_lstm.keras", tmp_path / "model.keras", weights=change)
    refused(path, tmp_path, InputError, message)


def with_payload(document):
    """As in CVE-2025-1550: a class that is a function of the system."""
    document["config"]["layers"][2] = {
        "module": "os",
        "class_name": "system",
        "config": {"name": "payload", "command": "touch ran"},
        "registered_name": None,
    }


CONFIGS = {
    "payload": (with_payload, r"layer 'payload' \(system\): it is a class of its own, whose code is not in the file"),
    "Lambda": (
        lambda d: layer(d, "dense").update(class_name="Lambda"),
        r"layer 'dense\w*' \(Lambda\): it is code, which is never run from a file",
    ),
    "custom": (
        lambda d: layer(d, "dense").update(module=None, registered_name="mine>Dense"),
        r"layer 'dense\w*' \(mine>Dense\): it is a class of its own",
    ),
    "code for an initializer": (
        lambda d: layer(d, "dense")["config"].update(
            kernel_initializer={"module": "os", "class_name": "function", "config": "system"}
        ),
        r"a part of the model \(function\): it is a class of its own, whose code is not in the file",
    ),
    "whole numbers": (
        lambda d: layer(d, "lstm")["config"].update(
            dtype={"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "float32"}}
        ),
        r"layer 'lstm\w*' \(LSTM\): it computes in int8",
    ),
    "unknown class": (
        lambda d: layer(d, "dense").update(class_name="StringLookup"),
        r"layer 'dense\w*' \(StringLookup\): layers of this class cannot be exported",
    ),
    "unknown option": (
        lambda d: layer(d, "lstm")["config"].update(peepholes=True),
        r"layer 'lstm\w*' \(LSTM\): its option peepholes=True is not known",
    ),
    "unknown activation": (
        lambda d: layer(d, "dense")["config"].update(activation={"class_name": "function", "config": "evil"}),
        r"layer 'dense\w*' \(Dense\): its activation 'evil' is not one of Keras's",
    ),
    "option of a wrong type": (
        lambda d: layer(d, "lstm")["config"].update(units="3"),
        r"layer 'lstm\w*' \(LSTM\): its option 'units' is '3', not a whole number",
    ),
    "narrow numbers": (
        lambda d: layer(d, "lstm")["config"].update(dtype="bfloat16"),
        r"layer 'lstm\w*' \(LSTM\): it computes in bfloat16",
    ),
    "operation": (
        lambda d: layer(d, "dense").update(class_name="Mean", module="keras.src.ops.numpy"),
        r"layer 'dense\w*' \(Mean\): ",
    ),
    "own model class": (lambda d: d.update(class_name="MyModel"), "the model is a class of its own, 'MyModel'"),
    "no layers": (lambda d: d["config"].pop("layers"), "its configuration contradicts itself"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_that_cannot_be_exported(name, kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change, message = CONFIGS[name]
    path = rewritten(kept / "keras3/masked_lstm.keras", tmp_path / "model.keras", config=change)
    refused(path, tmp_path, ExportError, message)
    assert not (tmp_path / "ran").exists()


def test_damaged_and_hostile_files(kept, tmp_path):
    whole = (kept / "keras3/masked_lstm.keras").read_bytes()
    path = tmp_path / "model.keras"
    for content in (whole[: len(whole) // 2], b"", b"no model", whole[:-200] + b"\0" * 200):
        path.write_bytes(content)
        refused(path, tmp_path, InputError, "truncated or damaged")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (2**26 + 1))
        archive.writestr("model.weights.h5", b"")
    refused(path, tmp_path, InputError, "config.json would unpack to 67,108,865 bytes")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b"{}")
        archive.writestr("model.weights.h5", b"\0" * 2**22)
    refused(path, tmp_path, InputError, "model.weights.h5 would unpack to 4,194,304 bytes")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", b"{}")
    refused(path, tmp_path, InputError, "it has no model.weights.h5")


def spots(node):
    """Every place in a configuration at which something stands."""
    places = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for place in places:
        yield node, place
        yield from spots(node[place])


def test_random_damage_is_told_in_one_line(kept, tmp_path):
    generator = random.Random(0)
    odd = [None, -1, 0, 2**70, "x", [], {}, 1.5, True, [1, 2], {"class_name": "Dense"}, "Dense", [["a", 0, 0]]]

    def oddly(document):
        node, place = generator.choice(list(spots(document)))
        node[place] = generator.choice(odd)

    outcomes = collections.Counter()
    for source in [*kept.glob("*/*.keras"), *kept.glob("*/*.h5")] * 3:
        damaged = tmp_path / f"damaged{source.suffix}"
        content = bytearray(source.read_bytes())
        for _ in range(generator.choice([1, 3, 20])):
            content[generator.randrange(len(content))] = generator.randrange(256)
        damaged.write_bytes(content)
        changed = [damaged]
        if source.suffix == ".keras":
            changed.append(rewritten(source, tmp_path / "odd.keras", config=oddly))
        for path in changed:
            try:
                read_model(read_keras_file(path))
                outcomes["read"] += 1
            except (InputError, ExportError) as exc:  # anything else would be a defect
                outcomes["refused" if len(str(exc).splitlines()) == 1 else "told in several lines"] += 1
    assert "told in several lines" not in outcomes
    assert outcomes["read"] > 10
    assert outcomes["refused"] > 30


def test_files_without_a_whole_model(kept, tmp_path):
    weights = tmp_path / "model.weights.h5"
    with zipfile.ZipFile(kept / "keras3/masked_lstm.keras") as archive:
        weights.write_bytes(archive.read("model.weights.h5"))
    refused(weights, tmp_path, InputError, "holds weights and no model; save the whole model")
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"")
    refused(folder, tmp_path, InputError, r"is a TensorFlow SavedModel, a program and no description; save the model")
    refused(tmp_path / "nowhere.keras", tmp_path, InputError, "does not exist")


def test_an_unpacked_keras_file_is_packed_again_by_the_command_of_its_message(kept, tmp_path):
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(kept / "keras3/masked_lstm.keras") as archive:
        archive.extractall(folder)
    with pytest.raises(InputError, match=r"is the unpacked content of a \.keras file; pack it again with") as excinfo:
        read_keras_file(folder)
    (command,) = re.findall(r"python -m (.+), and export model.keras", str(excinfo.value))
    subprocess.run([sys.executable, "-m", *shlex.split(command)], cwd=tmp_path, check=True)
    read_keras_file(tmp_path / "model.keras").close()


def test_an_h5_file_whose_weights_are_those_of_another_model(kept, tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes((kept / "keras2/masked_lstm.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        name = next(name for name in file["model_weights"] if name.startswith("dense"))
        group = file["model_weights"][name]
        group.attrs["weight_names"] = group.attrs["weight_names"][::-1]
    refused(path, tmp_path, InputError, "stands where its kernel should be")
    path.write_bytes((kept / "keras2/masked_lstm.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file["model_weights/more"] = np.zeros(3)
    refused(path, tmp_path, InputError, "more belongs to no weight of the model")


def test_a_model_without_outputs(kept, tmp_path):
    config = lambda document: document["config"].update(output_layers=[])  # noqa: E731
    path = rewritten(kept / "keras3/nested.keras", tmp_path / "model.keras", config=config)
    refused(path, tmp_path, ExportError, "its configuration names no outputs")


def test_operations_of_tensorflow(kept, tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes((kept / "keras2/nested.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        document = json.loads(file.attrs["model_config"])
        operation = layer(document, "dense")
        operation["class_name"], operation["inbound_nodes"] = "TFOpLambda", [["flatten", 0, 0, {"axis": 1}]]
        file.attrs["model_config"] = json.dumps(document)
    refused(path, tmp_path, ExportError, r"layer 'dense\w*' \(TFOpLambda\): it is an operation of TensorFlow")


def test_masked_layers_do_not_run_step_by_step(kept, tmp_path):
    with pytest.raises(ExportError, match="recurrent layers with masked steps cannot run step by step"):
        rnnexport.export(kept / "keras3/masked_lstm.keras", tmp_path / "bundle", streaming=True)
    with pytest.raises(InputError, match="the masks of a Keras model are part of it"):
        rnnexport.export(kept / "keras3/masked_lstm.keras", tmp_path / "bundle", lengths="none")


def test_a_file_that_hdf5_reads_for_ever_is_refused(tmp_path):
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
    check_readable(path, seconds=2)
    content = bytearray(path.read_bytes())
    text = content.index(b"GCOL") + 16  # the first object of the heap of texts; behind it the free space
    space = text + 16 + -(-int.from_bytes(content[text + 8 : text + 16], "little") // 8) * 8
    content[space + 8 : space + 16] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged: the HDF5 library crashes on it or reads it for ever"):
        check_readable(path, seconds=2)
