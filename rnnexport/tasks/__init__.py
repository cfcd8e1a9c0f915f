"""Data sets: one file each, with loading, splitting, metric and baseline.

To add one: write a file here that ends in `TASK = Task(...)`, and name it in `TASKS`.
"""

from __future__ import annotations

from importlib import import_module

from rnnexport.errors import UnknownNameError
from rnnexport.tasks.task import Task

TASKS = ("article", "vowels")


def get_task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    task: Task = import_module(f"rnnexport.tasks.{name}").TASK
    return task
