"""The JSON Schema of the settings document, for editors."""

import ast
import inspect
from itertools import pairwise
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from msupply_dhis2.domain.choices import Setup
from msupply_dhis2.domain.reading import OneOf
from msupply_dhis2.settings import DataElementRow, Settings
from msupply_dhis2.settings.fields import ITEM_FIELD_REFERENCES, Form, Tab, WholeNumber, read_item_field
from msupply_dhis2.settings.model import NEEDED_BY


class _SettingsSchema(GenerateJsonSchema):
    """Says what the readers of the fields take.

    A field is given or left out; null as a value or as a default would be offered by editors.
    """

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        match schema["function"]["function"]:
            case OneOf() as reader:
                words = [choice.value for choice in reader.choices]
                return {"type": "string", "enum": [*words, *reader.tab_words]}
            case WholeNumber(least, most):
                return {"type": "integer", "minimum": least, "maximum": most}
            case _:
                return super().function_before_schema(schema)

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        if schema["function"]["function"] is read_item_field:
            return {"type": "string", "enum": [*ITEM_FIELD_REFERENCES]}
        return super().function_after_schema(schema)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the settings document, for editors: fields, choices and most of the rules."""
    schema = Settings.model_json_schema(schema_generator=_SettingsSchema)
    row = schema["$defs"]["DataElementRow"]
    for form, of_form in ((Tab, schema), (DataElementRow, row)):
        for name, description in _descriptions(form).items():
            field = of_form["properties"][name]
            of_form["properties"][name] = dict(sorted({**field, "description": description}.items()))
    row["required"] = ["metric", "active"]
    row |= _when("active", value=True, then={"required": ["interval", "basis"]})
    row["title"] = "Row"
    row["description"] = "One metric: when it is sent and what identifies it in DHIS2."
    schema["description"] = "The DHIS2 tab of mSupply's preferences."
    schema["title"] = "Settings of msupply-dhis2"
    schema["required"] = ["use_dhis2"]
    schema |= _when(
        "use_dhis2",
        value=True,
        then={
            "required": [
                "url",
                "setup",
                "data_elements",
                "data_set_id",
                "period_format",
                "data_element_id_scheme",
                "org_unit_scheme",
            ],
            "allOf": [_when("setup", value=setup, then=_needs(setup)) for setup in Setup],
        },
    )
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema}


def _descriptions(form: type[Form]) -> dict[str, str]:
    """Return what stands below each field in its class."""
    found = {}
    for field, below in pairwise(ast.walk(ast.parse(inspect.getsource(form)))):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(description))),
            ):
                found[name] = " ".join(description.split())
    return found


def _when(name: str, *, value: object, then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {name: {"const": value}}, "required": [name]}, "then": then}


def _needs(setup: Setup) -> dict[str, Any]:
    needed = [name for name, setups in NEEDED_BY.items() if setup in setups]
    rows = {
        "items": _when(
            "active",
            value=True,
            then={"required": [name for name in needed if name in DataElementRow.model_fields]},
        )
    }
    return {
        "required": [name for name in needed if name in Settings.model_fields],
        "properties": {"data_elements": rows},
    }
