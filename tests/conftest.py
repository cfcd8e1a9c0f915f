"""Settings of every test."""

from __future__ import annotations

import os

# Two threads that wait for each other make tests of tiny models slow on a busy machine. Set before anything loads
# OpenMP, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
