"""Search the fastest way to run a bundle on this machine within a budget, prove it, and keep it as the plan."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rnnexport.benchmark.journal import Journal
from rnnexport.bundle import Bundle, load_bundle, sha256_of
from rnnexport.errors import BundleError, InputError, RnnexportError
from rnnexport.parity.grid import CaseShape
from rnnexport.plan import GraphKind, Plan, Purpose, Tuned, graph_name, plan_name, write_plan
from rnnexport.tuning.bounds import drop_by_bound
from rnnexport.tuning.budget import Budget, Quality
from rnnexport.tuning.candidates import candidates_for
from rnnexport.tuning.forms import PLAIN, Form, forms_for, sparing, write_form
from rnnexport.tuning.results import Candidate, Shape, TuneReport
from rnnexport.tuning.search import Clock, Search, drop
from rnnexport.tuning.workload import SequenceWorkload, StepWorkload
from rnnexport.versions import machine, tool_versions

JOURNAL = "tune.jsonl"
_BATCH_SIZES: dict[Purpose, tuple[int, ...]] = {"throughput": (16, 64)}
_TIME_STEPS: dict[Purpose, tuple[int, ...]] = {"streaming": (1,)}
_SAME_SIZE = 1.02
_NEARLY = 10
"""Times the budget's limit that a form of several layers may err before no layer of it is worth sparing."""


