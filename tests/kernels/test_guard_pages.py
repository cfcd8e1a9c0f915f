"""Nothing beyond an input or output is read or written: each ends where a page begins that may not be touched."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.kernels.recurrent_stack import Array, DrawnStack, session

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def before_a_guard_page(array: Array) -> Array:
    """A copy whose last byte is the last before a page that may not be touched."""
    pages = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    begin = LIBC.mmap(None, pages + mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, 0x22, -1, 0)
    assert LIBC.mprotect(begin + pages, mmap.PAGESIZE, 0) == 0
    memory: Any = (ctypes.c_char * array.nbytes).from_address(begin + pages - array.nbytes)
    copy = np.frombuffer(memory, array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def run_between_guard_pages(library: Path) -> None:
    """Run stacks of awkward sizes."""
    for bits in (32, 16, 8, 4):
        for cell, layout in (("lstm", 0), ("gru", 1)):
            stack = DrawnStack(cell, "bidirectional", 0, 2, 13, 19, layout, bits)
            feeds = stack.feeds(5, 3, lengths=True, states=True)
            expected = stack.reference(feeds)
            bound = session(stack.model(lengths=True, states=True), library, threads=2)
            binding = bound.io_binding()
            kept = {name: before_a_guard_page(array) for name, array in feeds.items()}
            results = {name: before_a_guard_page(array.astype(np.float32) * 0) for name, array in expected.items()}
            for bind, arrays in ((binding.bind_input, kept), (binding.bind_output, results)):
                for name, array in arrays.items():
                    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            bound.run_with_iobinding(binding)
            for name, array in results.items():
                np.testing.assert_allclose(array, expected[name], atol=5e-3)


@pytest.mark.parametrize("isa", ["portable", "best"])
def test_no_input_or_output_is_overrun(library: Path, isa: str) -> None:
    program = (
        "import os, pathlib, sys\n"
        "os.environ['RNNEXPORT_KERNELS_ISA'] = {'best': ''}.get(sys.argv[2], sys.argv[2])\n"
        "from tests.kernels.test_guard_pages import run_between_guard_pages\n"
        "run_between_guard_pages(pathlib.Path(sys.argv[1]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(library), isa], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
