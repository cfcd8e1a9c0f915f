"""Judge models by one set of rules: every step of every model, whatever becomes of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from rnnexport.arguments.options import with_arguments
from rnnexport.checking.baseline import baseline_step, keep_as_baseline, open_baseline, same_graph
from rnnexport.checking.configuration import Configuration, Step, read_configuration
from rnnexport.checking.models import ModelToCheck, chosen_models
from rnnexport.checking.options import CheckOptions
from rnnexport.checking.results import CheckedModel, CheckReport
from rnnexport.checking.steps import bench_step, export_step, limit_step, lint_step, recorded, verify_step
from rnnexport.errors import InputError
from rnnexport.versions import machine, tool_versions

Given = TypeVar("Given")


def check_with(models: Sequence[str | Path], options: CheckOptions) -> CheckReport:
    """Judge `models`, or those of the configuration where none is given.

    A model is a bundle, or what `rnnexport.export` takes. What goes wrong with one is an outcome of its own.

    Raises:
        InputError: The configuration is wrong, no model is given, or two models have one name.
    """
    started = time.monotonic()
    configuration, folder = read_configuration(Path(options.config) if options.config is not None else None)
    chosen = chosen_models(configuration, folder, models)
    if options.write_baseline and "baseline" in configuration.skip:
        raise InputError("`write_baseline` makes what the configuration skips; take baseline out of skip")
    kept = folder / configuration.baseline.path
    return CheckReport(
        models=[_check(model, configuration, kept / model.name, options) for model in chosen],
        baseline=str(kept),
        baseline_written=options.write_baseline,
        seconds=round(time.monotonic() - started, 1),
        versions=tool_versions(),
        machine=machine(),
    )


check = with_arguments(CheckOptions, check_with, "check")


def _check(model: ModelToCheck, configuration: Configuration, kept: Path, options: CheckOptions) -> CheckedModel:
    """Take every step that can be taken."""
    found = CheckedModel(name=model.name, source=model.settings.source)

    def take(step: Step, subject: str, function: Callable[[], Given]) -> Given | None:
        if step in configuration.skip:
            return None
        options.on_progress(f"{model.name}: {step}")
        return recorded(found, step, subject, function)

    bundle = take("export", model.settings.source, lambda: export_step(model, found, options.on_note))
    for graph in model.to_lint(bundle):
        take("lint", graph.name, partial(lint_step, graph, configuration.lint, found))
    if bundle is None:
        return found
    take("verify", model.name, lambda: verify_step(bundle, configuration.verify, found))
    baseline = None
    if not options.write_baseline:
        baseline = take("baseline", model.name, lambda: open_baseline(kept, found))
    if baseline is not None:
        take("baseline", model.name, lambda: baseline_step(bundle, baseline, configuration.baseline, found))
    beside = None if baseline is None or same_graph(bundle, baseline) else baseline
    take("bench", model.name, lambda: bench_step(bundle, configuration, beside, found))
    take("limits", model.name, lambda: limit_step(bundle, model.limits, found))
    if options.write_baseline:
        take("baseline", model.name, lambda: keep_as_baseline(bundle, kept, found))
    return found
