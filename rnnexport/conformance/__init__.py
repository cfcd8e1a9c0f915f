"""How far a runtime keeps to the specification of the operators LSTM and GRU.

`conformance` draws small graphs, runs them in each runtime in a process of its own, compares with the float64 operators
of `rnnexport.parity`, and boils every disagreement down to a minimal ONNX test case and the features that it needs.
"""

from rnnexport.conformance.results import ConformanceReport, Disagreement, FeatureRow, RuntimeConformance
from rnnexport.conformance.runtimes import conformance

__all__ = ["ConformanceReport", "Disagreement", "FeatureRow", "RuntimeConformance", "conformance"]
