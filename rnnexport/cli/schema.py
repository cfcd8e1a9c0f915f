"""`rnnexport schema`."""

from __future__ import annotations

from typing import Annotated

import typer

from rnnexport.schemas import SchemaName, read_schema


def schema(
    name: Annotated[
        SchemaName,
        typer.Argument(
            help="check: rnnexport.toml. runtime: a runtime definition. plan: what `rnnexport tune` writes.",
            show_default=False,
        ),
    ],
) -> None:
    """Print the JSON Schema of a TOML file, by which editors complete and check it.

    In the TOML file a first line such as `#:schema ./check.schema.json` names it.

    Example: rnnexport schema check > check.schema.json
    """
    typer.echo(read_schema(name), nl=False)
