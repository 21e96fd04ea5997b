from collections.abc import Mapping

import pytest

from cli.metadata.shape import Shape, as_document, settings_for
from msupply_dhis2.errors import ConfigurationError
from msupply_dhis2.settings import parse_settings
from tests.support.plans import settings

ROW = {"metric": "stock_on_hand", "active": True, "interval": "monthly", "basis": "previous_month"}
BY_CODE = {"category_option_id": "SOH", "category_option_combo_id_scheme": "code"}
BY_UID = {"category_option_id": "HllvX50cXC0", "category_option_combo_id_scheme": "uid"}
OWN_FIELD = {"custom_field_name": "user_field_1", "prefix": "A_"}


@pytest.mark.parametrize(
    ("setup", "row", "shape", "becomes"),
    [
        (
            "category_option_combo",
            BY_CODE,
            Shape.ITEMS,
            {"prefix": "SOH_", "custom_field_name": "universal_code"},
        ),
        ("category_option_combo", BY_CODE, Shape.COMBOS, {"category_option_id": "SOH", "prefix": ""}),
        ("category_option_combo", BY_UID, Shape.COMBOS, {"category_option_id": "HllvX50cXC0"}),
        ("category_option_combo", {**BY_CODE, "prefix": "STOCK_"}, Shape.COMBOS, {"prefix": "STOCK_"}),
        ("single_data_element", {}, Shape.ITEMS, {"prefix": "SOH_", "custom_field_name": "universal_code"}),
        ("single_data_element", {}, Shape.COMBOS, {"category_option_id": "STOCK_ON_HAND"}),
        # What fits already stays.
        ("data_element_per_item", OWN_FIELD, Shape.ITEMS, OWN_FIELD),
        (
            "data_element_per_item",
            OWN_FIELD,
            Shape.COMBOS,
            {"category_option_id": "STOCK_ON_HAND", "prefix": ""},
        ),
    ],
)
def test_rows(setup: str, row: Mapping[str, str], shape: Shape, becomes: Mapping[str, str]) -> None:
    planned = settings_for(settings(setup=setup, data_elements=[{**ROW, **row}]), shape)
    (made,) = planned.active_rows
    assert {name: getattr(made, name) for name in becomes} == becomes
    assert not planned.complete_faults()
    assert not planned.warnings()
    assert parse_settings(as_document(planned)) == planned


def test_item_field_in_combos() -> None:
    given = settings(
        setup="data_element_per_item", data_elements=[{**ROW, **OWN_FIELD}], item_field_reference=None
    )
    assert settings_for(given, Shape.COMBOS).item_field_reference == "user_field_1"


def test_data_elements_by_uid() -> None:
    row = {**ROW, "custom_field_name": "user_field_1"}
    given = settings(setup="data_element_per_item", data_elements=[row], data_element_id_scheme="uid")
    with pytest.raises(ConfigurationError, match="Set data_element_id_scheme: code"):
        settings_for(given, Shape.ITEMS)


def test_no_data_set() -> None:
    planned = settings_for(settings(data_set_id=None, data_set_id_scheme=None), Shape.ITEMS)
    assert (planned.data_set_id, planned.data_set_id_scheme) == ("MSUPPLY_STOCK", "code")
