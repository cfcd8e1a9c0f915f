"""The trainer's own checkpoints on disk: each replaced whole, and read without running anything."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from rnnexport.errors import CheckpointError
from rnnexport.files.regular_files import check_regular


class WholeCheckpoints(TorchCheckpointIO):  # type: ignore[misc] # Lightning's classes, seen as Any
    """Writes beside the file, syncs, and renames.

    Lightning writes to the temporary folder and moves from there, which truncates the file in place where that folder
    is on another file system: a full disk would cost the only checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace `path` in one step.

        Raises:
            OSError: The disk refuses; what was there is untouched.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        building = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with building.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            building.replace(target)
        except RuntimeError as exc:  # what torch makes of a full disk
            raise OSError(None, f"{target} cannot be written: {str(exc).partition(chr(10))[0]}") from exc
        finally:
            with contextlib.suppress(OSError):
                building.unlink()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a trainer's checkpoint.

    Raises:
        CheckpointError: It is missing, truncated, or no checkpoint of the trainer.
    """
    try:
        check_regular(path)
        found = torch.load(path, weights_only=True, map_location="cpu")
        if {"state_dict", "epoch"} <= found.keys():
            return dict(found)
        reason = "it is of another tool"
    except Exception as exc:  # whatever damaged bytes make the reader raise
        reason = str(exc).partition("\n")[0] or type(exc).__name__
    raise CheckpointError(f"{path} is damaged or no checkpoint of the trainer; train without `resume` ({reason:.100})")
