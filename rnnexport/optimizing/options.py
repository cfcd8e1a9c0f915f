"""The options of a rewrite."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_doc import Doc

from rnnexport.arguments.options import Options
from rnnexport.errors import InputError

Kernel = Literal["auto", "matmulnbits", "dynamic", "dequantize"]


@dataclass(frozen=True)
class Rewrite(Options):
    """What is to be done to a file."""

    lowering: Annotated[
        Literal["fused", "scan", "unrolled", "stack"],
        Doc(
            "How layers are written: fused keeps the operator, scan is a loop over time, unrolled one step after the "
            "other, for a fixed number of them, stack one operator of rnnexport-kernels for all layers."
        ),
    ] = "scan"
    weights: Annotated[
        Literal["float32", "int16", "int8", "int4"], Doc("The recurrent weights; int16 with stack only.")
    ] = "float32"
    weight_only_int8: Annotated[bool, Doc("With fused and float32: store weights in 8 bits; a smaller file only.")] = (
        False
    )
    matmul_kernel: Annotated[
        Kernel,
        Doc("The operator for the product with int8 or int4 weights."),
    ] = "auto"
    input_projection: Annotated[
        Literal["float32", "same", "dynamic"],
        Doc(
            "The product with the layers' inputs: float32, the same as with the recurrent weights, or int8 by the "
            "dynamic operator, the fastest for many rows."
        ),
    ] = "float32"
    block_size: Annotated[
        int | None,
        Doc(
            "Weights that share a scale: in matmulnbits a power of two from 16, by default 128; of int4 in a stack 32 "
            "or 64, by default 32."
        ),
    ] = None
    activation_bits: Annotated[
        Literal[8, 12] | None,
        Doc(
            "With stack: activations that meet int8 or int4 weights are rounded to so many bits; by default 12 with "
            "int8, and 8 with int4, which errs more by itself."
        ),
    ] = None
    time_steps: Annotated[int | None, Doc("Fix the number of time steps, for unrolled, or 1 for fused.")] = None
    keep_float32: Annotated[
        Sequence[str],
        Doc(
            "A layer, by its node's name, whose weights stay float32, or LAYER:cell (LSTM) or LAYER:new (GRU) for that "
            "gate only."
        ),
    ] = ()

    def check(self) -> None:
        """Refuse choices that do not go together.

        Raises:
            InputError: With what to choose instead.
        """
        if self.lowering == "stack":
            self._check_stack()
            return
        if self.activation_bits:
            raise InputError("`activation_bits` is for `lowering=stack`: no other operator lets it be chosen")
        fused, quantizes, size = self.lowering == "fused", self.weights != "float32", self.block_size
        if self.weights == "int16":
            raise InputError("`weights=int16` is for `lowering=stack`; choose that, or int8")
        if self.weight_only_int8 and (not fused or quantizes):
            raise InputError(
                "`weight_only_int8` only stores weights in 8 bits: use it with `lowering=fused` `weights=float32`"
            )
        if fused and self.weights == "int4":
            raise InputError("no runtime has a fused operator with int4 weights; use `lowering=scan` or unrolled")
        if fused and not quantizes and not self.weight_only_int8 and self.time_steps != 1:
            raise InputError(
                "`lowering=fused` `weights=float32` changes nothing; add `weight_only_int8` or `time_steps=1`, or "
                "choose another lowering"
            )
        if (fused or not quantizes) and (self.matmul_kernel != "auto" or self.input_projection != "float32" or size):
            raise InputError(
                "`matmul_kernel`, `input_projection` and `block_size` are for int8 or int4 weights with "
                "`lowering=scan` or unrolled"
            )
        if self.weights == "int4" and self.matmul_kernel not in ("auto", "matmulnbits"):
            raise InputError(f"`matmul_kernel={self.matmul_kernel}` takes int8 weights; for int4 choose matmulnbits")
        if size is not None and (size < 16 or size & (size - 1)):
            raise InputError(f"`block_size={size}`: choose a power of two, 16 or more")
        self._check_time_steps()

    def _check_stack(self) -> None:
        if self.weight_only_int8 or self.matmul_kernel != "auto" or self.input_projection != "float32":
            raise InputError(
                "`weight_only_int8`, `matmul_kernel` and `input_projection` have no meaning with `lowering=stack`: one "
                "operator computes all of it"
            )
        if self.block_size is not None and (self.weights != "int4" or self.block_size not in (32, 64)):
            raise InputError("`block_size` with `lowering=stack` is 32 or 64, for `weights=int4`")
        if self.activation_bits and self.weights not in ("int8", "int4"):
            raise InputError("`activation_bits` is for `weights=int8` or int4: others meet activations as they are")
        self._check_time_steps()

    def _check_time_steps(self) -> None:
        if self.time_steps is not None and self.time_steps < 1:
            raise InputError(f"`time_steps={self.time_steps}`: choose 1 or more")

    @property
    def calibrates(self) -> bool:
        """Whether inputs can make it better."""
        if self.lowering == "stack":
            return self.weights == "int4"
        return self.lowering != "fused" and self.weights != "float32"
