"""Data sets: one file each, with loading, splitting, metric and baseline.

To add one: write a file here that ends in `TASK = Task(...)`, and name it in `TASKS`.
"""

from __future__ import annotations

from importlib import import_module

from rnnexport.data.task import Task
from rnnexport.errors import UnknownNameError

TASKS = ("adding", "article", "copy", "ecg", "names", "plaid", "sunspots", "vowels")
WITH_STEPS = ("adding", "copy")
"""Generated tasks, whose name may end in their number of time steps, such as `adding-200`."""


def memory_length(name: str) -> tuple[str, int] | None:
    """Kind and number of time steps of a generated task, such as ("adding", 200); `None` for the others."""
    stem, _, steps = name.partition("-")
    if stem not in WITH_STEPS:
        return None
    return stem, int(steps) if steps else import_module(f"rnnexport.data.tasks.{stem}").STEPS


def get_task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        InputError: A number of steps in the name is too small.
        UnknownNameError: There is none.
    """
    stem, _, steps = name.partition("-")
    if stem in WITH_STEPS and steps.isdecimal():
        made: Task = import_module(f"rnnexport.data.tasks.{stem}").make_task(int(steps))
        return made
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    task: Task = import_module(f"rnnexport.data.tasks.{name}").TASK
    return task
