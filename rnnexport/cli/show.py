"""`rnnexport show`."""

from __future__ import annotations

from rnnexport.cli.options import BundlePath, Json
from rnnexport.cli.output import print_result


def show(bundle: BundlePath, json: Json = False) -> None:
    """Print what is in a bundle, after checking that it is whole.

    Example: rnnexport show exported/gru
    """
    from rnnexport.bundle import load_bundle
    from rnnexport.report.bundle import bundle_tables

    opened = load_bundle(bundle)
    print_result(opened.manifest, bundle_tables(opened), as_json=json)
