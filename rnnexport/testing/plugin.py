"""The pytest plug-in, which pytest finds by the entry point `pytest11`: a fixture, and one setting of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from rnnexport.testing import assert_parity as judge

_SETTING = "rnnexport_runtimes"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a project say once where its models have to be right."""
    parser.addini(_SETTING, "runtimes in which assert_parity judges, by name or .toml file", type="linelist")


@pytest.fixture
def assert_parity(pytestconfig: pytest.Config) -> Callable[..., None]:
    """`rnnexport.testing.assert_parity`, in the runtimes that the setting `rnnexport_runtimes` names."""
    names = pytestconfig.getini(_SETTING)
    root = pytestconfig.rootpath
    return partial(judge, runtimes=[root / name if name.endswith(".toml") else name for name in names])
