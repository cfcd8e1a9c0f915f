"""Damaged inputs of every kind: one line, an exit status, and nothing lost.

`nox -s fuzz` tries a hundred times as many, on the commands that take seconds, too.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rnnexport.bundle.bundle import Bundle
from tests.faults.fault_inputs import QUICK, Originals, prepare
from tests.faults.fault_oracle import run
from tests.faults.originals import make_originals


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory, streaming_gru: Bundle) -> Originals:
    return make_originals(tmp_path_factory.mktemp("originals"), streaming_gru.path)


@pytest.mark.parametrize("kind", dict.fromkeys(QUICK), ids=lambda kind: kind.__name__)
def test_a_damaged_input_is_one_line(kind, originals: Originals, tmp_path: Path) -> None:
    @settings(max_examples=50, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(random=st.randoms(use_true_random=False, note_method_calls=False))
    def check(random: Random) -> None:
        folder = tmp_path / "case"
        shutil.rmtree(folder, ignore_errors=True)
        command = prepare(kind, random, originals, folder)
        outcome = run(command, folder)
        assert outcome.verdict in ("good", "clear"), (command, outcome)

    check()
