"""Every case of the table exports and is right in every runtime, or is refused with the reason."""

import re

import pytest
import torch

import rnnexport
from benchmarks.export_table.outcomes import RUNTIMES, largest_excess, specs
from benchmarks.export_table.pytorch_cases import ALL_CASES as CASES
from benchmarks.export_table.write_table import DOCUMENT, known_rows
from rnnexport.errors import RnnexportError

IDS = [case.name for case in CASES]


# The others are captured and run in tests/capture/, which differs from an export in little.
QUICK = {
    *("LSTM: one layer", "GRU: learned states", "embedding → GRU → head", "loop: LSTMCell, outputs stacked"),
    *("packed: LSTM, two layers, bidirectional", "packed: reset before the product"),
}
EXPORTED = [
    pytest.param(case, id=case.name, marks=[] if case.name in QUICK else pytest.mark.slow)
    for case in CASES
    if not case.refused
]


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("case", EXPORTED)
def test_is_right_in_every_runtime_at_sizes_that_were_not_traced(case, tmp_path):
    torch.manual_seed(0)
    module = case.make()
    bundle = rnnexport.export(module, tmp_path / "bundle", inputs=specs(case))
    for runtime in RUNTIMES:
        assert largest_excess(module, case, bundle.model_path, runtime) <= 1, runtime


@pytest.mark.parametrize("case", [case for case in CASES if case.refused], ids=lambda case: case.name)
def test_is_refused_with_the_reason_and_nothing_is_written(case, tmp_path):
    with pytest.raises(RnnexportError, match=re.escape(case.refused)):
        rnnexport.export(case.make(), tmp_path / "bundle", inputs=specs(case))
    assert not any(tmp_path.iterdir())


def test_the_documented_table_is_about_these_cases_and_has_no_wrong_word_of_ours():
    rows = known_rows(DOCUMENT.read_text(encoding="utf-8"))
    assert list(rows) == IDS
    for case in CASES:
        ours = [*rows[case.name]["rnnexport"].values()]
        assert ours == ["refused" if case.refused else "right"] * 3, case.name
