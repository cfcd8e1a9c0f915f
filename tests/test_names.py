"""Names of the project's own."""

import ast
from collections import Counter
from pathlib import Path

import rnnexport

PACKAGE = Path(rnnexport.__file__).parent


def test_every_class_name_stands_for_one_thing():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert names
    assert [name for name, count in names.items() if count > 1] == []
