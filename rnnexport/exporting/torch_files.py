"""Files of `torch.save`, read without running what they hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from rnnexport.errors import InputError
from rnnexport.files.regular_files import check_regular


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
