"""The recurrent models that `train` builds, and their files.

Shape letters, here and everywhere: B batch, T time steps, I input size, H hidden size, L layers, D directions.

1. What stands on padded steps, NaN included, never reaches a result or a gradient: the series are packed.
2. Scaling is part of the model, so the exported graph takes raw values.
3. A model on disk is JSON and safetensors. Nothing is ever unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnexport.errors import CheckpointError, UnknownNameError
from rnnexport.files.json_files import parse_json
from rnnexport.files.lines import Line
from rnnexport.files.regular_files import check_regular, read_regular
from rnnexport.models.cells import ResetBeforeGRU

CELLS: dict[str, type[nn.LSTM | nn.GRU | nn.RNN]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "gru-reset-before": ResetBeforeGRU,
    "rnn": nn.RNN,
}
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
"""A zip archive, as torch.save writes it, and a bare pickle."""

Size = Annotated[int, Field(ge=1, lt=2**31)]


def check_cell(cell: str) -> None:
    """Refuse a name that is no cell.

    Raises:
        UnknownNameError: With the nearest name that is one.
    """
    if cell not in CELLS:
        raise UnknownNameError("cell", cell, CELLS)


class ModelConfig(BaseModel):
    """Sizes and form of a `SequenceClassifier`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: Literal["lstm", "gru", "gru-reset-before", "rnn"]
    input_size: Size
    hidden_size: Size
    num_outputs: Size
    num_layers: Size = 1
    bidirectional: bool = False
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the values between layers and before the head that training sets to 0."""
    vocabulary_size: Size | None = None
    """How many tokens there are; without it, the input is numbers."""
    embedding_size: Size | None = None
    """Values that stand for a token."""
    per_step: bool = False
    """Whether there are outputs for each step, or only for the last."""

    @property
    def takes_tokens(self) -> bool:
        """Whether the input is tokens, which an embedding turns into numbers."""
        return self.vocabulary_size is not None

    @property
    def layer_input_size(self) -> int:
        """What the first layer reads at a step."""
        return self.embedding_size or self.input_size


class ModelDescription(BaseModel):
    """The content of `model.json`: what is needed beside the weights to rebuild a model and to judge it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    architecture: Literal["SequenceClassifier"] = "SequenceClassifier"
    config: ModelConfig
    task: Line
    metric: Line
    class_names: tuple[str, ...]
    """Empty where the outputs are values."""
    vocabulary: tuple[str, ...] = ()
    """What each token stands for."""


