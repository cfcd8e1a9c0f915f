"""The options of an export."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_doc import Doc
from annotated_types import Ge

from rnnexport.arguments.options import Options, silent
from rnnexport.errors import InputError
from rnnexport.exporting.sbom import check_installed

if TYPE_CHECKING:
    from rnnexport.capture import InputSpec

Lengths = Literal["exact", "sequence-lens", "none"]


@dataclass(frozen=True)
class ExportOptions(Options):
    """Where a model is written, and in which forms."""

    out: Annotated[
        str | Path | None,
        Doc("The bundle's folder. Default: exported/ with the name of the checkpoint's cell, the class or the file."),
    ] = None
    _: KW_ONLY
    inputs: Annotated[
        Sequence["str | InputSpec"],
        Doc("An input of a module's forward: name:dtype[dimensions], where a word is a dynamic dimension."),
    ] = ()
    output_names: Annotated[
        Sequence[str] | None, Doc("Of a module, in the order in which forward returns its tensors.")
    ] = None
    lengths: Annotated[
        Lengths,
        Doc(
            "How padded batches stay right: exact in every runtime, or by the operator's own sequence_lens input, "
            "which OpenVINO ignores with dynamic shapes, or none: every row is as long as the batch."
        ),
    ] = "exact"
    opset_version: Annotated[int | None, Doc("ONNX operator set version.")] = None
    streaming: Annotated[
        bool, Doc("Write step.onnx, too: chunks of a series and the states in, the new states out.")
    ] = False
    openvino: Annotated[bool, Doc("Write OpenVINO's own format beside the ONNX file: model.xml, step.xml.")] = False
    compress: Annotated[bool, Doc("Store the weights of OpenVINO's format as float16.")] = False
    stateful: Annotated[bool, Doc("Keep the states inside OpenVINO's step graph; reset_state clears them.")] = False
    cpp: Annotated[
        bool, Doc("Write stream.h and stream.cpp: a C++ class that feeds step.onnx chunk by chunk in ONNX Runtime.")
    ] = False
    strict: Annotated[
        bool, Doc("Refuse a module whose graph is not right in every runtime that the export judges it in.")
    ] = False
    class_names: Annotated[
        Sequence[str], Doc("Of a module, an ONNX file or a Keras model: what the columns of its only output stand for.")
    ] = ()
    sample: Annotated[
        str | Path | None,
        Doc(
            "Real inputs of a module or an ONNX file: a .npz with one array for each, or, of a module, a .pt with a "
            "dictionary of tensors. The calls that are drawn take their ranges from it."
        ),
    ] = None
    encoder: Annotated[
        str | None,
        Doc(
            "With `decoder_step`: the module's method that takes the inputs and returns what the step takes beside its "
            "first argument. Default: forward."
        ),
    ] = None
    decoder_step: Annotated[
        str | None,
        Doc(
            "The module's method that is one step of a decoder fed with its own output: it takes a token or frame and "
            "states, and returns its output and the new states. Writes decoder.onnx beside the encoder."
        ),
    ] = None
    step_input: Annotated[
        str | None, Doc("The first argument of `decoder_step`: name:dtype[dimensions], such as token:int64[batch].")
    ] = None
    start_token: Annotated[int | None, Ge(0), Doc("What a decoder of tokens is fed first.")] = None
    stop_token: Annotated[int | None, Ge(0), Doc("The token that ends what a decoder gives.")] = None
    sbom: Annotated[
        bool, Doc("Write sbom.cdx.json, too: the model's hash and the packages that made it, in CycloneDX.")
    ] = False
    on_note: Annotated[
        Callable[[str], None], Doc("Is told what the export found that its user should know, one sentence each.")
    ] = silent

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            InputError: With what to add.
        """
        if self.stateful and not (self.streaming and self.openvino):
            raise InputError("a stateful graph is OpenVINO's form of the step graph; add `streaming` and `openvino`")
        if self.cpp and not self.streaming:
            raise InputError("the C++ sources feed the step graph; add `streaming`")
        if self.compress and not self.openvino:
            raise InputError("only OpenVINO's format is compressed; add `openvino`")
        if self.sbom:
            check_installed()
        if self.decoder_step is None:
            of_step = ("encoder", "step_input", "start_token", "stop_token")
            if given := [name for name in of_step if getattr(self, name) is not None]:
                raise InputError(f"`{given[0]}` is about a decoder; add `decoder_step`")
        elif self.step_input is None:
            raise InputError(
                "`decoder_step` needs the step's first argument; give it like `step_input=token:int64[batch]`"
            )
        elif self.streaming or self.class_names:
            other = "streaming" if self.streaming else "class_names"
            raise InputError(f"`{other}` is not for a decoder, which is fed its own output; leave it out")
        for name in self.class_names:
            if not name or not name.isprintable():
                raise InputError(f"`class_names`: {name!r} is no name that can be printed")
            if list(self.class_names).count(name) > 1:
                raise InputError(f"`class_names`: {name!r} is there twice")
