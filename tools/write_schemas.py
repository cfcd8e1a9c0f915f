"""Write the JSON Schemas of rnnexport/schemas from the pydantic models that read the files."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
from pathlib import Path
from typing import Any, get_args

from annotated_doc import Doc
from pydantic import BaseModel

from rnnexport.bundle.plan import Tuned
from rnnexport.checking.configuration import Configuration
from rnnexport.engines.contract import Definition
from rnnexport.schemas import SchemaName

FOLDER = Path(__file__).resolve().parent.parent / "rnnexport/schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def main() -> None:
    """Write all of them."""
    for name, schema in schemas().items():
        (FOLDER / f"{name}.schema.json").write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")


def schemas() -> dict[SchemaName, dict[str, Any]]:
    """Return each schema by its name."""
    runtime = _without_name(_described(Definition))
    plan = _without_name(_described(Definition))
    tuned = _described(Tuned)
    plan["$defs"] = tuned.pop("$defs") | {"Tuned": tuned}
    plan["properties"] |= {
        "graph": {"description": "The file of the bundle that it runs, such as plan.onnx.", "type": "string"},
        "tuned": {"description": "What the plan was made for and with.", "$ref": "#/$defs/Tuned"},
    }
    plan["required"] += ["graph", "tuned"]
    found: dict[SchemaName, dict[str, Any]] = {
        "check": _titled(_described(Configuration), "rnnexport.toml: what `rnnexport check` judges and how"),
        "plan": _titled(plan, "plan.toml: the tuned choice for one bundle on one machine"),
        "runtime": _titled(runtime, "A runtime: an inference library with device, precision and options"),
    }
    assert set(found) == set(get_args(SchemaName))
    return found


def _titled(schema: dict[str, Any], title: str) -> dict[str, Any]:
    return {"$schema": DRAFT, **schema, "title": title}


def _without_name(schema: dict[str, Any]) -> dict[str, Any]:
    """A definition's name is that of its file, so no key says it."""
    del schema["properties"]["name"]
    schema["required"].remove("name")
    return schema


def _described(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a model, in which a field's docstring, or the text of its `Doc`, is its description."""
    schema = model.model_json_schema()
    for each in _models(model):
        table = schema if each is model else schema["$defs"][each.__name__]
        docstrings = _docstrings(each)
        for name, field in each.model_fields.items():
            docs = (doc.documentation.strip() for doc in field.metadata if isinstance(doc, Doc))
            said = next(docs, docstrings.get(name))
            if said is not None:
                described = {**table["properties"][name], "description": said}
                table["properties"][name] = dict(sorted(described.items()))  # as pydantic writes them
    return schema


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field; pydantic's own way to it imports, with every model, all that is loaded lazily."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, text in itertools.pairwise(definition.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str() as said)):
                found[name] = inspect.cleandoc(said)
    return found


def _models(annotation: Any) -> set[type[BaseModel]]:
    """A model and those inside it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inner = [_models(field.annotation) for field in annotation.model_fields.values()]
        return {annotation}.union(*inner)
    return set[type[BaseModel]]().union(*map(_models, get_args(annotation)))


if __name__ == "__main__":
    main()
