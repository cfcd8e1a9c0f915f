"""Compare a wheel with the tree: every module and data file is in it, and nothing else.

Usage: python tools/check_wheel.py WHEEL
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def expected_files() -> set[str]:
    """Files under version control that belong in the wheel, by their place in it."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = set()
    for name in listed.stdout.splitlines():
        folder = name.split("/")[0]
        if folder == "rnnexport":
            found.add(name)
        elif folder in ("runtimes", "exported"):
            found.add(f"rnnexport/{name}")
    return found


def main(wheel: str) -> None:
    """Print the difference and fail if there is one."""
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    missing, surplus = sorted(expected_files() - packed), sorted(packed - expected_files())
    if missing or surplus:
        sys.exit(f"{wheel} lacks {missing} and has {surplus} too many: see [tool.setuptools] in pyproject.toml")
    print(f"{wheel}: {len(packed)} files, as in the tree")


if __name__ == "__main__":
    main(sys.argv[1])
