"""The JSON Schema of the settings document, for editors."""

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from cli.descriptions import DESCRIPTIONS
from msupply_dhis2.domain.choices import Setup
from msupply_dhis2.settings import DataElementRow, Settings
from msupply_dhis2.settings.model import NEEDED_BY

if TYPE_CHECKING:
    from msupply_dhis2.text import Choice


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

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        choices: type[Choice] = schema["cls"]
        return {"type": "string", "enum": [*choices, *(word for choice in choices for word in choice.words)]}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the settings document, for editors: fields, choices and most of the rules."""
    schema = Settings.model_json_schema(schema_generator=_SettingsSchema)
    row = schema["$defs"]["DataElementRow"]
    for form, of_form in ((Settings, schema), (DataElementRow, row)):
        for name, field in of_form["properties"].items():
            # Beside a reference editors see neither title nor description: choices are written out in their place.
            choices = schema["$defs"].get(field.pop("$ref", "").rpartition("/")[2], {})
            words = {"title": form.model_fields[name].title, "description": DESCRIPTIONS[name]}
            of_form["properties"][name] = dict(sorted({**field, **choices, **words}.items()))
    schema["$defs"] = {"DataElementRow": row}
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
