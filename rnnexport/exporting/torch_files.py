"""Files of `torch.save` and `torch.jit.save`, read without running what they hold."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnexport.errors import InputError
from rnnexport.files.regular_files import check_regular

if TYPE_CHECKING:
    import torch


def read_torch_file(path: Path, error: type[InputError] = InputError, remedy: str = "") -> Any:
    """Read a file of tensors, in lists and dictionaries.

    Raises:
        InputError: As `error`: it cannot be read, is damaged, or holds what only code can make; `remedy` follows then.
    """
    import torch

    try:
        check_regular(path)
        return torch.load(path, weights_only=True, map_location="cpu")
    except OSError as exc:
        raise error(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as exc:
        raise error(
            f"{path} is damaged, or holds more than tensors, which is not opened because it could run code{remedy}"
        ) from exc


_SCRIPTS = (".pt", ".pth", ".torchscript")
_PROGRAM = ".pt2"


def is_program_file(source: object) -> bool:
    """Whether a source is the file of a TorchScript module or an exported program, by its name."""
    return str(source).endswith((*_SCRIPTS, _PROGRAM)) and not Path(str(source)).is_dir()


def read_script(path: Path) -> torch.jit.ScriptModule:
    """Read a TorchScript module. PyTorch reads it without Python's unpickler, and nothing of it runs.

    Raises:
        InputError: It cannot be read, or is no TorchScript module.
    """
    import torch

    if path.suffix == _PROGRAM:
        raise InputError(
            f"{path} is an exported program, which is not opened because it could run code; if you trust it, read it "
            "in Python by torch.export.load and give rnnexport.export what that returns"
        )
    try:
        check_regular(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript is deprecated
            script: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
                str(path), map_location="cpu"
            )
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (RuntimeError, ValueError) as exc:
        raise InputError(
            f"{path} holds no TorchScript module; give the class, as my_package.models:Net, and its `weights`"
        ) from exc
    return script
