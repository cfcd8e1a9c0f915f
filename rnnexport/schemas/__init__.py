"""JSON Schemas of the TOML files that people write, for editors; `tools/write_schemas.py` makes them."""

from __future__ import annotations

from importlib.resources import files
from typing import Literal

SchemaName = Literal["check", "plan", "runtime"]
"""`check` is that of rnnexport.toml."""


def read_schema(name: SchemaName) -> str:
    """Return the schema of that name, as JSON."""
    return files(__name__).joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