class SequenceClassifier(nn.Module):
    """A stack of LSTM, GRU or plain tanh layers read at each series' last step, or at every step, and a linear head.

    The outputs are logits of classes, or values.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build the model with random weights and no scaling."""
        super().__init__()
        self.config = config
        between_layers = config.dropout if config.num_layers > 1 else 0.0  # PyTorch warns of dropout that does nothing
        if config.vocabulary_size is not None:
            self.embedding = nn.Embedding(config.vocabulary_size, config.layer_input_size)
        self.rnn = CELLS[config.cell](
            config.layer_input_size,
            config.hidden_size,
            config.num_layers,
            batch_first=True,
            dropout=between_layers,
            bidirectional=config.bidirectional,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden_size * (2 if config.bidirectional else 1), config.num_outputs)
        if not config.takes_tokens:
            self.mean: Tensor
            self.std: Tensor
            self.register_buffer("mean", torch.zeros(config.input_size))
            self.register_buffer("std", torch.ones(config.input_size))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Classify series, or compute values from them.

        Args:
            x: [B, T, I], raw values; or int64 [B, T], tokens.
            lengths: int64 [B], each series' steps, 1 … T. `None`: all have T; the gradient of a packed GRU takes time
                quadratic in T (PyTorch 2.13, CPU), that of one that is not takes linear time.

        Returns:
            Logits or values [B, num_outputs]; [B, T, num_outputs] with `per_step`.
        """
        numbers = self.embedding(x) if self.config.takes_tokens else (x - self.mean) / self.std
        if lengths is None:
            output, state = self.rnn(numbers)  # [B, T, D * H]
        else:
            packed = pack_padded_sequence(numbers, lengths.cpu(), batch_first=True, enforce_sorted=False)
            output, state = self.rnn(packed)
        if self.config.per_step:
            if lengths is not None:
                output, _ = pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])
            stepwise: Tensor = self.head(self.dropout(output))
            return stepwise
        h_n = state[0] if isinstance(state, tuple) else state  # [L * D, B, H]
        last_layer = h_n[-2:] if self.config.bidirectional else h_n[-1:]
        logits: Tensor = self.head(self.dropout(torch.cat(list(last_layer), dim=-1)))
        return logits


def save_model(model: SequenceClassifier, description: ModelDescription, folder: Path) -> None:
    """Write `model.safetensors` and `model.json` into `folder`.

    Raises:
        OSError: A file cannot be written, for example because the disk is full.
    """
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    try:
        save_file(weights, folder / "model.safetensors")
    except SafetensorError as exc:
        raise OSError(str(exc)) from exc
    (folder / "model.json").write_text(description.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_description(path: Path) -> ModelDescription:
    """Read a `model.json`.

    Raises:
        CheckpointError: It is missing, damaged or of another schema version.
    """
    try:
        document = parse_json(read_regular(path))
        if document["schema_version"] != 1:
            raise CheckpointError(f"{path} is schema {document['schema_version']}, this version reads 1; train again")
        return ModelDescription.model_validate(document)
    except OSError as exc:
        raise CheckpointError(f"{path} cannot be read: {exc.strerror}; make one with: rnnexport train") from exc
    except ValidationError as exc:
        where = ".".join(str(part) for part in exc.errors()[0]["loc"])
        raise CheckpointError(f"{path} is damaged at {where!r}: {exc.errors()[0]['msg']}; train again") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise CheckpointError(f"{path} is damaged or no model description; train again") from exc


def load_model(description_path: Path, weights_path: Path) -> SequenceClassifier:
    """Rebuild a model, in evaluation mode, from its `model.json` and its weights.

    Raises:
        CheckpointError: A file is missing, damaged or a pickle, the weights do not fit, or one is not finite.
    """
    config, weights = load_description(description_path).config, read_weights(weights_path)
    if config.num_layers > len(weights):  # before so many are built
        raise CheckpointError(f"{weights_path} does not fit {description_path}: it has not {config.num_layers} layers")
    try:
        with torch.device("meta"):  # takes no memory, whatever the sizes
            check_weights(SequenceClassifier(config), weights, weights_path, str(description_path))
    except RuntimeError as exc:  # more elements than PyTorch counts
        raise CheckpointError(f"{description_path} has sizes that no memory holds: {exc}") from exc
    model = SequenceClassifier(config)
    model.load_state_dict(weights)
    return model.eval()


def check_weights(model: nn.Module, weights: dict[str, Tensor], weights_path: Path, model_name: str) -> None:
    """Refuse weights that do not fit `model`, or that are not finite.

    Raises:
        CheckpointError: Names the first tensor that is wrong.
    """
    expected = model.state_dict()
    if missing := sorted(expected.keys() ^ weights.keys()):
        raise CheckpointError(f"{weights_path} does not fit {model_name}: tensor {missing[0]!r} is only in one")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{weights_path} does not fit {model_name}: tensor {name!r} is {list(tensor.shape)}, "
                f"not {list(expected[name].shape)}"
            )
        if _kind(tensor) != _kind(expected[name]):
            found, wanted = (str(each.dtype).removeprefix("torch.") for each in (tensor, expected[name]))
            raise CheckpointError(f"{weights_path} does not fit {model_name}: tensor {name!r} is {found}, not {wanted}")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{weights_path}: tensor {name!r} holds NaN or infinity; the training diverged")


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    """What may be widened or rounded into one another, and what would lose its meaning."""
    return tensor.is_complex(), tensor.is_floating_point()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: The file is missing, damaged or a pickle.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            start = file.read(4)
        if start.startswith(_PICKLE_STARTS):
            raise CheckpointError(
                f"{path} is a pickle, which could run code, so it is not opened; save the weights with safetensors"
            )
        weights: dict[str, Tensor] = load_file(path)
    except OSError as exc:
        raise CheckpointError(f"{path} cannot be read: {exc.strerror}") from exc
    except SafetensorError as exc:
        raise CheckpointError(f"{path} is truncated or no safetensors file: {exc}") from exc
    return weights