def tune(
    path: str | Path,
    *,
    budget: str = "float32",
    purpose: Purpose = "latency",
    batch_sizes: Sequence[int] = (),
    time_steps: Sequence[int] = (),
    runtimes: Sequence[str] = (),
    inputs: str | Path | None = None,
    time_limit_seconds: float = 300,
    seconds: float = 2.0,
    resume: bool = False,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> TuneReport:
    """Write the fastest plan that holds `budget` into the bundle at `path`.

    Args:
        path: The bundle.
        budget: `float32`, `max-error=X` or `metric-drop=X`; see `Budget`.
        purpose: What is to be best: latency, throughput, the size of the file, or the latency of a chunk of a stream.
        batch_sizes: Of the calls that count; by default 1, for throughput 16 and 64.
        time_steps: Of the calls that count; by default 25, for streaming 1.
        runtimes: Those to try; by default every usable float32 runtime, and bfloat16 where the budget allows it.
        inputs: A npz with one array for each input: real inputs, for a bundle without labelled series.
        time_limit_seconds: When it is over, no further candidate is begun; the last round is still run.
        seconds: Of timed calls for each candidate and shape in the last round; the first rounds take a tenth.
        resume: Go on where an interrupted search ended.
        seed: Of what is drawn.
        on_progress: Told what is done.

    Raises:
        BundleError: The bundle is missing or damaged, or cannot be written to.
        InputError: The budget, a size or the inputs are wrong, or the bundle has no step graph.
        RuntimeUnavailableError: None of the runtimes named is usable here.
    """
    bundle, limit = load_bundle(Path(path)), Budget.parse(budget)
    kind: GraphKind = "step" if purpose == "streaming" else "sequence"
    shapes = [
        CaseShape(batch, steps, from_series=True, mixed_lengths=False)
        for batch in batch_sizes or _BATCH_SIZES.get(purpose, (1,))
        for steps in time_steps or _TIME_STEPS.get(purpose, (25,))
    ]
    _check(bundle, limit, purpose, shapes, inputs)
    clock = Clock(time_limit_seconds)
    on_progress("the float64 reference")
    workload = _workload(bundle, kind, shapes, None if inputs is None else Path(inputs), seed)
    forms = forms_for(kind, lossy=limit.lossy, small=purpose == "size", time_steps=shapes[0].time_steps)
    candidates = candidates_for(workload, forms, runtimes, lossy=limit.lossy)
    settings = {
        "manifest": bundle.manifest_sha256,
        "budget": str(limit),
        "purpose": purpose,
        "shapes": [shape.name for shape in shapes],
        "runtimes": list(runtimes),
        "seconds": seconds,
        "seed": seed,
        "versions": tool_versions(),
    }
    with tempfile.TemporaryDirectory(prefix="rnnexport-tune-") as folder:
        tuning = _Tuning(workload, limit, purpose, candidates, {form.name: form for form in forms}, Path(folder))
        tuning.journal = _journal(bundle, settings, resume=resume)
        tuning.run(clock, seconds, on_progress)
        report = tuning.report()
        if report.chosen is not None:
            report.plan = _keep(bundle, kind, tuning, report)
    bundle.write_evidence("tune.json", report.model_dump(mode="json"))
    (bundle.path / JOURNAL).unlink(missing_ok=True)
    return report


def _check(
    bundle: Bundle, budget: Budget, purpose: Purpose, shapes: Sequence[CaseShape], inputs: str | Path | None
) -> None:
    if not os.access(bundle.path, os.W_OK):
        raise BundleError(f"bundle {str(bundle.path)!r} cannot be written to; copy it, and tune the copy")
    by_metric = budget.kind == "metric-drop"
    if by_metric and (bundle.evaluation is None or bundle.manifest.metric is None or inputs is not None):
        raise InputError(f"bundle {str(bundle.path)!r} has no labels to tell a metric by; choose --budget max-error=X")
    if purpose == "streaming":
        if by_metric:
            raise InputError("a metric is told by whole series; with --for streaming choose --budget max-error=X")
        if inputs is not None:
            raise InputError("--inputs are calls of the sequence graph; --for streaming takes none")
        if len({shape.time_steps for shape in shapes}) > 1:
            raise InputError("a plan for streaming is made for chunks of one size; give one --time-steps")
    if any(shape.batch_size < 1 or shape.time_steps < 1 for shape in shapes):
        raise InputError("batch sizes and time steps must be at least 1")


def _workload(
    bundle: Bundle, kind: GraphKind, shapes: Sequence[CaseShape], inputs: Path | None, seed: int
) -> SequenceWorkload | StepWorkload:
    if kind == "step":
        return StepWorkload.make(bundle, shapes, seed)
    return SequenceWorkload.make(bundle, shapes, inputs, seed)


def _journal(bundle: Bundle, settings: dict[str, object], *, resume: bool) -> Journal:
    path = bundle.path / JOURNAL
    if not resume:
        path.unlink(missing_ok=True)
    return Journal(path, settings, resume=True)


class _Tuning:
    """One search, from the files to the proof of the fastest."""

    journal: Journal

    def __init__(
        self,
        workload: SequenceWorkload | StepWorkload,
        budget: Budget,
        purpose: Purpose,
        candidates: list[Candidate],
        forms: dict[str, Form],
        folder: Path,
    ) -> None:
        self.workload, self.budget, self.purpose = workload, budget, purpose
        self.candidates, self.forms, self.folder = candidates, forms, folder
        self.files = {PLAIN.name: workload.source}
        self.layers: dict[str, list[str]] = {}
        """Those that a form rewrites."""

    def run(self, clock: Clock, seconds: float, on_progress: Callable[[str], None]) -> None:
        """Fill the candidates in."""
        self._restore()
        for form in self.forms.values():
            if clock.left > 0:
                on_progress(f"writing {form.name}")
                self._write(form)
        search = Search(self.workload, self.files, clock, seconds, on_progress)
        plain = [c for c in self.candidates if c.form == PLAIN.name]
        self._judge_all(plain, search, on_progress)
        search.short_round(plain)
        if self.purpose != "size":
            drop_by_bound(self.workload, self.candidates, self.forms)
        self._judge_all(self.candidates, search, on_progress)
        self._spare_layers()
        self._judge_all(self.candidates, search, on_progress)
        search.short_round(self.candidates)
        for candidate in self.candidates:
            self.journal.append(candidate.model_dump(mode="json"))
        self._choose(search, on_progress)

    def _restore(self) -> None:
        """Take over what an interrupted search found."""
        known = {line["form"] + line["definition"]["name"]: line for line in self.journal.lines}
        for number, candidate in enumerate(self.candidates):
            if line := known.get(candidate.form + candidate.definition.name):
                self.candidates[number] = Candidate.model_validate(line)

    def _write(self, form: Form) -> None:
        """Write a form's file; of one that cannot be written, a single candidate is left, which says why."""
        those = [c for c in self.candidates if c.form == form.name]
        if form.rewrite is not None:
            path = self.folder / f"{len(self.files)}.onnx"
            try:
                self.layers[form.name] = write_form(form, self.workload.source, path, self.workload.calibration)
            except RnnexportError as exc:
                drop(those[0], str(exc))
                self.candidates = [c for c in self.candidates if c.form != form.name or c is those[0]]
                return
            self.files[form.name] = path
        for candidate in those:
            candidate.bytes = self.files[form.name].stat().st_size

    def _spare_layers(self) -> None:
        """Where all layers rounded err somewhat too much, leave each in turn as it was."""
        if self.budget.kind != "max-error":
            return
        for form in list(self.forms.values()):
            over = [
                c for c in self.candidates if c.form == form.name and c.outcome == "dropped" and c.error is not None
            ]
            near = [c for c in over if (c.error or 0.0) <= _NEARLY * self.budget.limit]
            layers = self.layers.get(form.name, [])
            for layer in layers if near and len(layers) > 1 else []:
                spared = sparing(form, layer)
                self.forms[spared.name] = spared
                fresh = {"form": spared.name, "error": None, "metric": None, "outcome": "not chosen", "reason": ""}
                self.candidates += [candidate.model_copy(update=fresh) for candidate in near]
                self._write(spared)

    def _judge_all(self, candidates: Sequence[Candidate], search: Search, on_progress: Callable[[str], None]) -> None:
        """Judge each file once in each engine and precision: threads change the order of sums, not the answer."""
        judged: dict[tuple[str, str, str], Quality | str] = {}
        for candidate in candidates:
            if candidate.outcome == "dropped" or candidate.error is not None:
                continue
            definition = candidate.definition
            key = candidate.form, definition.engine, definition.precision
            if key not in judged:
                on_progress(f"the errors of {candidate.name}")
                judged[key] = self._quality(search.file_of(candidate), candidate)
            self._apply(candidate, judged[key])
            self.journal.append(candidate.model_dump(mode="json"))

    def _quality(self, path: Path, candidate: Candidate) -> Quality | str:
        try:
            return self.workload.quality(path, candidate.definition)
        except RnnexportError as exc:
            return str(exc)

    def _apply(self, candidate: Candidate, quality: Quality | str) -> None:
        if isinstance(quality, str):
            drop(candidate, quality)
            return
        candidate.error, candidate.metric = quality.error, quality.metric
        metric = self.workload.bundle.manifest.metric
        excess = self.budget.excess(quality, metric, self.workload.reference_metric)
        if excess > 1:
            fault = quality.float32_fault if not self.budget.lossy else None
            drop(candidate, f"over the budget: {fault or f'{excess:.2g} times {self.budget}'}")

    def _choose(self, search: Search, on_progress: Callable[[str], None]) -> None:
        """Take the best that also holds at other calls than those timed."""
        ranked = self._by_size() if self.purpose == "size" else search.last_round(self.candidates)
        while ranked:
            best = ranked[0] if self.purpose == "size" else search.simplest(ranked, self.candidates)
            on_progress(f"other calls of {best.name}")
            fault = self.workload.why_refused(search.file_of(best), best.definition, lossy=best.lossy)
            if fault is None:
                best.outcome = "chosen"
                best.reason = "nothing beats the plain export" if best is self.candidates[0] else ""
                return
            drop(best, fault)
            ranked.remove(best)

    def _by_size(self) -> list[Candidate]:
        alive = [c for c in self.candidates if c.outcome != "dropped" and c.definition.engine != "torch"]
        alive = [c for c in alive if c.times_plain is not None]
        smallest = min((c.bytes for c in alive), default=0)
        return sorted(alive, key=lambda c: (c.bytes > smallest * _SAME_SIZE, c.bytes, -(c.times_plain or 0.0)))

    def report(self) -> TuneReport:
        """What became of all."""
        return TuneReport(
            bundle=str(self.workload.bundle.path),
            purpose=self.purpose,
            budget=str(self.budget),
            shapes=[Shape(batch_size=s.batch_size, time_steps=s.time_steps) for s in self.workload.shapes],
            judged_on=self.workload.judged_on,
            metric=self.workload.bundle.manifest.metric if self.workload.reference_metric is not None else None,
            reference_metric=self.workload.reference_metric,
            candidates=self.candidates,
            machine=machine(),
            versions=tool_versions(),
        )


def _keep(bundle: Bundle, kind: GraphKind, tuning: _Tuning, report: TuneReport) -> str:
    """Write graph and plan; between the two, an older plan is refused because its graph was changed."""
    best = report.chosen
    assert best is not None
    if best.definition.engine == "torch":
        graph = bundle.description_path.name
    elif best.form == PLAIN.name:
        graph = tuning.workload.source.name
    else:
        graph = graph_name(kind)
        bundle.write_file(graph, tuning.files[best.form].read_bytes())
    first = tuning.workload.shapes[0]
    tuned = Tuned(
        purpose=report.purpose,
        budget=report.budget,
        form=best.form,
        batch_size=first.batch_size,
        time_steps=first.time_steps,
        manifest_sha256=bundle.manifest_sha256,
        graph_sha256=sha256_of(bundle.path / graph),
        machine=report.machine,
        versions=report.versions,
    )
    write_plan(bundle, kind, Plan(graph=graph, definition=best.definition, tuned=tuned))
    return plan_name(kind)
