"""What is measured: a bundle's graph in a runtime at a shape, with what it should answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rnnexport.benchmark.interleaving import Effort, Target, measure_interleaved
from rnnexport.benchmark.results import Measurement
from rnnexport.benchmark.timing import JOB
from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.manifest import TensorInfo
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import RnnexportError
from rnnexport.parity.compare import Reference, compare
from rnnexport.parity.grid import CaseShape, draw_feeds, symbol_sizes
from rnnexport.parity.oracle import feeds_for, references
from rnnexport.parity.verify import tolerance_for
from rnnexport.runtime.worker import Arrays


@dataclass(frozen=True)
class Prepared:
    """A bundle with the feeds of every shape and what they should give."""

    bundle: Bundle
    calls: Mapping[CaseShape, tuple[Feeds, dict[str, Reference]]]
    refused: Mapping[CaseShape, str]
    """Why a shape has none."""

    def has(self, shape: CaseShape) -> bool:
        """Whether the shape was asked for."""
        return shape in self.calls or shape in self.refused

    @classmethod
    def make(cls, bundle: Bundle, shapes: Sequence[CaseShape], seed: int) -> Prepared:
        """Draw the feeds of all shapes, and compute what each should give.

        Raises:
            InputError: The bundle's graph holds an operator that has no float64 form here.
        """
        generator = np.random.default_rng(seed)
        feeds: dict[CaseShape, Feeds] = {}
        refused: dict[CaseShape, str] = {}
        for shape in shapes:
            if reason := _why_refused(bundle.manifest.inputs, shape):
                refused[shape] = reason
            else:
                feeds[shape] = draw_feeds(bundle.manifest.inputs, bundle.series, shape, generator)
        try:
            expected = dict(zip(feeds, references(bundle, list(feeds.values())), strict=True)) if feeds else {}
        except RnnexportError:  # one of the shapes is to blame: find out which
            expected = {}
            for shape, case in feeds.items():
                try:
                    (expected[shape],) = references(bundle, [case])
                except RnnexportError as exc:
                    refused[shape] = f"the model refuses this shape: {exc}"
        return cls(bundle, {shape: (feeds[shape], expected[shape]) for shape in expected}, refused)


def _why_refused(inputs: Sequence[TensorInfo], shape: CaseShape) -> str | None:
    """Say which size of `shape` the inputs cannot have, or `None`."""
    fixed = {size for info in inputs for size in info.shape if isinstance(size, int)} | {1}
    for what in ("batch_size", "time_steps"):
        size = getattr(shape, what)
        is_fixed = symbol_sizes(inputs, shape) == symbol_sizes(inputs, replace(shape, **{what: size + 1}))
        if is_fixed and size not in fixed:
            shapes = ", ".join(f"{info.name} {list(info.shape)}" for info in inputs)
            return f"{what} {size} is not possible: it is fixed in this model, whose inputs are {shapes}"
    return None


def target_for(bundle: Bundle, definition: Definition, feeds: Feeds, expected: dict[str, Reference]) -> Target:
    """Return the bundle's sequence graph in a runtime, as what is measured."""
    arguments = {"model": str(bundle.file_for(definition)), "definition": definition.model_dump()}
    (own_feeds,) = feeds_for(definition, [feeds])
    return Target(JOB, arguments, own_feeds, partial(fault, bundle, definition, expected))


def fault(bundle: Bundle, definition: Definition, expected: dict[str, Reference], outputs: Arrays) -> str | None:
    """Say what is wrong with the outputs of a call, or `None`."""
    tolerance = tolerance_for(bundle, definition.precision)
    comparisons = [compare(name, outputs[name], reference, tolerance) for name, reference in expected.items()]
    wrong = [f"output {c.output!r} {c.reason}" for c in comparisons if not c.passed]
    return f"wrong answer: {wrong[0]}" if wrong else None


def measure_shape(
    prepared: Sequence[Prepared], definitions: Sequence[Definition], shape: CaseShape, effort: Effort
) -> list[Measurement]:
    """Measure one shape in every bundle and runtime, side by side."""
    rows: list[Measurement] = []
    targets: list[Target] = []
    for one in prepared:
        for definition in definitions:
            row = Measurement(
                bundle=str(one.bundle.path),
                definition=definition,
                batch_size=shape.batch_size,
                time_steps=shape.time_steps,
                not_applicable=one.bundle.why_not_applicable(definition),
                failure=one.refused.get(shape),
            )
            rows.append(row)
            if not (row.not_applicable or row.failure):
                targets.append(target_for(one.bundle, definition, *one.calls[shape]))
    figures = iter(measure_interleaved(targets, effort))
    return [row if row.not_applicable or row.failure else row.with_figures(next(figures)) for row in rows]
