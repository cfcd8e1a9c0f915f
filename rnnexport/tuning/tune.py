"""Search the fastest way to run a bundle on this machine within a budget, prove it, and keep it as the plan."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rnnexport.arguments.options import with_arguments
from rnnexport.benchmark.fixed_sizes import shapes_for
from rnnexport.benchmark.results_log import ResultsLog
from rnnexport.bundle.bundle import Bundle, load_bundle
from rnnexport.bundle.plan import GraphKind, Judgement, Plan, Tuned, graph_name, plan_name, write_calls, write_plan
from rnnexport.bundle.purpose import Purpose
from rnnexport.bundle.store import sha256_of
from rnnexport.engines import reads_source
from rnnexport.errors import BundleError, InputError
from rnnexport.parity.grid import CaseShape
from rnnexport.tuning.budget import Budget
from rnnexport.tuning.candidates import candidates_for
from rnnexport.tuning.graph_variants import BASELINE, graph_variants_for
from rnnexport.tuning.options import TuneOptions
from rnnexport.tuning.results import TuneReport
from rnnexport.tuning.rounds import Clock
from rnnexport.tuning.stages import Stages
from rnnexport.tuning.variant_files import VariantFiles
from rnnexport.tuning.workload import SequenceWorkload, StepWorkload
from rnnexport.versions import tool_versions

RESULTS_LOG = "tune.jsonl"
_LARGE_BATCHES = (16, 64)


def tune_with(path: str | Path, options: TuneOptions) -> TuneReport:
    """Write the fastest plan that holds the budget into the bundle at `path`.

    Streams, whose chunks are all of one size, are tried with static shapes in any case. Where the budget allows it,
    bfloat16 is tried, too. The first rounds time each candidate for a tenth of `seconds`.

    Raises:
        BundleError: The bundle is missing or damaged, or cannot be written to.
        InputError: The budget, a size or the inputs are wrong, or the bundle has no step graph.
        RuntimeUnavailableError: None of the runtimes named is usable here.
    """
    bundle, limit, purpose = load_bundle(Path(path)), Budget.parse(options.budget), options.purpose
    kind: GraphKind = "step" if purpose == "streaming" else "sequence"
    batch_sizes, time_steps = options.batch_sizes, options.time_steps
    if purpose == "throughput":
        batch_sizes = batch_sizes or _LARGE_BATCHES
    if purpose == "streaming":
        batch_sizes, time_steps = batch_sizes or (1,), time_steps or (1,)
    shapes = shapes_for(bundle, batch_sizes, time_steps)
    inputs = None if options.inputs is None else Path(options.inputs)
    _check(bundle, limit, purpose, shapes, inputs)
    clock = Clock(options.time_limit_seconds)
    options.on_progress("the float64 reference")
    workload = _workload(bundle, kind, shapes, inputs, options.seed)
    variants = graph_variants_for(kind, lossy=limit.lossy, small=purpose == "size", time_steps=shapes[0].time_steps)
    static = options.static_shapes or kind == "step"
    candidates = candidates_for(workload, variants, options.runtimes, lossy=limit.lossy, static=static)
    settings = {
        "manifest": bundle.manifest_sha256,
        "budget": str(limit),
        "purpose": purpose,
        "shapes": [shape.name for shape in shapes],
        "runtimes": list(map(str, options.runtimes)),
        "static_shapes": options.static_shapes,
        "seconds": options.seconds,
        "seed": options.seed,
        "versions": tool_versions(),
    }
    with tempfile.TemporaryDirectory(prefix="rnnexport-tune-") as folder:
        results_log = _results_log(bundle, settings, resume=options.resume)
        tried = {candidate.form for candidate in candidates}
        by_name = {variant.name: variant for variant in variants if variant.name in tried}
        files = VariantFiles(workload, Path(folder))
        stages = Stages(workload, limit, purpose, candidates, by_name, files, results_log)
        stages.run(clock, options.seconds, options.on_progress)
        report = stages.report(options.time_limit_seconds)
        if report.chosen is not None:
            report.plan = _keep(bundle, kind, stages, report)
    bundle.write_evidence("tune.json", report.model_dump(mode="json"))
    if not report.unmeasured:  # else `resume` goes on with what was found
        (bundle.path / RESULTS_LOG).unlink(missing_ok=True)
    return report


tune = with_arguments(TuneOptions, tune_with, "tune")


def _check(bundle: Bundle, budget: Budget, purpose: Purpose, shapes: Sequence[CaseShape], inputs: Path | None) -> None:
    if not bundle.is_writable:
        raise BundleError(f"bundle {str(bundle.path)!r} cannot be written to; copy it, and tune the copy")
    by_metric = budget.kind == "metric-drop"
    if by_metric and (bundle.evaluation is None or bundle.manifest.metric is None or inputs is not None):
        raise InputError(f"bundle {str(bundle.path)!r} has no labels to tell a metric by; choose `budget=max-error=X`")
    if purpose == "streaming":
        if by_metric:
            raise InputError("a metric is told by whole series; with `purpose=streaming` choose `budget=max-error=X`")
        if inputs is not None:
            raise InputError("`inputs` are calls of the sequence graph; `purpose=streaming` takes none")
        if len({shape.time_steps for shape in shapes}) > 1:
            raise InputError("a plan for streaming is made for chunks of one size; give one of `time_steps`")
    if any(shape.batch_size < 1 or shape.time_steps < 1 for shape in shapes):
        raise InputError("batch sizes and time steps must be at least 1")


def _workload(
    bundle: Bundle, kind: GraphKind, shapes: Sequence[CaseShape], inputs: Path | None, seed: int
) -> SequenceWorkload | StepWorkload:
    if kind == "step":
        return StepWorkload.make(bundle, shapes, seed)
    return SequenceWorkload.make(bundle, shapes, inputs, seed)


def _results_log(bundle: Bundle, settings: dict[str, object], *, resume: bool) -> ResultsLog:
    path = bundle.path / RESULTS_LOG
    if not resume:
        path.unlink(missing_ok=True)
    return ResultsLog(path, settings, resume=True)


def _keep(bundle: Bundle, kind: GraphKind, stages: Stages, report: TuneReport) -> str:
    """Write graph and plan; between the two, an older plan is refused because its graph was changed."""
    best = report.chosen
    assert best is not None
    if reads_source(best.definition):
        graph = bundle.description_path.name
    elif best.form == BASELINE.name:
        graph = stages.workload.source.name
    else:
        graph = graph_name(kind)
        bundle.write_file(graph, stages.files.path(best.form).read_bytes())
    first = stages.workload.shapes[0]
    judgement = None
    if best.lossy:
        feeds, expected = stages.workload.kept_call
        sha256 = write_calls(bundle, kind, feeds, {name: each.expected for name, each in expected.items()})
        error = stages.workload.error(bundle.path / graph, best.definition)
        limit = stages.budget.limit if stages.budget.kind == "max-error" and kind == "sequence" else 2 * error
        judgement = Judgement(error=error, limit=limit, calls_sha256=sha256)
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
        judgement=judgement,
    )
    write_plan(bundle, kind, Plan(graph=graph, definition=best.definition, tuned=tuned))
    return plan_name(kind)
