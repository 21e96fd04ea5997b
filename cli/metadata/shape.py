"""The two shapes in which items and metrics are laid out in DHIS2, and the settings that fit each."""

import json
from enum import StrEnum
from typing import Any

from cli.console.tab import as_yaml
from cli.metadata.metrics import METRICS
from msupply_dhis2.domain.choices import Scheme, Setup
from msupply_dhis2.errors import ConfigurationError
from msupply_dhis2.settings import DataElementRow, Settings, parse_settings

ITEM_FIELD = "universal_code"
DATA_SET = "MSUPPLY_STOCK"
_HEAD = "# Your settings, with the rows that send into what `msupply-dhis2 metadata plan` makes in DHIS2.\n\n"


class Shape(StrEnum):
    """How a metric of an item becomes an object of DHIS2.

    ``items``: a data element for each item and metric. Each adds up in its own way, and a chart of it needs no category.
    ``combos``: a data element for each item, a category option combo for each metric, for set-ups that are so already.
    """

    ITEMS = "items"
    COMBOS = "combos"


def settings_for(given: Settings, shape: Shape) -> Settings:
    """Return the settings that send into a shape; what already fits stays.

    Raises
    ------
    ConfigurationError
        The settings name data elements by UID, which are there already.
    """
    if given.data_element_id_scheme is Scheme.UID and given.setup is Setup.DATA_ELEMENT_PER_ITEM:
        raise ConfigurationError(
            "The settings name data elements by UID (data_element_id_scheme: uid), so they are in DHIS2 already. What is "
            "made here has codes. Set data_element_id_scheme: code, and name a field of the items that holds a code."
        )
    document: dict[str, Any] = json.loads(given.model_dump_json(exclude_none=True, exclude_defaults=True))
    document |= {
        "data_element_id_scheme": Scheme.CODE.value,
        "data_set_id": given.data_set_id or DATA_SET,
        "data_set_id_scheme": given.data_set_id_scheme.value if given.data_set_id else Scheme.CODE.value,
    }
    rows = document.get("data_elements", [])
    if shape is Shape.ITEMS:
        document |= {"setup": Setup.DATA_ELEMENT_PER_ITEM.value}
        document.pop("item_field_reference", None)
        document.pop("option_combo_field", None)
        seen: set[str] = set()
        for row, read in zip(rows, given.data_elements, strict=True):
            _for_items(row, read, given, seen)
    else:
        fields = [row.custom_field_name for row in given.data_elements if row.custom_field_name]
        document |= {
            "setup": Setup.CATEGORY_OPTION_COMBO.value,
            "option_combo_field": "category",
            "item_field_reference": given.item_field_reference or next(iter(fields), ITEM_FIELD),
        }
        for row, read in zip(rows, given.data_elements, strict=True):
            _for_combos(row, read, given)
    return parse_settings(json.dumps(document, ensure_ascii=False))


def _for_items(row: dict[str, Any], read: DataElementRow, given: Settings, seen: set[str]) -> None:
    row.pop("category_option_id", None)
    row.pop("category_option_combo_id_scheme", None)
    if read.metric is None or (given.setup is Setup.DATA_ELEMENT_PER_ITEM and read.custom_field_name):
        return
    row["custom_field_name"] = given.item_field_reference or ITEM_FIELD
    # Prefixes that the settings have are for the metric's data elements only where each metric has its own.
    word = METRICS[read.metric].word
    prefix = next(
        each for each in (f"{word}{number or ''}_" for number in range(len(METRICS) * 10)) if each not in seen
    )
    seen.add(prefix)
    row["prefix"] = prefix


def _for_combos(row: dict[str, Any], read: DataElementRow, given: Settings) -> None:
    row.pop("custom_field_name", None)
    if given.setup is Setup.DATA_ELEMENT_PER_ITEM:
        row.pop("prefix", None)
    if read.metric is not None and not read.category_option_id:
        row |= {
            "category_option_id": read.metric.value.upper(),
            "category_option_combo_id_scheme": Scheme.CODE.value,
        }


def as_document(settings: Settings) -> str:
    """Return a settings document that ``settings check`` and ``settings upload`` take."""
    return as_yaml(json.loads(settings.model_dump_json(exclude_none=True, exclude_defaults=True)), head=_HEAD)
