"""The README.md of a bundle: what the model is, and how to run it with nothing but ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

from rnnexport.bundle.manifest import Manifest, TensorInfo

_NUMPY_ZEROS = "np.zeros({shape}, np.{dtype})"
_EXAMPLE_BATCH, _EXAMPLE_TIME = 2, 20


def model_card(manifest: Manifest, description: str) -> str:
    """Return the card as Markdown with a YAML head; its Python snippet runs inside the bundle's folder."""
    return f"""---
library_name: onnx
tags: [onnx, recurrent, rnnexport]
---
# {manifest.name}

{description}

| | name | type | shape |
|---|---|---|---|
{_rows("input", manifest.inputs)}
{_rows("output", manifest.outputs)}

Batch and time are dynamic.{_lengths_note(manifest)}

## Run it

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
feeds = {{
{_assignments(manifest.inputs)}
}}
{_output_tuple(manifest)} = session.run(None, feeds)
```
{_streaming(manifest)}{_decoding(manifest)}
## Check it

`rnnexport verify .` judges every runtime of this machine against a float64 run of the source model;
`test_data_set_0/` holds one call in the layout of the ONNX backend tests.
"""


def _streaming(manifest: Manifest) -> str:
    if manifest.step is None:
        return ""
    rows = "\n".join(f"| `{before}` | `{after}` |" for before, after in manifest.state_pairs)
    states = dict(manifest.state_pairs)
    series = [info for info in manifest.step.inputs if info.name not in states]
    starts = [info for info in manifest.step.inputs if info.name in states]
    return f"""
## Stream it

`step.onnx` takes the next chunk of a series, of any length, and the states, and gives the new states:

| state in | state out |
|---|---|
{rows}

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("step.onnx")
pairs = {states!r}
states = {{
{_assignments(starts)}
}}
for _ in range(3):  # three chunks
    chunk = {{
{_assignments(series, indent=8)}
    }}
    results = session.run(None, chunk | states)
    outputs = dict(zip([output.name for output in session.get_outputs()], results))
    states = {{before: outputs[after] for before, after in pairs.items()}}
```
"""


def _decoding(manifest: Manifest) -> str:
    decoder = manifest.decoder
    if decoder is None:
        return ""
    fed, *others = decoder.inputs
    states = dict(decoder.state_pairs)
    made = f"outputs[{decoder.outputs[0].name!r}]"
    made = f"{made}.argmax(-1).astype(np.{fed.dtype})" if decoder.is_fed_tokens else made
    shape = tuple(d if isinstance(d, int) else _EXAMPLE_BATCH for d in fed.shape)
    return f"""
## Decode with it

`model.onnx` is the encoder. `decoder.onnx` is one step of the decoder, which is fed what it gave, and its states:

```python
import numpy as np
import onnxruntime

encoder = onnxruntime.InferenceSession("model.onnx")
step = onnxruntime.InferenceSession("decoder.onnx")
feeds = {{
{_assignments(manifest.inputs)}
}}
encoded = feeds | dict(zip([output.name for output in encoder.get_outputs()], encoder.run(None, feeds)))
given = {{name: encoded[name] for name in {[info.name for info in others]!r}}}
fed, decoded = np.full({shape}, {decoder.start_token or 0}, np.{fed.dtype}), []
for _ in range(10):  # at most
    outputs = dict(zip([output.name for output in step.get_outputs()], step.run(None, {{{fed.name!r}: fed, **given}})))
    given |= {{before: outputs[after] for before, after in {states!r}.items()}}
    fed = {made}.reshape(fed.shape)
    decoded.append(fed)
```

`rnnexport.load(".").decode(feeds)` does the same{_until(decoder.stop_token)}.
"""


def _until(stop_token: int | None) -> str:
    return "" if stop_token is None else f", until each row has given {stop_token}, its end"


def _rows(kind: str, tensors: tuple[TensorInfo, ...]) -> str:
    return "\n".join(f"| {kind} | `{t.name}` | {t.dtype} | {', '.join(map(str, t.shape))} |" for t in tensors)


def _lengths_note(manifest: Manifest) -> str:
    names = [info.name for info in manifest.inputs if info.role == "lengths"]
    if not names:
        return ""
    return f" `{names[0]}` counts the time steps of each row; what stands after them never reaches a result."


def _assignments(tensors: Sequence[TensorInfo], indent: int = 4) -> str:
    return "\n".join(f'{" " * indent}"{info.name}": {_example(info)},' for info in tensors)


def _example(info: TensorInfo) -> str:
    if info.role == "lengths":
        return f"np.array([{_EXAMPLE_TIME}, {_EXAMPLE_TIME // 2}], np.{info.dtype})"
    sizes = {info.batch_dimension: _EXAMPLE_BATCH}
    shape = tuple(d if isinstance(d, int) else sizes.get(d, _EXAMPLE_TIME) for d in info.shape)
    return _NUMPY_ZEROS.format(shape=shape, dtype=info.dtype)


def _output_tuple(manifest: Manifest) -> str:
    names = [info.name.replace(".", "_") for info in manifest.outputs]
    return f"({names[0]},)" if len(names) == 1 else ", ".join(names)
