"""The exported folder: its manifest, how it is written and read, its card and its plan."""
