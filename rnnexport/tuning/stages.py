"""The stages of a search: write every form, judge it, time it, spare layers, and prove the fastest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rnnexport.benchmark.journal import Journal
from rnnexport.errors import RnnexportError
from rnnexport.plan import Purpose
from rnnexport.tuning.bounds import drop_by_bound
from rnnexport.tuning.budget import Budget, Quality
from rnnexport.tuning.forms import PLAIN, Form, sparing, write_form
from rnnexport.tuning.results import Candidate, Shape, TuneReport
from rnnexport.tuning.search import Clock, Search, drop
from rnnexport.tuning.workload import SequenceWorkload, StepWorkload
from rnnexport.versions import machine, tool_versions

_SAME_SIZE = 1.02
_NEARLY = 10
"""Times the budget's limit that a form of several layers may err before no layer of it is worth sparing."""


class Stages:
    """One search, from the files to the proof of the fastest."""

    def __init__(
        self,
        workload: SequenceWorkload | StepWorkload,
        budget: Budget,
        purpose: Purpose,
        candidates: list[Candidate],
        forms: dict[str, Form],
        folder: Path,
        journal: Journal,
    ) -> None:
        self.workload, self.budget, self.purpose = workload, budget, purpose
        self.candidates, self.forms = candidates, forms
        self.folder, self.journal = folder, journal
        self.files = {PLAIN.name: workload.source}
        self.layers: dict[str, list[str]] = {}
        """Those that a form rewrites."""

    def run(self, clock: Clock, seconds: float, on_progress: Callable[[str], None]) -> None:
        """Fill the candidates in."""
        self._restore()
        for form in self.forms.values():
            if clock.left > 0 or form is PLAIN:
                on_progress(f"writing {form.name}")
                self._write(form)
            else:
                self._drop_form(form, "no time was left to write it")
        search = Search(self.workload, self.files, clock, seconds, on_progress, self._keep)
        plain = [c for c in self.candidates if c.form == PLAIN.name]
        self._judge_all(plain, search, on_progress)
        search.short_round(plain)
        if self.purpose != "size":
            drop_by_bound(self.workload, self.candidates, self.forms)
        self._judge_all(self.candidates, search, on_progress)
        self._spare_layers()
        self._judge_all(self.candidates, search, on_progress)
        search.short_round(self.candidates)
        self._choose(search, on_progress)

    def _restore(self) -> None:
        """Take over what an interrupted search found."""
        known = {line["form"] + line["definition"]["name"]: line for line in self.journal.lines}
        for number, candidate in enumerate(self.candidates):
            if line := known.get(candidate.form + candidate.definition.name):
                self.candidates[number] = Candidate.model_validate(line)

    def _keep(self, candidates: Sequence[Candidate]) -> None:
        """So that a search that is interrupted can go on."""
        for candidate in candidates:
            self.journal.append(candidate.model_dump(mode="json"))

    def _write(self, form: Form) -> None:
        """Write a form's file."""
        those = [c for c in self.candidates if c.form == form.name]
        if form.rewrite is not None:
            path = self.folder / f"{len(self.files)}.onnx"
            try:
                self.layers[form.name] = write_form(form, self.workload.source, path, self.workload.calibration)
            except RnnexportError as exc:
                self._drop_form(form, str(exc))
                return
            self.files[form.name] = path
        for candidate in those:
            candidate.bytes = self.files[form.name].stat().st_size

    def _drop_form(self, form: Form, reason: str) -> None:
        """Leave a single candidate of it, which says why."""
        first, *others = [c for c in self.candidates if c.form == form.name]
        drop(first, reason)
        self.candidates = [c for c in self.candidates if not any(c is other for other in others)]

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
            if search.clock.left <= 0 and candidate.form != PLAIN.name:
                drop(candidate, "no time was left to judge it")
                continue
            if key not in judged:
                on_progress(f"the errors of {candidate.name}")
                judged[key] = self._quality(search.file_of(candidate), candidate)
            self._apply(candidate, judged[key])
            self._keep([candidate])

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
