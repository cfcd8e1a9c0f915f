"""A plan is read as it was written, or refused with what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.plan import GraphKind, differences_from_here, read_plan
from rnnexport.errors import BundleError
from rnnexport.versions import machine, tool_versions
from tests.conftest import AddPlan


@pytest.mark.parametrize("kind", ["sequence", "step"])
def test_a_plan_is_read_as_it_was_written(kind: GraphKind, bundle: Bundle, add_plan: AddPlan, int8_graph: Path) -> None:
    assert read_plan(bundle, kind) is None
    plan = add_plan(bundle, int8_graph, kind)
    assert read_plan(bundle, kind) == plan
    assert differences_from_here(plan) == []


def replace(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / "plan.toml").read_text()
        assert re.search(old, text)
        (folder / "plan.toml").write_text(re.sub(old, new, text))

    return change


def put(name: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


DAMAGE = {
    "no TOML": (put("plan.toml", b"graph = "), "plan.toml is damaged: Invalid value"),
    "no text": (put("plan.toml", b"\xff\xfe"), "plan.toml is damaged: 'utf-8' codec"),
    "empty": (put("plan.toml", b""), "plan.toml is damaged: key 'graph' is missing"),
    "no graph": (replace("graph = .*\n", ""), "plan.toml is damaged: key 'graph' is missing"),
    "no engine": (replace("engine = .*\n", ""), "plan.toml is damaged: engine: Field required"),
    "unknown engine": (replace('onnxruntime"', 'onyx"'), "plan.toml is damaged: engine 'onyx' is unknown"),
    "unknown key": (replace("engine =", "speed = 3\nengine ="), "plan.toml is damaged: speed: Extra inputs"),
    "name given": (replace("engine =", "name = 'x'\nengine ="), "plan.toml is damaged: .*multiple values"),
    "unknown option": (replace(r"\[options\]", "[options]\nspeed = 3"), "plan.toml is damaged: option 'speed'"),
    "wrong type": (replace("time_steps = 25", "time_steps = 'many'"), "plan.toml is damaged: time_steps: "),
    "another export": (replace('manifest_sha256 = "..', 'manifest_sha256 = "zz'), "made for an earlier export"),
    "outside": (
        replace("graph = .*", 'graph = "../gru/plan.onnx"'),
        "runs '../gru/plan.onnx', which is not in the bundle",
    ),
    "the parent": (replace("graph = .*", 'graph = ".."'), "runs '..', which is not in the bundle"),
    "graph gone": (lambda folder: (folder / "plan.onnx").unlink(), "runs 'plan.onnx', which is not in the bundle"),
    "graph changed": (put("plan.onnx", b"another"), "plan.onnx was changed after plan.toml was made"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_plan_that_is_not_whole_is_refused_in_one_line(
    damage: str, bundle: Bundle, add_plan: Callable, int8_graph: Path
) -> None:
    add_plan(bundle, int8_graph)
    change, message = DAMAGE[damage]
    change(bundle.path)
    with pytest.raises(BundleError, match=message) as refused:
        read_plan(bundle, "sequence")
    assert str(refused.value).endswith(f"; run: rnnexport tune {bundle.path}")
    assert "\n" not in str(refused.value)


def test_a_plan_that_cannot_be_read_is_refused(bundle: Bundle) -> None:
    (bundle.path / "plan.toml").mkdir()
    with pytest.raises(BundleError, match=r"plan\.toml cannot be read: Is a directory; run: rnnexport tune"):
        read_plan(bundle, "sequence")


def test_a_plan_of_another_machine_or_version_is_read_and_says_what_differs(
    bundle: Bundle, add_plan: Callable, int8_graph: Path
) -> None:
    versions = {name: version for name, version in tool_versions().items() if name != "openvino"}
    elsewhere = {**machine(), "cpu": "Another CPU"}
    add_plan(bundle, int8_graph, machine=elsewhere, versions={**versions, "onnxruntime": "1.0.0", "numpy": "1.0"})
    plan = read_plan(bundle, "sequence")
    assert plan is not None
    assert differences_from_here(plan) == [
        f"cpu was 'Another CPU', here {machine()['cpu']!r}",
        f"onnxruntime was 1.0.0, here {tool_versions()['onnxruntime']}",
        f"openvino was missing, here {tool_versions()['openvino']}",
    ]
