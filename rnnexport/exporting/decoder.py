"""A decoder that is fed its own output: the module's encoder becomes one graph, one step of its decoder another.

1. The step takes what it is fed, then states and what stays the same, such as an encoder's outputs for attention. These
   are what the encoder returns, in the order of the step's parameters or by their names, and inputs of the encoder that
   the step has parameters of the same name for.
2. The step returns its output, then the new states in the order of its parameters; or a dictionary in which states have
   the names of parameters, and the first other entry is the output.
3. The step is judged where decoding takes it: at what the encoder gives, and at the states after many steps.
4. Whole series are decoded by the module itself, in float64, fed with its own output; the graphs must decode the same.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnexport.bundle.decoding import without_step
from rnnexport.bundle.manifest import DecoderInfo, Manifest, TensorInfo
from rnnexport.capture import Captured, InputSpec, parse_input_spec
from rnnexport.engines.contract import Definition, Feeds
from rnnexport.errors import ExportError, InputError
from rnnexport.exporting.calls import Calls
from rnnexport.exporting.graphs import Graphs
from rnnexport.exporting.options import ExportOptions
from rnnexport.exporting.reference import answers
from rnnexport.exporting.writing import TOLERANCES, save_graph
from rnnexport.parity.compare import compare
from rnnexport.parity.decoding import DECODED, DECODING_CASES, STEP_CASES, UNDECIDED, decode_cases, decoded_info
from rnnexport.parity.grid import Case, CaseShape, draw_feeds
from rnnexport.parity.oracle import keep_cases, references_of

STEPS = 32
"""Steps of the series that are decoded when a module is exported, and again by `verify`."""
_DECODED_CALLS = 6
_UNDECIDED_BELOW = 1e-4
"""Relative to the largest output: elements that are closer than this may change places by rounding, step after step."""
_OUTPUT, _MARGIN = "output", "margin"


class DecoderModules:
    """The three modules that a module with an encoder and a decoder's step is: each computes, as its forward, one part.

    They share the module's weights, and are of subclasses of its class, so that names and places stay the user's.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[InputSpec], options: ExportOptions) -> None:
        """Find the methods.

        Raises:
            InputError: The module has no such method, or the step's first parameter is not the one given.
        """
        assert options.decoder_step is not None
        assert options.step_input is not None
        self.encode, self.step = (
            _method(module, name) for name in (options.encoder or "forward", options.decoder_step)
        )
        self.fed = parse_input_spec(options.step_input)
        fed, *others = list(inspect.signature(self.step).parameters)[1:] or [""]
        if fed != self.fed.name:
            raise InputError(
                f"`step_input` names {self.fed.name!r}, the first parameter of {options.decoder_step} is {fed!r}"
            )
        if self.is_fed_tokens and options.start_token is None:
            raise InputError("a decoder of tokens needs the first one; give `start_token`")
        if not self.is_fed_tokens and (options.start_token is not None or options.stop_token is not None):
            raise InputError("a decoder of frames starts from zeros, and no token ends it; leave the tokens out")
        self.taken = {spec.name for spec in inputs if spec.name.partition(".")[0] in others}
        """The encoder's inputs that the step takes, too."""
        self.others = [name for name in others if name not in {taken.partition(".")[0] for taken in self.taken}]
        """The step's parameters that the encoder returns."""
        self.module, self.inputs, self.options = module, inputs, options

    @property
    def is_fed_tokens(self) -> bool:
        """Whether the step is fed the number of the largest element, not the output itself."""
        return "int" in self.fed.dtype

    def encoder(self) -> nn.Module:
        """Compute what the encoder returns, by the names of the step's parameters."""

        def forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return _flat(self.encoded(self.encode(module, *args, **kwargs)))

        return _with_forward(self.module, self.encode, forward)

    def one_step(self) -> nn.Module:
        """Compute the step's output, under its own name or `output`, and the new states as `next_NAME`."""

        def forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            output, states = self.split(self.step(module, *args, **kwargs))
            return _flat({**output, **{f"next_{name}": state for name, state in states.items()}})

        return _with_forward(self.module, self.step, forward)

    def greedy(self, step_inputs: Sequence[InputSpec]) -> nn.Module:
        """Decode `STEPS` steps as a user of the module would: no graph, names or flat tensors between the steps.

        It returns what was decoded, by how much the largest element of each step leads, and what the next step would
        be given, by the names of `step_inputs`.
        """

        def forward(module: nn.Module, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
            given = dict(self.encoded(self.encode(module, *args, **kwargs)))
            bound = inspect.signature(self.encode).bind(module, *args, **kwargs).arguments
            given |= {name: bound[name] for name in {taken.partition(".")[0] for taken in self.taken}}
            flat = _flat(given)
            sizes = {d: n for s in step_inputs[1:] for d, n in zip(s.shape, flat[s.name].shape, strict=True)}
            shape = [sizes[d] if isinstance(d, str) else d for d in self.fed.shape]
            fed = torch.full(shape, self.options.start_token or 0, dtype=getattr(torch, self.fed.dtype))
            decoded, margins = [], []
            for _ in range(STEPS):
                named, states = self.split(self.step(module, fed, **given))
                given |= states
                output = next(iter(_flat(named).values()))
                if self.is_fed_tokens:
                    best = output.topk(2, -1).values.double()
                    margins.append((best[..., 0] - best[..., 1]).reshape(-1) / output.abs().max().clamp(min=1))
                fed = output.argmax(-1).reshape(shape).to(fed.dtype) if self.is_fed_tokens else output.reshape(shape)
                decoded.append(fed.reshape(-1) if self.is_fed_tokens else fed.reshape(without_step(fed.shape)))
            margin = torch.stack(margins, 1) if margins else torch.zeros(0)
            last = {self.fed.name: fed, **_flat(given)}
            return {
                DECODED: torch.stack(decoded, 1),
                _MARGIN: margin,
                **{f"last/{s.name}": last[s.name] for s in step_inputs},
            }

        return _with_forward(self.module, self.encode, forward)

    def encoded(self, result: Any) -> dict[str, Any]:
        """What the encoder returned, by the names of the step's parameters.

        Raises:
            ExportError: It is not one for each.
        """
        named = _by_name(result)
        if named is None:
            items = list(result) if isinstance(result, list | tuple) else [result]
            if len(items) > len(self.others):
                raise ExportError(
                    f"the encoder returns {len(items)} things, and the step takes {', '.join(self.others) or 'none'}; "
                    "return a dictionary by the names of the step's parameters"
                )
            named = dict(zip(self.others, items, strict=False))
        return {name: value for name, value in named.items() if name in self.others}

    def split(self, result: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The output of a step (with all that is no state), and its new states by name.

        Raises:
            ExportError: There is no output, or there are more states than parameters.
        """
        named = _by_name(result)
        if named is None:
            output, *new = list(result) if isinstance(result, list | tuple) else [result]
            if len(new) > len(self.others):
                raise ExportError(
                    f"the step returns {len(new)} things beside its output, and takes "
                    f"{', '.join(self.others) or 'no state'}; return a dictionary by the names of its parameters"
                )
            return {_OUTPUT: output}, dict(zip(self.others, new, strict=False))
        states = {name: value for name, value in named.items() if name in self.others}
        others = {name: value for name, value in named.items() if name not in states}
        if not others:
            raise ExportError(f"the step returns only {', '.join(states)}, its states; return its output, too")
        return others, states


@dataclasses.dataclass(frozen=True, slots=True)
class DecoderGraph:
    """The graph of a step, and what it must give."""

    graphs: Graphs
    info: DecoderInfo
    step: tuple[list[Case], list[Feeds]]
    """Calls of the step, and the module's answers."""
    decoding: tuple[list[Case], list[Feeds]]
    """Calls of the encoder, and what the module decodes from them."""
    captured: Captured

    def write(self, manifest: Manifest, folder: Path) -> None:
        """Write the step's graph and the calls at which `verify` judges it."""
        save_graph(self.graphs.sequence, manifest.source, self.info.inputs, folder / "decoder.onnx")
        if self.graphs.options.openvino:
            from rnnexport.engines.openvino_ir import write_ir

            write_ir(folder / "decoder.onnx", folder / "decoder.xml", compress=self.graphs.options.compress)
        keep_cases(folder / STEP_CASES, *self.step)
        keep_cases(folder / DECODING_CASES, *self.decoding)

    def why_not_decoded(self, folder: Path, engine: str) -> str:
        """Say which series a runtime decodes in another way than the module; nothing where it decodes all alike."""
        definition = Definition(name=f"{engine}-cpu", engine=engine, precision="float32", threads=1)
        cases, found = self.decoding
        expected = references_of(cases, found, [decoded_info(self.info)])
        paths = folder / "model.onnx", folder / "decoder.onnx"
        for case, reference, result in zip(
            cases, expected, decode_cases(*paths, definition, self.info, cases, expected), strict=True
        ):
            if result.failure is not None:
                return f"fails to decode {case.name}: {result.failure.message}"
            comparison = compare(DECODED, result.outputs[DECODED], reference[DECODED], TOLERANCES["float32"])
            if not comparison.passed:
                return f"does not decode {case.name} as the module does: it {comparison.reason}"
        return ""


def make_decoder(modules: DecoderModules, encoder: Graphs, calls: Calls) -> DecoderGraph:
    """Capture the step, and have the module answer the calls at which it is judged.

    Raises:
        InputError: What the encoder gives is not what the step takes.
        ExportError: The step cannot be written as one graph for all sizes, or its states change their shape.
    """
    from rnnexport.capture import DEFAULT_OPSET, capture

    inputs = [modules.fed, *_given(modules, encoder.outputs)]
    sized = {dimension for spec in inputs[1:] for dimension in spec.shape}
    if unknown := [d for d in modules.fed.shape if isinstance(d, str) and d not in sized]:
        raise InputError(
            f"`step_input`: dimension {unknown[0]!r} is none of what the encoder gives: "
            f"{', '.join(sorted(str(d) for d in sized if isinstance(d, str)))}"
        )
    step = modules.one_step()
    captured = capture(step, inputs, opset_version=encoder.options.opset_version or DEFAULT_OPSET)
    options = dataclasses.replace(encoder.options, streaming=False)
    graphs = Graphs.make(captured.model, options, {spec.name: spec.values for spec in inputs})
    info = _described(modules, graphs)
    usual = [(case, answer) for case, answer in zip(calls.cases, calls.answers, strict=True) if _is_usual(case, answer)]
    names = [DECODED, _MARGIN, *(f"last/{spec.name}" for spec in inputs)]
    cases = [case for case, _ in usual[:_DECODED_CALLS]]
    decoded = answers(modules.greedy(inputs), modules.inputs, names, cases)
    steps = [_first_step(case, answer, info) for case, answer in usual]
    for case, answer in zip(cases, decoded, strict=True):
        last = {each.name: answer[f"float32/last/{each.name}"].astype(each.dtype) for each in info.inputs}
        steps.append(Case(f"{case.name}, after {STEPS} steps", last))
    given = answers(step, inputs, [output.name for output in info.outputs], steps)
    kept = [_decided(answer) if info.is_fed_tokens else _frames_of(answer) for answer in decoded]
    return DecoderGraph(graphs, info, (steps, given), (cases, kept), captured)


def _given(modules: DecoderModules, outputs: Sequence[TensorInfo]) -> list[InputSpec]:
    """The step's inputs beside the one that is fed: from the encoder's outputs, then from its inputs."""
    specs = []
    for info in outputs:
        shape = tuple(
            d if isinstance(d, int) or d.isidentifier() else f"{info.name.replace('.', '_')}_{axis}"
            for axis, d in enumerate(info.shape)
        )
        specs.append(InputSpec(info.name, info.dtype, shape))
    return specs + [spec for spec in modules.inputs if spec.name in modules.taken]


def _described(modules: DecoderModules, graphs: Graphs) -> DecoderInfo:
    """Describe the step's graph.

    Raises:
        ExportError: The graph does not take what it must, or a state or the output does not fit what it becomes.
    """
    inputs = {info.name: info for info in graphs.inputs}
    outputs = {info.name: info for info in graphs.outputs}
    pairs = [(name, f"next_{name}") for name in inputs if f"next_{name}" in outputs]
    for before, after in pairs:
        if not _fits(inputs[before], outputs[after]):
            raise ExportError(
                f"the step returns {_shown(outputs[after])} for its state {_shown(inputs[before])}; a state keeps its "
                "shape, and what is no state is returned in a dictionary, under a name that is no parameter"
            )
    fed, first = inputs[modules.fed.name], next(iter(outputs.values()))
    if modules.is_fed_tokens:
        is_fed = first.dtype.startswith("float") and _fits(fed, first, leading=len(first.shape) - 1)
    else:
        is_fed = _fits(fed, first)
    if not is_fed:
        become = "the numbers of its largest elements" if modules.is_fed_tokens else "its output"
        raise ExportError(f"the step takes {_shown(fed)} and returns {_shown(first)}: {become} cannot be fed to it")
    start = modules.options.start_token
    if fed.upper_bound is not None and start is not None and start >= fed.upper_bound:
        raise InputError(f"`start_token={start}` is no token of the step, which takes 0 to {fed.upper_bound - 1}")
    return DecoderInfo(
        inputs=tuple(inputs.values()),
        outputs=tuple(outputs.values()),
        state_pairs=tuple(pairs),
        start_token=start,
        stop_token=modules.options.stop_token,
    )


def _fits(taken: TensorInfo, given: TensorInfo, leading: int | None = None) -> bool:
    """Whether what is given can be fed, as far as fixed sizes tell; only the `leading` dimensions of it, if given.

    An axis of one step may be there or not.
    """
    shapes = [[d for d in shape if d != 1] for shape in (taken.shape, given.shape[:leading])]
    alike = len(shapes[0]) == len(shapes[1]) and all(
        a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(*shapes, strict=True)
    )
    return alike and (leading is not None or taken.dtype == given.dtype)


def _shown(info: TensorInfo) -> str:
    return f"{info.name}:{info.dtype}[{','.join(map(str, info.shape))}]"


def _is_usual(case: Case, answer: Feeds) -> bool:
    """Whether a call's inputs are usual ones, and all of it is finite."""
    arrays = [*case.feeds.values(), *answer.values()]
    return case.values == "normal" and all(np.isfinite(array).all() for array in arrays)


def _first_step(case: Case, answer: Feeds, info: DecoderInfo) -> Case:
    """A step from what the encoder gives, with a drawn token or frame."""
    fed, *others = info.inputs
    known = {**case.feeds, **{name.removeprefix("float32/"): array for name, array in answer.items()}}
    given = {each.name: known[each.name].astype(each.dtype) for each in others}
    sizes = {d: n for i in others for d, n in zip(i.shape, given[i.name].shape, strict=True) if isinstance(d, str)}
    return Case(case.name, {**draw_feeds([fed], [], CaseShape(1, 1, sizes=sizes), np.random.default_rng(0)), **given})


def _decided(answer: Feeds) -> Feeds:
    """The tokens that were decoded in float64, up to where rounding could have chosen others."""
    close = answer[f"float64/{_MARGIN}"] < _UNDECIDED_BELOW
    tokens = np.where(np.logical_or.accumulate(close, axis=1), UNDECIDED, answer[f"float64/{DECODED}"])
    return {f"float64/{DECODED}": tokens, f"float32/{DECODED}": tokens}


def _frames_of(answer: Feeds) -> Feeds:
    return {name: answer[name] for name in (f"float64/{DECODED}", f"float32/{DECODED}")}


def _by_name(result: Any) -> dict[str, Any] | None:
    """What a method returned under names; `None` where it gives none."""
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}
    if hasattr(result, "_fields"):
        return dict(zip(result._fields, result, strict=True))
    if dataclasses.is_dataclass(result):
        return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return None


def _flat(named: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors by dotted names: `{"hidden": (h, c)}` → `hidden.0`, `hidden.1`."""
    flat: dict[str, Tensor] = {}
    for name, value in named.items():
        if isinstance(value, Tensor):
            flat[name] = value
            continue
        inner = _by_name(value)
        if inner is None and isinstance(value, list | tuple):
            inner = {str(number): item for number, item in enumerate(value)}
        flat.update(_flat({f"{name}.{key}": item for key, item in (inner or {}).items()}))
    return flat


def _method(module: nn.Module, name: str) -> Callable[..., Any]:
    found = inspect.getattr_static(type(module), name, None)
    if not isinstance(found, types.FunctionType):
        raise InputError(f"{type(module).__name__} has no method {name!r}")
    return found


def _with_forward(module: nn.Module, method: Callable[..., Any], forward: Callable[..., Any]) -> nn.Module:
    """A module with the same weights whose forward, with the parameters of `method`, is another."""
    kind = type(module)
    twin = copy.copy(module)
    twin.__class__ = type(kind.__name__, (kind,), {"forward": functools.wraps(method)(forward)})
    return twin
