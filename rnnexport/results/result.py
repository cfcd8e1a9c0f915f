"""What the functions give: a dictionary, a table of pandas, and HTML in a notebook."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pydantic import BaseModel

from rnnexport.errors import InputError


class ShownInNotebooks:
    """Shows in a notebook what the command line prints."""

    def _repr_html_(self) -> str:
        page: Any = import_module("rnnexport.report.notebook")  # by name, since what shows results stands above them
        return str(page.as_html(self))


class Result(ShownInNotebooks, BaseModel):
    """What a function found out."""

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as a dictionary of plain values, as `--json` prints it."""
        return self.model_dump(mode="json")

    def records(self) -> list[dict[str, Any]]:
        """Return the rows of its table; each class says what a row is."""
        raise NotImplementedError

    def to_pandas(self) -> Any:
        """Return `records` as a `pandas.DataFrame`.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError as exc:
            raise InputError("pandas is not installed; run: pip install 'rnnexport[parquet]'") from exc
        return DataFrame.from_records(self.records())
