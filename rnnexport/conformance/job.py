"""The worker's side: load one small model after another in one process.

A case's arrays are the bytes of the model under `model`, the number of threads under `threads`, and the feeds of call N
under names that begin with `N/`. What the engine refuses is an answer, not a failure, so that the process lives on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Engine, Feeds
from rnnexport.errors import RnnexportError
from rnnexport.runtime.worker import Arrays, Extras


def examples_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Outputs of all calls that went well, named as the feeds; the extra `refused` says why there are no more."""
    definition = Definition(**arguments["definition"])
    engine = get_engine(definition.engine)
    with tempfile.TemporaryDirectory(prefix="rnnexport-conformance-") as folder:
        for case in cases:
            outputs: Arrays = {}
            refused = None
            try:
                _run(engine, definition, Path(folder) / "model.onnx", case, outputs)
            except RnnexportError as exc:
                refused = str(exc)
            yield outputs, {"refused": refused}


def _run(engine: Engine, definition: Definition, model: Path, case: Feeds, outputs: Arrays) -> None:
    model.write_bytes(case["model"].tobytes())
    session = engine.load(model, definition.model_copy(update={"threads": int(case["threads"])}))
    for call in range(int(case["calls"])):
        prefix = f"{call}/"
        feeds = {name.removeprefix(prefix): array for name, array in case.items() if name.startswith(prefix)}
        outputs |= {prefix + name: array for name, array in session.run(feeds).items()}
