"""Several processes that train one model: who started them, and which of them writes.

On one host the trainer starts its processes itself. On several hosts torchrun does, on each of them.
"""

from __future__ import annotations

import os

from rnnexport.errors import InputError


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first_process() -> bool:
    """Whether this process writes the files and says what came of it."""
    return not started_by_torchrun() or os.environ["RANK"] == "0"


def check_processes(devices: int, num_nodes: int) -> None:
    """Refuse numbers of devices and hosts for which the processes are not there.

    Raises:
        InputError: Several hosts without torchrun, or torchrun with another number of processes.
    """
    if started_by_torchrun() and devices * num_nodes != int(os.environ["WORLD_SIZE"]):
        raise InputError(
            f"torchrun started {os.environ['WORLD_SIZE']} processes, but {devices} devices on {num_nodes} nodes need "
            f"{devices * num_nodes}; give `devices` and `num_nodes` what torchrun was given"
        )
    if num_nodes > 1 and not started_by_torchrun():
        raise InputError(
            f"`num_nodes` is {num_nodes}, but torchrun did not start this process; run on each node: torchrun "
            f"--nnodes {num_nodes} --nproc-per-node {devices} --rdzv-backend c10d --rdzv-endpoint FIRST_HOST:29500 "
            f"--no-python rnnexport train --devices {devices} --num-nodes {num_nodes} ..."
        )
