"""`rnnexport show`."""

from __future__ import annotations

from rnnexport.cli.options import BundlePath, Json
from rnnexport.cli.output import print_result


def show(bundle: BundlePath, json: Json = False) -> None:
    """Print what is in a bundle, after checking that it is whole, or in an ONNX file.

    Example: rnnexport show exported/gru

    Example: rnnexport show recognizer.onnx
    """
    if bundle.suffix == ".onnx":
        from rnnexport.inspecting.inspection import inspect_model
        from rnnexport.onnx_files.reading import read_model
        from rnnexport.report.inspection import inspection_tables

        inspection = inspect_model(read_model(bundle))
        print_result(inspection, inspection_tables(str(bundle), inspection), as_json=json)
        return
    from rnnexport.bundle.bundle import load_bundle
    from rnnexport.report.bundle import bundle_tables

    opened = load_bundle(bundle)
    print_result(opened.manifest, bundle_tables(opened), as_json=json)
