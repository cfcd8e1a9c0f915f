"""A bundle's bill of materials in CycloneDX: its model with its hash, and the packages that made it.

CycloneDX 1.6 (ECMA-424) is what scanners of dependencies read. The file depends on the bundle's contents alone, so that
two exports of one model with the same packages give the same bytes.
"""

from __future__ import annotations

import uuid
from importlib.util import find_spec
from pathlib import Path

from rnnexport.bundle.manifest import Manifest
from rnnexport.bundle.store import sha256_of
from rnnexport.errors import InputError

SBOM = "sbom.cdx.json"


def check_installed() -> None:
    """Find out before any work whether the file can be written.

    Raises:
        InputError: cyclonedx-python-lib is not installed.
    """
    if find_spec("cyclonedx") is None:
        raise InputError("`sbom` needs cyclonedx-python-lib; run: pip install 'rnnexport[sbom]'")


def write_sbom(folder: Path, manifest: Manifest) -> None:
    """Write what the bundle in `folder` consists of; its other files are in place."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    graphs = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx*"))
    digests = {name: sha256_of(folder / name) for name in graphs}
    files = [
        Component(
            name=name,
            type=ComponentType.FILE,
            bom_ref=f"file:{name}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        )
        for name, digest in digests.items()
    ]
    model = Component(
        name=manifest.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        description=f"Exported from {manifest.source.name} ({manifest.source.kind}).",
        components=files,
    )
    packages = [
        Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"pypi:{name}",
            purl=PackageURL("pypi", name=name, version=version),
        )
        for name, version in manifest.versions.items()
    ]
    bom = Bom(
        components=packages,
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, "".join(digests.values())),
        metadata=BomMetaData(component=model),
    )
    bom.metadata.timestamp = None
    bom.register_dependency(model, packages)
    text: str = JsonV1Dot6(bom).output_as_string(indent=1)
    (folder / SBOM).write_text(text + "\n", encoding="utf-8")
