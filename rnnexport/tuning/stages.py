"""The stages of a search.

1. Each form is written, judged and timed in its first runtime, before the next: the plain export, then those with small
   weights, which a lossy budget is given for, then the rest. So what promises most has been tried to the end where the
   time limit ends a search early.
2. What cannot be faster than the fastest of those is dropped by its bound; the rest is judged and timed in turn.
3. Where all layers rounded err somewhat too much, the gate that errs most is spared in all of them, or each layer in
   turn.
4. The fastest are measured again, and the best of them is proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rnnexport.benchmark.journal import Journal
from rnnexport.bundle.plan import Purpose
from rnnexport.engines import reads_source
from rnnexport.errors import RnnexportError
from rnnexport.optimizing.rewrite import CANDIDATES, LayerOutcome
from rnnexport.tuning.bounds import drop_by_bound
from rnnexport.tuning.budget import Budget, Quality
from rnnexport.tuning.forms import PLAIN, Form, sparing, write_form
from rnnexport.tuning.results import Candidate, Shape, TuneReport
from rnnexport.tuning.search import Clock, Search, drop
from rnnexport.tuning.workload import SequenceWorkload, StepWorkload
from rnnexport.versions import machine, tool_versions

_SAME_SIZE = 1.02
_NEARLY = 10
"""Times the budget's limit that a form may err before no part of it is worth sparing."""


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
        self.layers: dict[str, list[LayerOutcome]] = {}
        """Those that a form rewrites."""
        self._qualities: dict[tuple[str, str, str], Quality | str] = {}
        """By form, engine and precision: threads change the order of sums, not the answer."""

    def run(self, clock: Clock, seconds: float, on_progress: Callable[[str], None]) -> None:
        """Fill the candidates in."""
        self._restore()
        self._weigh(PLAIN)
        search = Search(self.workload, self.files, clock, seconds, on_progress, self._keep)
        in_order = sorted(self.forms.values(), key=lambda form: (form is not PLAIN, not form.lossy))
        for form in in_order:
            self._try(form, self._of(form)[:1], search)
        if self.purpose != "size":
            drop_by_bound(self.workload, self.candidates, self.forms)
        for form in in_order:
            self._try(form, self._of(form), search)
        for spared in self._spare():
            self._try(spared, self._of(spared), search)
        self._choose(search, on_progress)

    def _try(self, form: Form, candidates: Sequence[Candidate], search: Search) -> None:
        """Write a form, judge it, and time what holds the budget; what is done already is not done again."""
        if all(c.outcome == "dropped" and c.error is None for c in candidates):
            return  # by its bound
        if form.name not in self.files:
            if search.clock.left <= 0:
                self._drop_form(form, "no time was left to write it")
                return
            search.on_progress(f"writing {form.name}")
            self._write(form)
        self._judge(form, candidates, search)
        search.short_round([c for c in self.candidates if c.error is not None and c.form in self.files])

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
        path = self.folder / f"{len(self.files)}.onnx"
        try:
            self.layers[form.name] = write_form(form, self.workload.source, path, self.workload.calibration)
        except RnnexportError as exc:
            self._drop_form(form, str(exc))
            return
        self.files[form.name] = path
        self._weigh(form)

    def _weigh(self, form: Form) -> None:
        for candidate in self._of(form):
            candidate.bytes = self.files[form.name].stat().st_size

    def _of(self, form: Form) -> list[Candidate]:
        return [candidate for candidate in self.candidates if candidate.form == form.name]

    def _drop_form(self, form: Form, reason: str) -> None:
        """Leave a single candidate of it, which says why."""
        first, *others = self._of(form)
        drop(first, reason)
        self.candidates = [c for c in self.candidates if not any(c is other for other in others)]

    def _spare(self) -> list[Form]:
        """Where all layers rounded err somewhat too much, return forms that leave some weights as they were."""
        found: list[Form] = []
        if self.budget.kind != "max-error":
            return found
        for form in [form for form in self.forms.values() if form.lossy]:
            over = [c for c in self._of(form) if c.outcome == "dropped" and c.error is not None]
            near = [c for c in over if (c.error or 0.0) <= _NEARLY * self.budget.limit]
            for spared in self._spared(form) if near else []:
                self.forms[spared.name] = spared
                fresh = {"form": spared.name, "error": None, "metric": None, "outcome": "not chosen", "reason": ""}
                self.candidates += [candidate.model_copy(update=fresh) for candidate in near]
                found.append(spared)
        return found

    def _spared(self, form: Form) -> Iterator[Form]:
        """All layers without the gate that errs most, then without each layer in turn."""
        layers = self.layers.get(form.name, [])
        if form.rewrite is not None and form.rewrite.lowering != "fused":
            gates = [f"{layer.name}:{CANDIDATES[layer.cell]}" for layer in layers]
            yield sparing(form, gates, "candidate gate float32")
        if len(layers) > 1:
            for layer in layers:
                yield sparing(form, [layer.name], f"{layer.name} float32")

    def _judge(self, form: Form, candidates: Sequence[Candidate], search: Search) -> None:
        """Tell the errors of those that have none yet."""
        for candidate in candidates:
            if candidate.outcome == "dropped" or candidate.error is not None:
                continue
            definition = candidate.definition
            key = form.name, definition.engine, definition.precision
            if search.clock.left <= 0 and form is not PLAIN:
                drop(candidate, "no time was left to judge it")
                continue
            if key not in self._qualities:
                search.on_progress(f"the errors of {candidate.name}")
                self._qualities[key] = self._quality(search.file_of(candidate), candidate)
            self._apply(candidate, self._qualities[key])
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
        alive = [c for c in self.candidates if c.outcome != "dropped" and not reads_source(c.definition)]
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
