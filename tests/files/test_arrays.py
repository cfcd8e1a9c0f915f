"""Arrays of any origin: what is no array of numbers is one line, before memory is taken for it."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rnnexport.errors import InputError
from rnnexport.files import arrays
from rnnexport.files.arrays import map_array, read_npy, read_npz
from rnnexport.files.json_files import read_json


def _header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _zip(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x.npy", content)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(save, tmp_path):
    kept = {"a/b": np.arange(12.0).reshape(3, 4), "f": np.asfortranarray(np.arange(6).reshape(2, 3)), "0": np.array(3)}
    kept |= {"empty": np.zeros((0, 3)), "names": np.array(["x", "yy"]), "µ": np.array([True])}
    save(tmp_path / "a.npz", **kept)
    found = read_npz(tmp_path / "a.npz")
    assert found.keys() == kept.keys()
    for name, array in kept.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(map_array(tmp_path / "a.npz", name), array)
    np.save(tmp_path / "a.npy", kept["f"])
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), kept["f"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_header((2**40, 2**20)), "it declares an array of .* bytes and holds 0"),
        (_header((3,)) + bytes(8), "it declares an array of 12 bytes and holds 8"),
        (_header((3,)) + bytes(16), "it declares an array of 12 bytes and holds 16"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "we only support format|format"),
        (b"text", "magic|EOF"),
    ],
)
def test_a_damaged_array_is_refused_before_it_takes_memory(content, message, tmp_path):
    _zip(tmp_path / "a.npz", content)
    with pytest.raises(InputError, match=rf"a\.npz cannot be read: .*({message})"):
        read_npz(tmp_path / "a.npz")


def test_a_bomb_is_not_unpacked(monkeypatch, tmp_path):
    monkeypatch.setattr(arrays, "LARGEST_UNPACKED", 2**20)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(2**20, np.float32))
    with pytest.raises(InputError, match="it would unpack to 4 MiB"):
        read_npz(tmp_path / "a.npz")


def test_other_kinds_of_file_say_what_they_are(tmp_path):
    array = np.zeros(3)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", x=array)
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npy").read_bytes())
    (tmp_path / "b.npy").write_bytes((tmp_path / "a.npz").read_bytes())
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    np.savez(tmp_path / "fields.npz", x=np.array([(1, 2.0)], [("a", int), ("b", float)]))
    encrypted = bytearray((tmp_path / "a.npz").read_bytes())
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "secret.npz").write_bytes(encrypted)
    damaged = bytearray((tmp_path / "a.npz").read_bytes())
    damaged[damaged.index(b"}") + 80] ^= 255
    (tmp_path / "crc.npz").write_bytes(damaged)
    for name, message in {
        "b.npz": "a single array",
        "objects.npz": "which could run code",
        "fields.npz": "neither numbers nor texts",
        "secret.npz": "it is encrypted",
        "crc.npz": "Bad CRC-32",
    }.items():
        with pytest.raises(InputError, match=rf"{name} cannot be read: .*{message}"):
            read_npz(tmp_path / name)
    with pytest.raises(InputError, match="which holds several arrays"):
        read_npy(tmp_path / "b.npy")


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"{", b"1" * 5000, b'["\\ud800"]'])
def test_json_that_cannot_be_read_is_one_line(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json is no JSON file: ") as refused:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(refused.value)


def test_json_may_write_a_character_as_two_halves(tmp_path):
    (tmp_path / "a.json").write_text(r'["\ud83d\ude00"]')
    assert read_json(tmp_path / "a.json") == ["\U0001f600"]
