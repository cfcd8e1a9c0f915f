"""Where a data set of the user's own lies, and what the columns of a table mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_doc import Doc

from rnnexport.arguments.options import Options


@dataclass(frozen=True)
class TableColumns(Options):
    """What the columns of a .csv or .parquet mean."""

    series_column: Annotated[str, Doc("Of a table: which series a row belongs to.")] = "series"
    label_column: Annotated[str, Doc("Of a table: the series' class.")] = "label"
    features: Annotated[Sequence[str], Doc("Of a table: a column to read. Default: all others.")] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "features", tuple(self.features))  # a list, read from JSON, would equal no tuple


@dataclass(frozen=True, kw_only=True)
class DataFile(TableColumns):
    """A file and, where it is a table, its columns."""

    path: str
