import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnnexport.engines import engine_names, get_engine
from rnnexport.errors import EngineError, InputError, RnnexportWarning, RuntimeUnavailableError, UnknownNameError
from rnnexport.runtime.definitions import (
    choose_runtimes,
    default_definitions,
    list_definitions,
    load_definition,
    runtime_statuses,
    shadowing_notice,
)

PLUGINS = Path(__file__).parents[1] / "plugins" / "fake_engines"
BAD_PLUGINS = PLUGINS.with_name("bad_engines")
GOOD = 'engine = "onnxruntime"\nprecision = "float32"\n'


@pytest.fixture
def folder(tmp_path):
    """An empty `runtimes/` of the user."""
    return tmp_path


@pytest.fixture
def plugins(monkeypatch):
    monkeypatch.syspath_prepend(PLUGINS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def bad_plugins(monkeypatch):
    monkeypatch.syspath_prepend(BAD_PLUGINS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(BAD_PLUGINS), os.environ.get("PYTHONPATH", "")]))


def test_shipped_definitions(folder):
    definitions = {definition.name: definition for definition in list_definitions(folder)}
    in_float32 = ["openvino-cpu", "ort-cpu", "ort-cuda", "torch-cpu", "torch-cuda"]
    assert [name for name, d in definitions.items() if d.precision == "float32"] == in_float32
    assert sorted(definitions.keys() - in_float32) == ["openvino-cpu-bf16", "torch-cpu-bf16"]
    assert definitions["ort-cuda"].options == {"use_tf32": 0}
    assert {definition.precision for definition in definitions.values()} == {"float32", "bfloat16"}


def test_local_definition_comes_before_the_shipped_one_and_says_so(folder):
    (folder / "ort-cpu.toml").write_text(GOOD + "threads = 3\n")
    assert load_definition("ort-cpu", folder).threads == 3
    notice = f"runtime 'ort-cpu' is {folder}/ort-cpu.toml, not the one that comes with rnnexport"
    assert shadowing_notice("ort-cpu", folder) == notice


def test_no_shadow_without_a_local_definition_of_that_name(folder):
    (folder / "mine.toml").write_text(GOOD)
    assert shadowing_notice("mine", folder) is None
    assert shadowing_notice("ort-cpu", folder) is None
    assert shadowing_notice("ort-cpu", Path("runtimes")) is None  # the shipped folder itself


def test_definition_by_path(folder):
    (folder / "mine.toml").write_text(GOOD + "threads = 2\n[options]\nallow_spinning = false\n")
    definition = load_definition(folder / "mine.toml", Path("nowhere"))
    assert (definition.name, definition.threads, definition.options) == ("mine", 2, {"allow_spinning": False})


