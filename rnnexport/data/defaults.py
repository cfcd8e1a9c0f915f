"""How a task is trained unless the caller says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Schedule = Literal["constant", "cosine", "plateau"]


@dataclass(frozen=True, slots=True)
class TrainingDefaults:
    """The settings that `train` uses unless it is told others."""

    hidden_size: int
    epochs: int
    batch_size: int
    learning_rate: float
    dropout: float = 0.0
    weight_decay: float = 0.0
    input_noise: float = 0.0
    """Standard deviation of the noise that training adds to each value, in units of the feature's own."""
    patience: int | None = None
    """Epochs without a better validation loss after which training stops; `None` runs all epochs."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    schedule: Schedule = "constant"
    """Of the learning rate: as it is, along a half cosine to 0, or halved when the validation loss stands still."""
    embedding_size: int = 16
    """Values that stand for a token."""
