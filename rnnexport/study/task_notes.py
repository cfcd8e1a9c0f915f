"""What a reader must know of a task to make something of its figures."""

from __future__ import annotations

from pydantic import BaseModel

from rnnexport.data.metrics import baselines
from rnnexport.data.tasks import get_task


class TaskFacts(BaseModel):
    """A task, where it comes from, and what the study asks of it."""

    name: str
    description: str
    metric: str
    target: float | None
    updates: int
    """At most so many; a target that is missed within them counts as failed."""
    stop_at_target: bool
    series: dict[str, int]
    """Of each part."""
    baselines: dict[str, float]
    """Test metric of what needs no model."""
    published: str
    citation: str
    licence: str


def task_facts(name: str, epochs: int) -> TaskFacts:
    """Gather the facts of a task that is trained for at most `epochs` passes."""
    task = get_task(name)
    dataset = task.load(0)
    series = {part: len(getattr(dataset, part).series) for part in ("train", "validation", "test")}
    return TaskFacts(
        name=name,
        description=task.description,
        metric=task.metric,
        target=task.target,
        updates=epochs * -(-series["train"] // task.defaults.batch_size),
        stop_at_target=task.stop_at_target,
        series=series,
        baselines=baselines(task.metric, dataset),
        published=task.published or "None known.",
        citation=task.citation,
        licence=task.licence,
    )
