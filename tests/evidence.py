"""What commands add to a bundle, which a copy of it for a test does without."""

from __future__ import annotations

import shutil

EVIDENCE = shutil.ignore_patterns("parity*", "bench*", "drift*", "lint*", "tune*", "plan*")
