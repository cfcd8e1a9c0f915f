"""Arguments in the library, flags on the command line: the same thing under two names."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rnnexport
from rnnexport.bundle.bundle import reference_bundles
from rnnexport.cli import main
from rnnexport.cli.app import COMMANDS, load_command
from rnnexport.cli.flags import in_flags
from rnnexport.errors import InputError
from tests.command_line import Run

FLAGS = {name: {flag for parameter in load_command(name).params for flag in parameter.opts} for name in COMMANDS}
SHELL = re.compile(r"(rnnexport [a-z]+|torchrun) .*", re.DOTALL)
"""A whole command to run, which has flags of its own."""


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    for name, what in COMMANDS.items():
        assert load_command(name).help.partition("\n")[0] == what
        assert (Path(rnnexport.__file__).parent / "cli" / f"{name}.py").is_file()


def messages() -> Iterator[tuple[str, str]]:
    """Every text that the library raises, and where."""
    root = Path(rnnexport.__file__).parent
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        raised = [node.exc for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Raise)]
        for error in raised if place.parts[0] != "cli" else ():
            yield f"{place}:{error.lineno if error else 0}", text_of(error)


def text_of(node: ast.AST | None) -> str:
    """The words of a message; a value in it is {}."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.FormattedValue):
        return "{}"
    return "".join(text_of(child) for child in ast.iter_child_nodes(node)) if node else ""


def test_errors_of_the_library_name_arguments_and_each_is_a_flag() -> None:
    named = 0
    for place, text in messages():
        assert "--" not in SHELL.sub("", text), place
        for argument in re.findall(r"`([a-z][a-z0-9_]*)(?:=[^`]*)?`", text):
            flags = {name: in_flags(name, f"`{argument}`").split()[0] for name in FLAGS}
            assert any(flags[name] in FLAGS[name] for name in FLAGS), (place, argument)
            named += 1
    assert named > 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["optimize", "MODEL", "--lowering", "fused", "-o", "out.onnx"],
            "--lowering fused --weights float32 changes nothing; add --weight-only-int8 or --time-steps 1, or choose",
        ),
        (
            ["optimize", "MODEL", "--weights", "int8", "--block-size", "48", "-o", "o"],
            "--block-size 48: choose a",
        ),
        (["export", "torch.nn:Identity"], "a module needs its inputs; give them like --input tokens:int64[batch,time]"),
        (["export", "MODEL", "--compress"], "only OpenVINO's format is compressed; add --format openvino"),
        (["train", "--learning-rate", "0"], "--learning-rate is 0.0; it must be above 0"),
        (["bench", "--scenario", "server"], "the server scenario takes either --rate or --p99-limit"),
        (
            ["bench", "--scenario", "mix", "--time-steps", "9"],
            "--time-steps is no option of --scenario mix, which",
        ),
        (["bench", "--scenario", "streaming", "--plot", "a.svg"], "--plot is no option of --scenario streaming, which"),
        (["bench", "--hidden-size", "8", "--all-shapes"], "--all-shapes goes with --shapes, not with --hidden-size"),
    ],
)
def test_errors_on_the_command_line_name_flags(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    model = str(reference_bundles()[1] / "model.onnx")
    monkeypatch.setattr(sys, "argv", ["rnnexport", *(model if word == "MODEL" else word for word in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"rnnexport: {message}")


@pytest.mark.parametrize("name", ["train", "export", "verify", "bench", "tune"])
def test_public_functions_show_each_argument_with_its_default_and_meaning(name: str) -> None:
    function = getattr(rnnexport, name)
    documented = inspect.getdoc(function) or ""
    subject = {"export": "source", "verify": "path", "tune": "path"}.get(name)
    for argument in inspect.signature(function).parameters:
        assert argument == subject or re.search(rf"^    {argument}: \w", documented, re.MULTILINE), argument
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        function(*(["nowhere"] if subject else []), colour="red")


def test_bounds_hold_in_python_too() -> None:
    with pytest.raises(InputError, match=r"`seconds` is 0; it must be at least 0\.01"):
        rnnexport.bench(seconds=0)
    with pytest.raises(InputError, match="`case` is -1; it must be at least 0"):
        rnnexport.verify("nowhere", case=-1)


def test_a_word_that_is_no_choice_is_refused_in_python_too() -> None:
    with pytest.raises(InputError, match="`lengths` 'exakt' is unknown; did you mean 'exact'"):
        rnnexport.export("nowhere", lengths="exakt")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="`log` 'csw' is unknown; did you mean 'csv'"):
        rnnexport.train(log="csw")  # type: ignore[arg-type]


def test_options_that_were_renamed_work_with_a_hint(tmp_path: Path, run: Run) -> None:
    old = run(
        "optimize",
        reference_bundles()[0] / "model.onnx",
        "-o",
        tmp_path / "old.onnx",
        "--lowering",
        "fused",
        "--weights8",
    )
    new = run(
        "optimize",
        reference_bundles()[0] / "model.onnx",
        "-o",
        tmp_path / "new.onnx",
        "--lowering",
        "fused",
        "--weight-only-int8",
    )
    assert (old.status, new.status) == (0, 0)
    assert "--weights8 is now --weight-only-int8" in old.err
    assert "is now" not in new.err
    assert (tmp_path / "old.onnx").read_bytes() == (tmp_path / "new.onnx").read_bytes()
    wrong = run(
        "optimize",
        reference_bundles()[0] / "model.onnx",
        "-o",
        tmp_path / "wrong.onnx",
        "--weights",
        "int8",
        "--product",
        "dequantize",
    )
    assert "say --matmul-kernel dequantize" in wrong.err
