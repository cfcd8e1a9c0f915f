"""The stages of a search.

1. The graph as it was exported is judged and timed in every runtime.
2. Each variant is written, judged and timed in its first runtime, before the next: those with small weights, which a
   lossy budget is given for, then the rest. So what promises most has been tried to the end where the time limit ends a
   search early.
3. What cannot be faster than the fastest of those is dropped by its bound; the rest is judged and timed in turn.
4. Where all layers rounded err somewhat too much, the gate that errs most stays float32 in all of them, or each layer
   in turn.
5. The fastest are measured again, and the best of them is proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rnnexport.benchmark.results_log import ResultsLog
from rnnexport.bundle.purpose import Purpose
from rnnexport.engines import reads_source
from rnnexport.errors import RnnexportError
from rnnexport.optimizing.rewrite import CANDIDATES
from rnnexport.tuning.bounds import drop_by_bound
from rnnexport.tuning.budget import Budget, Quality
from rnnexport.tuning.graph_variants import BASELINE, GraphVariant, mixed_precision
from rnnexport.tuning.results import Candidate, Shape, TuneReport
from rnnexport.tuning.rounds import Clock, Rounds, drop, leave_out
from rnnexport.tuning.variant_files import VariantFiles
from rnnexport.tuning.workload import SequenceWorkload, StepWorkload
from rnnexport.versions import machine, tool_versions

_SAME_SIZE = 1.02
_NEARLY = 10
"""Times the budget's limit that a variant may err before mixed precision is not worth trying."""