def test_unknown_runtime_lists_the_known_ones(folder):
    (folder / "mine.toml").write_text(GOOD)
    message = "runtime 'ort-gpu' is unknown; did you mean 'ort-cpu'? choose one of: mine, openvino-cpu, "
    with pytest.raises(UnknownNameError, match=re.escape(message)):
        load_definition("ort-gpu", folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("engine =", "is not TOML: Invalid value (at end of document)"),
        ('precision = "float32"', "key 'engine' is missing"),
        ('engine = "onnxruntime"', "key 'precision' is missing"),
        (GOOD + "thread = 1", "key 'thread' is unknown; did you mean 'threads'? choose one of: device, engine, "),
        (GOOD + 'name = "x"', "key 'name' is unknown; choose one of: "),
        (GOOD + 'device = "tpu"', "device = 'tpu': choose cpu, cuda or cuda:N"),
        (GOOD + "threads = -1", "threads = -1: Input should be greater than or equal to 0"),
        (GOOD + "[options]\nuse_tf32 = [1]", "options.use_tf32 = [1]: choose a string, a number, true or false"),
        ('engine = "ort"\nprecision = "float32"', "engine 'ort' is unknown; "),
        ('engine = "torch"\nprecision = "fp32"', "precision = 'fp32': Input should be 'float64', 'float32', "),
        (GOOD + "[options]\nuse_tf32 = 0", "option 'use_tf32' is unknown; choose one of: allow_spinning, "),
        (GOOD + "[options]\nallow_spinning = 1", "option 'allow_spinning' = 1: choose true or false"),
        (
            GOOD + '[options]\ngraph_optimization_level = "al"',
            "graph_optimization_level 'al' is unknown; did you mean 'all'? choose one of: all, basic, ",
        ),
        ('engine = "onnxruntime"\nprecision = "bfloat16"', "precision 'bfloat16': onnxruntime computes in the types"),
        ('engine = "openvino"\nprecision = "float16"', "precision 'float16': openvino has bfloat16 and float32"),
        ('engine = "openvino"\nprecision = "float32"\ndevice = "cuda"', "device 'cuda': openvino is used on the CPU"),
        (
            'engine = "openvino"\nprecision = "float32"\n[options]\nINFERENCE_PRECISION_HINT = "f16"',
            "option 'INFERENCE_PRECISION_HINT': say it with the key 'precision'",
        ),
        (
            'engine = "openvino"\nprecision = "float32"\n[options]\nstatic_shapes = 1',
            "option 'static_shapes' = 1: choose true or false",
        ),
        ('engine = "torch"\nprecision = "float16"', "precision 'float16': torch has bfloat16, float32, float64"),
        ('engine = "torch"\nprecision = "float32"\n[options]\na = 1', "option 'a' is unknown; engine 'torch' has no"),
    ],
)
def test_wrong_file_is_one_line_with_file_and_key(folder, text, message):
    (folder / "bad.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_definition("bad", folder)
    assert str(caught.value).startswith(f"{folder}/bad.toml: {message}")
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(folder):
    with pytest.raises(InputError, match=r"none.toml: cannot be read: No such file or directory"):
        load_definition(folder / "none.toml")


def test_default_is_every_usable_float32_definition(folder):
    names = [definition.name for definition in default_definitions(folder)]
    assert {"openvino-cpu", "ort-cpu", "torch-cpu"} <= set(names)
    assert "openvino-cpu-bf16" not in names
    assert choose_runtimes([], folder) == (default_definitions(folder), [])


def test_runtimes_named_are_split_into_usable_and_not(plugins, folder):
    (folder / "mine.toml").write_text('engine = "misbehaving"\nprecision = "float32"\ndevice = "cuda"\n')
    usable, not_usable = choose_runtimes(["ort-cpu", "mine", "ort-cpu"], folder)
    assert [definition.name for definition in usable] == ["ort-cpu"]
    assert [str(status.error()) for status in not_usable] == ["runtime 'mine' is not usable: it is Sunday; run: wait"]


def test_nothing_usable_raises(plugins, folder):
    (folder / "mine.toml").write_text('engine = "misbehaving"\nprecision = "float32"\ndevice = "cuda"\n')
    with pytest.raises(RuntimeUnavailableError, match=r"^runtime 'mine' is not usable: it is Sunday; run: wait$"):
        choose_runtimes(["mine"], folder)


def test_rejects_two_different_runtimes_of_one_name(folder):
    (folder / "ort-cpu.toml").write_text(GOOD + "threads = 3\n")
    assert len(choose_runtimes(["ort-cpu", folder / "ort-cpu.toml"], folder)[0]) == 1
    with pytest.raises(InputError, match="two different runtimes are called 'ort-cpu'; rename one of the files"):
        choose_runtimes(["ort-cpu", folder / "ort-cpu.toml"], Path("nowhere"))


def test_statuses_survive_json(folder):
    for status in runtime_statuses(folder):
        assert type(status).model_validate_json(status.model_dump_json()) == status


def test_engine_of_another_package_is_found(plugins):
    assert {"misbehaving", "onnxruntime", "openvino", "torch"} <= set(engine_names())
    assert get_engine("misbehaving").name == "misbehaving"


def test_broken_engine_is_named_only_when_it_is_asked_for(plugins, folder):
    assert "broken" in engine_names()
    assert load_definition("ort-cpu", folder).engine == "onnxruntime"
    message = r"engine 'broken' \(fake_engines:ThereIsNoSuchEngine\) cannot be loaded: AttributeError: .*ThereIsNoSuch"
    with pytest.raises(EngineError, match=message):
        get_engine("broken")


def test_engine_registered_twice_is_refused(plugins, tmp_path, monkeypatch):
    metadata = tmp_path / "other_engines-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-engines\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[rnnexport.engines]\nmisbehaving = other:Engine\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineError, match="engine 'misbehaving' is registered by other:Engine and fake_engines:"):
        get_engine("misbehaving")


def test_importing_loads_no_inference_library():
    code = (
        "import sys, rnnexport.runtime.worker, rnnexport.runtime.definitions\n"
        "for name in rnnexport.engines.engine_names(): rnnexport.engines.get_engine(name)\n"
        "print(*{'torch', 'onnx', 'onnxruntime', 'openvino', 'numba', 'lightning'} & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_a_bad_neighbour_costs_its_own_row_only(folder, bad_plugins):
    (folder / "torn.toml").write_text("engine =")
    for engine in ("exits-when-imported", "raises-when-asked", "exits-when-asked", "kills-when-asked"):
        (folder / f"{engine}.toml").write_text(f'engine = "{engine}"\nprecision = "float32"\n')
    with pytest.warns(RnnexportWarning) as warned:
        statuses = {status.definition.name: status.availability for status in runtime_statuses(folder)}
    left_out = " ".join(str(warning.message) for warning in warned)
    for name in ("torn", "exits-when-imported", "exits-when-asked", "kills-when-asked"):
        assert f"runtime {name!r} is left out: " in left_out
    assert statuses["ort-cpu"].usable
    assert "asking it raised RuntimeError: no licence" in statuses["raises-when-asked"].reason
    with pytest.warns(RnnexportWarning):
        assert "ort-cpu" in [definition.name for definition in default_definitions(folder)]
    with pytest.raises(EngineError, match="ended by SIGKILL"):
        load_definition("kills-when-asked", folder)
