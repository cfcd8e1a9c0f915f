"""The files of a search: each graph variant written once, into a folder of the search's own."""

from __future__ import annotations

from pathlib import Path

from rnnexport.engines import reads_source
from rnnexport.optimizing.rewrite import LayerOutcome
from rnnexport.tuning.graph_variants import BASELINE, GraphVariant, write_variant
from rnnexport.tuning.results import Candidate
from rnnexport.tuning.workload import Workload


class VariantFiles:
    """Which variants are written, and where."""

    def __init__(self, workload: Workload, folder: Path) -> None:
        self._workload, self._folder = workload, folder
        self._paths = {BASELINE.name: workload.source}
        self._layers: dict[str, list[LayerOutcome]] = {}

    def __contains__(self, variant: str) -> bool:
        return variant in self._paths

    def path(self, variant: str) -> Path:
        """The file of the variant of this name, which is written."""
        return self._paths[variant]

    def layers(self, variant: str) -> list[LayerOutcome]:
        """The layers that the variant of this name rewrites; none where it is not written."""
        return self._layers.get(variant, [])

    def loaded_by(self, candidate: Candidate) -> Path:
        """What the candidate's engine loads."""
        if reads_source(candidate.definition):
            return self._workload.bundle.description_path
        return self._paths[candidate.form]

    def write(self, variant: GraphVariant) -> None:
        """Write a variant's file.

        Raises:
            RnnexportError: The graph cannot be written so.
        """
        path = self._folder / f"{len(self._paths)}.onnx"
        self._layers[variant.name] = write_variant(variant, self._workload.source, path, self._workload.calibration)
        self._paths[variant.name] = path