class Stages:
    """One search, from the files to the proof of the fastest."""

    def __init__(
        self,
        workload: SequenceWorkload | StepWorkload,
        budget: Budget,
        purpose: Purpose,
        candidates: list[Candidate],
        variants: dict[str, GraphVariant],
        files: VariantFiles,
        results_log: ResultsLog,
    ) -> None:
        self.workload, self.budget, self.purpose = workload, budget, purpose
        self.candidates, self.variants = candidates, variants
        self.files, self.results_log = files, results_log
        self._qualities: dict[tuple[str, str, str], Quality | str] = {}
        """By variant, engine and precision: threads change the order of sums, not the answer."""

    def run(self, clock: Clock, seconds: float, on_progress: Callable[[str], None]) -> None:
        """Fill the candidates in."""
        self._restore()
        self._weigh(BASELINE)
        rounds = Rounds(self.workload, self.files, clock, seconds, on_progress)
        in_order = sorted(self.variants.values(), key=lambda variant: (variant is not BASELINE, not variant.lossy))
        self._try(BASELINE, self._of(BASELINE), rounds)
        for variant in in_order:
            self._try(variant, self._of(variant)[:1], rounds)
        if self.purpose != "size":
            drop_by_bound(self.workload, self.candidates, self.variants)
        for variant in in_order:
            self._try(variant, self._of(variant), rounds)
        for variant in self._mixed_precision():
            self._try(variant, self._of(variant), rounds)
        self._choose(rounds)

    def _try(self, variant: GraphVariant, candidates: Sequence[Candidate], rounds: Rounds) -> None:
        """Write a variant, judge it, and time what holds the budget; what is done already is not done again."""
        if not any(c.alive or c.error is not None for c in candidates):
            return
        if variant.name not in self.files:
            if rounds.seconds_left <= 0:
                for candidate in self._of(variant):
                    leave_out(candidate, "no time was left to write it")
                return
            rounds.on_progress(f"writing {variant.name}")
            self._write(variant)
        self._judge(variant, candidates, rounds)
        judged = [c for c in self.candidates if c.error is not None and c.form in self.files]
        for measured in rounds.short_round(judged):
            self._keep(measured)

    def _restore(self) -> None:
        """Take over what an interrupted search found."""
        known = {line["form"] + line["definition"]["name"]: line for line in self.results_log.lines}
        for number, candidate in enumerate(self.candidates):
            if line := known.get(candidate.form + candidate.definition.name):
                self.candidates[number] = Candidate.model_validate(line)

    def _keep(self, candidates: Sequence[Candidate]) -> None:
        """So that a search that is interrupted can go on."""
        for candidate in candidates:
            self.results_log.append(candidate.model_dump(mode="json"))

    def _write(self, variant: GraphVariant) -> None:
        """Write a variant's file, or drop the variant."""
        try:
            self.files.write(variant)
        except RnnexportError as exc:
            self._drop_variant(variant, str(exc))
        else:
            self._weigh(variant)

    def _weigh(self, variant: GraphVariant) -> None:
        for candidate in self._of(variant):
            candidate.bytes = self.files.path(variant.name).stat().st_size

    def _of(self, variant: GraphVariant) -> list[Candidate]:
        return [candidate for candidate in self.candidates if candidate.form == variant.name]

    def _drop_variant(self, variant: GraphVariant, reason: str) -> None:
        """Leave a single candidate of it, which says why."""
        first, *others = self._of(variant)
        drop(first, reason)
        self.candidates = [c for c in self.candidates if not any(c is other for other in others)]

    def _mixed_precision(self) -> list[GraphVariant]:
        """Where all layers rounded err somewhat too much, return variants that leave some weights as they were."""
        found: list[GraphVariant] = []
        if self.budget.kind != "max-error":
            return found
        for variant in [variant for variant in self.variants.values() if variant.lossy]:
            over = [c for c in self._of(variant) if c.outcome == "dropped" and c.error is not None]
            near = [c for c in over if (c.error or 0.0) <= _NEARLY * self.budget.limit]
            for mixed in self._float32_parts(variant) if near else []:
                self.variants[mixed.name] = mixed
                fresh = {"form": mixed.name, "error": None, "metric": None, "outcome": "not chosen", "reason": ""}
                self.candidates += [candidate.model_copy(update=fresh) for candidate in near]
                found.append(mixed)
        return found

    def _float32_parts(self, variant: GraphVariant) -> Iterator[GraphVariant]:
        """All layers without the gate that errs most, then without each layer in turn."""
        layers = self.files.layers(variant.name)
        if variant.rewrite is not None and variant.rewrite.lowering != "fused":
            gates = [f"{layer.name}:{CANDIDATES[layer.cell]}" for layer in layers]
            yield mixed_precision(variant, gates, "candidate gate float32")
        if len(layers) > 1:
            for layer in layers:
                yield mixed_precision(variant, [layer.name], f"{layer.name} float32")

    def _judge(self, variant: GraphVariant, candidates: Sequence[Candidate], rounds: Rounds) -> None:
        """Tell the errors of those that have none yet."""
        for candidate in candidates:
            if not candidate.alive or candidate.error is not None:
                continue
            definition = candidate.definition
            key = variant.name, definition.engine, definition.precision
            if rounds.seconds_left <= 0 and candidate is not self.candidates[0]:
                leave_out(candidate, "no time was left to judge it")
                continue
            if key not in self._qualities:
                rounds.on_progress(f"the errors of {candidate.name}")
                self._qualities[key] = self._quality(candidate)
            self._apply(candidate, self._qualities[key])
            self._keep([candidate])

    def _quality(self, candidate: Candidate) -> Quality | str:
        """How good its answers are, or why it gives none."""
        try:
            return self.workload.quality(self.files.loaded_by(candidate), candidate.definition)
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

    def _choose(self, rounds: Rounds) -> None:
        """Take the best that also holds at other calls than those timed."""
        ranked = self._by_size() if self.purpose == "size" else rounds.last_round(self.candidates)
        while ranked:
            best = ranked[0] if self.purpose == "size" else rounds.simplest(ranked, self.candidates)
            rounds.on_progress(f"other calls of {best.name}")
            fault = self.workload.why_refused(self.files.loaded_by(best), best.definition, lossy=best.lossy)
            if fault is None:
                best.outcome = "chosen"
                if best is self.candidates[0]:
                    unmeasured = any(c.outcome == "not measured" for c in self.candidates)
                    best.reason = f"nothing {'that was measured ' if unmeasured else ''}beats the baseline"
                return
            drop(best, fault)
            ranked.remove(best)

    def _by_size(self) -> list[Candidate]:
        alive = [c for c in self.candidates if c.alive and not reads_source(c.definition)]
        alive = [c for c in alive if c.times_plain is not None]
        smallest = min((c.bytes for c in alive), default=0)
        return sorted(alive, key=lambda c: (c.bytes > smallest * _SAME_SIZE, c.bytes, -(c.times_plain or 0.0)))

    def report(self, time_limit_seconds: float) -> TuneReport:
        """What became of all."""
        return TuneReport(
            bundle=str(self.workload.bundle.path),
            purpose=self.purpose,
            budget=str(self.budget),
            shapes=[Shape(batch_size=s.batch_size, time_steps=s.time_steps) for s in self.workload.shapes],
            judged_on=self.workload.judged_on,
            metric=self.workload.bundle.manifest.metric if self.workload.reference_metric is not None else None,
            reference_metric=self.workload.reference_metric,
            time_limit_seconds=time_limit_seconds,
            candidates=self.candidates,
            machine=machine(),
            versions=tool_versions(),
        )
