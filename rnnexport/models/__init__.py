"""Models and their equations: cells, and the classifier of series that `rnnexport train` trains."""
