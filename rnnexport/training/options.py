"""The options of a training."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge, Gt, Lt

from rnnexport.arguments.options import Options, Seed
from rnnexport.data.defaults import Schedule
from rnnexport.data.options import DataFile

Precision = Literal["float32", "bfloat16-mixed", "float16-mixed"]
Strategy = Literal["auto", "ddp"]
Log = Literal["csv", "tensorboard"]


@dataclass(frozen=True)
class TrainOptions(Options):
    """What is trained on what, and how."""

    task: Annotated[str, Doc("The data set, such as vowels, names or adding-200; see docs/how-to/train.md.")] = "vowels"
    cell: Annotated[str, Doc("lstm, gru, gru-reset-before or rnn.")] = "lstm"
    _: KW_ONLY
    hidden_size: Annotated[int | None, Ge(1), Doc("Units per layer. Default: the task's.")] = None
    num_layers: Annotated[int, Ge(1), Doc("Recurrent layers.")] = 1
    bidirectional: Annotated[bool, Doc("Read the series in both directions.")] = False
    dropout: Annotated[float | None, Ge(0), Lt(1), Doc("Between layers and before the head. Default: the task's.")] = (
        None
    )
    epochs: Annotated[int | None, Ge(1), Doc("At most so many passes. Default: the task's.")] = None
    batch_size: Annotated[int | None, Ge(1), Doc("Series per update. Default: the task's.")] = None
    learning_rate: Annotated[float | None, Gt(0), Doc("Default: the task's.")] = None
    weight_decay: Annotated[float | None, Ge(0), Doc("Default: the task's.")] = None
    gradient_clip: Annotated[float | None, Gt(0), Doc("Largest norm of the gradient. Default: the task's.")] = None
    schedule: Annotated[Schedule | None, Doc("What becomes of the learning rate. Default: the task's.")] = None
    precision: Annotated[Precision, Doc("Mixed precision needs a CUDA device.")] = "float32"
    devices: Annotated[int, Ge(1), Doc("Processes on each node that share each batch.")] = 1
    num_nodes: Annotated[int, Ge(1), Doc("Hosts; torchrun starts the processes on each.")] = 1
    strategy: Annotated[Strategy, Doc("auto takes ddp where processes share a batch.")] = "auto"
    log: Annotated[Log | None, Doc("Write the losses of each epoch to OUT/logs.")] = None
    data: Annotated[DataFile | None, Doc("A file of your own series in place of `task`.")] = None
    seed: Seed = 0
    out: Annotated[str | Path | None, Doc("Folder of the checkpoint. Default: checkpoints/TASK-CELL.")] = None
    resume: Annotated[bool, Doc("Go on with a training that was interrupted.")] = False

    @property
    def processes(self) -> int:
        """How many share each batch, on all hosts."""
        return self.devices * self.num_nodes
