"""Does a runtime decode as the module does: each step of the decoder, and whole series step by step, token for token?

1. The bundle keeps calls of the step, some of them from states deep in a series, with the float64 answers.
2. It keeps what the module itself decodes, fed with its own output in float64. Tokens must be the same. Where the
   module's two largest elements are as close as rounding, the choice says nothing, and what follows in that row is not
   judged: there `UNDECIDED` stands.
3. Frames must be the same but for rounding, of which PyTorch's own float32 is the measure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnexport.bundle.bundle import Bundle
from rnnexport.bundle.decoding import decoded_rows, without_step
from rnnexport.bundle.manifest import DecoderInfo, TensorInfo
from rnnexport.engines import get_engine
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import BundleError
from rnnexport.parity.compare import Reference
from rnnexport.parity.grid import Case
from rnnexport.parity.oracle import read_cases
from rnnexport.runtime.worker import Arrays, CaseResult, Extras, infer, run_job

STEP_CASES, DECODING_CASES = "decoder_cases.npz", "decoding_cases.npz"
DECODED = "decoded"
"""The name under which what was decoded is judged."""
UNDECIDED = -1
Row = tuple[Case, dict[str, Reference], CaseResult]


def decoded_info(decoder: DecoderInfo) -> TensorInfo:
    """Describe what is decoded: [rows, steps] of tokens, [rows, steps, …] of frames."""
    fed = decoder.inputs[0]
    frame = () if decoder.is_fed_tokens else without_step(fed.shape)[1:]
    return TensorInfo(name=DECODED, dtype=fed.dtype, shape=("rows", "steps", *frame), role="output")


def decoder_rows(bundle: Bundle, definition: Definition) -> list[Row]:
    """Run the kept calls of the decoder's step, and decode the kept series, in processes of their own.

    Raises:
        BundleError: The kept calls do not fit the manifest.
    """
    manifest = bundle.manifest
    decoder = manifest.decoder
    assert decoder is not None
    cases, expected = read_cases(bundle.path / STEP_CASES, decoder.inputs, decoder.outputs)
    stepped = infer(bundle.decoder_path, definition, [case.feeds for case in cases])
    rows = list(zip([Case(f"decoder: {case.name}", case.feeds) for case in cases], expected, stepped, strict=True))
    cases, expected = read_cases(bundle.path / DECODING_CASES, manifest.inputs, [decoded_info(decoder)])
    if any(reference[DECODED].expected.shape[1] < 1 for reference in expected):
        raise BundleError(f"{bundle.path / DECODING_CASES} does not fit the manifest: no step; export again")
    decoded = decode_cases(bundle.model_path, bundle.decoder_path, definition, decoder, cases, expected)
    return rows + [
        (Case(f"decoding: {case.name}", case.feeds), reference, result)
        for case, reference, result in zip(cases, expected, decoded, strict=True)
    ]


def decode_cases(
    model: Path,
    step: Path,
    definition: Definition,
    decoder: DecoderInfo,
    cases: Sequence[Case],
    expected: Sequence[dict[str, Reference]],
) -> Iterator[CaseResult]:
    """Decode the feeds of each case, as many steps as are expected; what cannot be judged is as expected."""
    arguments = {
        "model": str(model),
        "step": str(step),
        "definition": definition.model_dump(),
        "decoder": decoder.model_dump(),
    }
    calls = [
        {"steps": np.array(reference[DECODED].expected.shape[1]), **{f"x/{n}": a for n, a in case.feeds.items()}}
        for case, reference in zip(cases, expected, strict=True)
    ]
    results = run_job("rnnexport.parity.decoding:decoding_job", arguments, calls)
    for result, reference in zip(results, expected, strict=True):
        wanted = reference[DECODED].expected
        found = result.outputs.get(DECODED)
        if decoder.is_fed_tokens and found is not None and found.shape == wanted.shape:
            found[wanted == UNDECIDED] = UNDECIDED
        yield result


def decoding_job(arguments: dict[str, Any], cases: Iterator[Feeds]) -> Iterator[tuple[Arrays, Extras]]:
    """Worker job: one session of each graph, every case a batch that is decoded."""
    definition = Definition(**arguments["definition"])
    encoder, step = (
        get_engine(definition.engine).load(Path(arguments[name]), definition) for name in ("model", "step")
    )
    decoder = DecoderInfo.model_validate(arguments["decoder"])
    for case in cases:
        feeds = {name.removeprefix("x/"): array for name, array in case.items() if name.startswith("x/")}
        steps = int(case["steps"])
        rows, _ = decoded_rows(encoder, step, decoder, feeds, max_steps=steps, start_token=decoder.start_token)
        yield {DECODED: np.ascontiguousarray(rows)}, {}
