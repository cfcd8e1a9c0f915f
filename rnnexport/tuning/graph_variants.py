"""How a graph's recurrent layers may be written, and the files in which they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rnnexport.benchmark.weight_formats import FORMATS, INT4, INT8, INT16, WeightFormat
from rnnexport.bundle.plan import GraphKind
from rnnexport.engines.contract import Feeds
from rnnexport.onnx_files.operators import STACK_PACKAGES
from rnnexport.optimizing.options import Rewrite
from rnnexport.optimizing.rewrite import LayerOutcome, apply

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir

    from rnnexport.passes.lowering import CalibrationStatistics


@dataclass(frozen=True)
class GraphVariant:
    """One way to write the recurrent layers."""

    name: str
    rewrite: Rewrite | None = None
    """`None` leaves the graph as it was exported."""
    engines: tuple[str, ...] = ("onnxruntime", "openvino")
    """Those that have the operators of a rewrite."""

    @property
    def weights(self) -> str:
        """Of the products: `float32`, `int16`, `int8` or `int4`."""
        return self.rewrite.weights if self.rewrite else "float32"

    @property
    def lossy(self) -> bool:
        """Whether weights are rounded."""
        return self.rewrite is not None and (self.weights != "float32" or self.rewrite.weight_only_int8)

    @property
    def format(self) -> WeightFormat:
        """How the bound counts its weights."""
        return {"float32": FORMATS["float32"], "int16": INT16, "int8": INT8, "int4": INT4}[self.weights]


BASELINE = GraphVariant("as exported")
_ONNXRUNTIME = ("onnxruntime",)
_BLOCK_SIZE = 256
"""The fastest in ONNX Runtime's `MatMulNBits`."""


def _lossy(
    weights: Literal["int8", "int4"],
    matmul_kernel: Literal["matmulnbits", "dynamic", "dequantize"],
    projection: Literal["float32", "same", "dynamic"],
) -> Rewrite:
    block_size = _BLOCK_SIZE if matmul_kernel == "matmulnbits" else None
    return Rewrite(weights=weights, matmul_kernel=matmul_kernel, input_projection=projection, block_size=block_size)


_SEQUENCE = (
    BASELINE,
    GraphVariant("scan", Rewrite()),
    GraphVariant("fused, int8", Rewrite("fused", "int8"), _ONNXRUNTIME),
    GraphVariant("scan, int8 dynamic", _lossy("int8", "dynamic", "dynamic"), _ONNXRUNTIME),
    GraphVariant("scan, int8", _lossy("int8", "matmulnbits", "dynamic"), _ONNXRUNTIME),
    GraphVariant("scan, int4", _lossy("int4", "matmulnbits", "dynamic"), _ONNXRUNTIME),
    GraphVariant("scan, int8 R only", _lossy("int8", "matmulnbits", "float32"), _ONNXRUNTIME),
    GraphVariant("scan, int8 dequantize", _lossy("int8", "dequantize", "same")),
    GraphVariant("scan, int4 R and W", _lossy("int4", "matmulnbits", "same")),
)
_STACKS = (
    GraphVariant("stack, int8", Rewrite("stack", "int8"), _ONNXRUNTIME),
    GraphVariant("stack, int8, 8-bit activations", Rewrite("stack", "int8", activation_bits=8), _ONNXRUNTIME),
    GraphVariant("stack, int4", Rewrite("stack", "int4"), _ONNXRUNTIME),
    GraphVariant("stack, int16", Rewrite("stack", "int16"), _ONNXRUNTIME),
    GraphVariant("stack", Rewrite("stack"), _ONNXRUNTIME),
)
"""With the operator of rnnexport-kernels."""
_ONE_STEP = GraphVariant("fused, one step", Rewrite("fused", time_steps=1))
_SMALL = GraphVariant("fused, weights stored as int8", Rewrite("fused", weight_only_int8=True))


def graph_variants_for(kind: GraphKind, *, lossy: bool, small: bool, time_steps: int = 1) -> list[GraphVariant]:
    """Return the variants worth trying, the simplest first.

    Args:
        kind: Of the graph. A step graph's loop is written out.
        lossy: Whether weights may be rounded.
        small: Whether the size of the file is what counts.
        time_steps: Of a call of the step graph.
    """
    variants = [*_SEQUENCE, *([_SMALL] if small else [])]
    if entry_points(group=STACK_PACKAGES):
        variants[1:1] = _STACKS
    if kind == "step":
        if time_steps == 1:
            variants.insert(1, _ONE_STEP)
        variants = [_of_steps(variant, time_steps) for variant in variants]
        variants = [
            variant
            for n, variant in enumerate(variants)
            if variant.rewrite not in [each.rewrite for each in variants[:n]]
        ]
    return [variant for variant in variants if lossy or not variant.lossy]


def mixed_precision(variant: GraphVariant, kept: Sequence[str], words: str) -> GraphVariant:
    """The variant, some weights of which stay float32: see `Rewrite.keep_float32`."""
    assert variant.rewrite is not None
    return replace(variant, name=f"{variant.name}, {words}", rewrite=replace(variant.rewrite, keep_float32=tuple(kept)))


def write_variant(
    variant: GraphVariant, source: Path, target: Path, calibration: Sequence[Feeds]
) -> list[LayerOutcome]:
    """Write `source` in a variant to `target`, its weights rounded so that the products change least on `calibration`.

    Returns the layers that were rewritten.

    Raises:
        InputError: No layer can be written so, or there is none.
        ExportError: The variant needs a newer operator set.
    """
    import onnx_ir

    from rnnexport.onnx_files.reading import external_files, read_model

    model = read_model(source)

    def find_statistics(prepared: onnx_ir.Model) -> Mapping[str, CalibrationStatistics]:
        from rnnexport.optimizing.calibration import layer_statistics

        return layer_statistics(prepared, calibration) if calibration else {}

    assert variant.rewrite is not None
    outcomes = apply(variant.rewrite, model, find_statistics)
    onnx_ir.save(model, target, external_data=f"{target.name}.data" if external_files(source) else None)
    return [outcome for outcome in outcomes if outcome.form]


def _of_steps(variant: GraphVariant, time_steps: int) -> GraphVariant:
    """The variant for a fixed number of time steps."""
    if variant.rewrite is None or variant.rewrite.lowering == "stack":
        return variant
    lowering = "unrolled" if variant.rewrite.lowering == "scan" else variant.rewrite.lowering
    rewrite = replace(variant.rewrite, lowering=lowering, time_steps=time_steps)
    if time_steps == 1 and rewrite.input_projection == "dynamic":  # x and h then share a product, see `cell_steps.py`
        rewrite = replace(rewrite, input_projection="same")
    return replace(variant, name=variant.name.replace("scan", "unrolled"), rewrite=rewrite)
