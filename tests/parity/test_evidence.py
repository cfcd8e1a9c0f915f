"""What a verification leaves behind can be judged again, and any of its calls repeated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnexport.errors import InputError
from rnnexport.parity.evidence import judge_again
from rnnexport.parity.results import ParityReport
from rnnexport.parity.verify import verify
from tests.bundles import GRU, copy_of


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ParityReport]:
    path = copy_of(GRU, tmp_path_factory.mktemp("evidence") / "gru")
    return path, verify(path, ["ort-cpu", "openvino-cpu"], grid="quick", seed=7)


def test_the_same_tolerances_give_the_same_verdicts(verified: tuple[Path, ParityReport]) -> None:
    path, report = verified
    assert judge_again(path / "parity.json") == report


@given(atol=st.floats(1e-8, 1e-2))
def test_other_tolerances_are_applied_to_the_raw_outputs(verified: tuple[Path, ParityReport], atol: float) -> None:
    path, report = verified
    again = judge_again(path / "parity.json", atol=atol, rtol=0)
    for runtime, before in zip(again.runtimes, report.runtimes, strict=True):
        for case, old in zip(runtime.cases, before.cases, strict=True):
            for now, then in zip(case.comparisons, old.comparisons, strict=True):
                assert now.max_abs_diff == then.max_abs_diff
                assert now.passed == (then.max_abs_diff <= max(atol, 4 * then.float32_error))


def test_a_call_made_alone_gives_what_it_gave(verified: tuple[Path, ParityReport]) -> None:
    path, report = verified
    for case in report.runtimes[0].cases[::3]:
        alone = verify(path, ["ort-cpu"], grid="quick", seed=7, case=case.number)
        assert alone.runtimes[0].cases == [case]
    assert judge_again(path / "parity.json") == report, "and leaves the evidence alone"


def test_a_call_that_is_not_there_is_refused(verified: tuple[Path, ParityReport]) -> None:
    with pytest.raises(InputError, match="there is no case 99 in 'ort-cpu'; the cases are 0 to"):
        verify(verified[0], ["ort-cpu"], grid="quick", case=99)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "parity_outputs.npz").unlink(), "cannot be read"),
        (lambda folder: (folder / "parity_outputs.npz").write_bytes(b"PK"), "is not what its parity.json"),
        (lambda folder: (folder / "parity.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "parity.json").write_text("[1]"), "is no result of rnnexport verify"),
        (lambda folder: (folder / "parity.json").write_text('{"schema_version": 1}'), "is schema 1"),
        (lambda folder: (folder / "parity.json").write_text('{"schema_version": 2}'), "is damaged"),
    ],
)
def test_damaged_evidence_is_refused_in_one_line(
    verified: tuple[Path, ParityReport], tmp_path: Path, damage: object, message: str
) -> None:
    folder = tmp_path / "gru"
    shutil.copytree(verified[0], folder)
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        judge_again(folder / "parity.json")
    assert "\n" not in str(caught.value)


def test_the_evidence_names_machine_versions_and_definition(verified: tuple[Path, ParityReport]) -> None:
    document = json.loads((verified[0] / "parity.json").read_text())
    assert document["seed"] == 7
    assert document["grid"] == "quick"
    assert document["machine"]["cpu"]
    assert document["versions"]["onnxruntime"]
    assert document["runtimes"][0]["definition"]["precision"] == "float32"
