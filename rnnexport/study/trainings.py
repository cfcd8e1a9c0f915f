"""Which trainings a study needs, and what each model costs to compute."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict

from rnnexport.data.task import Dataset, Task

Match = Literal["hidden", "parameters", "compute"]
GATES = {"lstm": 4, "gru": 3, "gru-reset-before": 3, "rnn": 1}
"""Products with a weight matrix in each step, the candidate's among them."""


class TrainingRun(BaseModel):
    """One training."""

    model_config = ConfigDict(frozen=True)

    task: str
    cell: str
    hidden_size: int
    epochs: int
    seed: int
    settings: str
    """Digest of the task's own settings: what was trained with others is not taken for it."""
    version: str
    """Of rnnexport: another version may train otherwise."""

    @property
    def key(self) -> str:
        """A name that another configuration does not have."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def settings_digest(task: Task) -> str:
    """A name for the settings and the target of a task that another one does not have."""
    return hashlib.sha256(f"{task.defaults} {task.target} {task.stop_at_target}".encode()).hexdigest()[:8]


def multiply_adds(cell: str, input_size: int, hidden_size: int) -> int:
    """Multiply-adds of one layer at one time step: a row of H weights for I inputs and H states, for each gate."""
    return GATES[cell] * hidden_size * (input_size + hidden_size)


def layer_parameters(cell: str, input_size: int, hidden_size: int) -> int:
    """Weights of one layer: those of its products, and two biases a gate as PyTorch has them."""
    return multiply_adds(cell, input_size, hidden_size) + GATES[cell] * 2 * hidden_size


def layer_input_size(task: Task, dataset: Dataset) -> int:
    """What the layer reads at a step: features, or the values that stand for a token."""
    return task.defaults.embedding_size if dataset.vocabulary else dataset.input_size


def matched_hidden_size(task: Task, dataset: Dataset, cell: str, match: Match) -> int:
    """The hidden size at which `cell` costs what the task's LSTM costs, as nearly as whole units allow."""
    hidden_size, input_size = task.defaults.hidden_size, layer_input_size(task, dataset)
    if match == "hidden":
        return hidden_size

    def cost(name: str, size: int) -> int:
        if match == "compute":
            return multiply_adds(name, input_size, size)
        return layer_parameters(name, input_size, size) + (size + 1) * task.num_outputs

    wanted = cost("lstm", hidden_size)
    return min(range(1, 4 * hidden_size + 1), key=lambda size: abs(cost(cell, size) - wanted))
