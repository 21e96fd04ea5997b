"""What mSupply's database tells the connection test, in a size that Lambda carries."""

import json
from typing import Any

import pytest

from msupply_dhis2.compute.mapped import BYTES_OF_A_LIST, SENTENCES, names_of
from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.domain.stock import Item, ItemGroup, OrgUnit, Store
from msupply_dhis2.settings import Settings, parse_settings

LAMBDA_CARRIES = 6_000_000
ROW: dict[str, Any] = {"active": True, "interval": "monthly", "basis": "previous_month"}


def settings(*rows: dict[str, Any], **changes: object) -> Settings:
    document = {
        "use_dhis2": True,
        "url": "https://dhis2.example.org",
        "setup": "single_data_element",
        "data_elements": [{**ROW, **row} for row in rows],
        "data_set_id": "STOCK",
        "data_set_id_scheme": "code",
        "period_format": "YYYYMM",
        "item_field_reference": "universal_code",
        "data_element_id_scheme": "code",
        "org_unit_scheme": "code",
        **changes,
    }
    return parse_settings(json.dumps(document))


SINGLE = settings({"metric": "stock_on_hand", "prefix": "SOH_"})


def org_unit(number: int, name: str) -> OrgUnit:
    return OrgUnit(f"OU{number:05}", (Store(f"id{number}", f"S{number:05}", name, f"OU{number:05}"),))


def group(number: int, name: str = "Amoxicillin 250mg tabs") -> ItemGroup:
    item = Item(f"id{number}", f"I{number:05}", name, {"universal_code": f"{number:08x}"})
    return ItemGroup(f"{number:08x}", (item,))


def mapped_names(
    org_units: list[OrgUnit], groups: list[ItemGroup], skipped: list[str], settings: Settings
) -> MappedNames:
    return names_of(org_units, groups, settings, skipped)


def test_listed_as_sent() -> None:
    mapped = mapped_names([org_unit(1, "Kamo")], [group(255)], ["store Old: disabled"], SINGLE)
    assert mapped.model_dump(mode="json") == {
        "stores": [["Kamo", "S00001", "OU00001"]],
        "items": [["Amoxicillin 250mg tabs", "I00255", ["SOH_000000ff"]]],
        "more_stores": 0,
        "more_items": 0,
        "skipped": ["store Old: disabled"],
        "more_skipped": 0,
        "notes": [],
        "skipped_stores": 0,
        "customers": None,
    }


def test_missing_data_element() -> None:
    per_item = settings(
        {"metric": "stock_on_hand", "custom_field_name": "user_field_1"},
        {"metric": "issued", "custom_field_name": "user_field_2"},
        setup="data_element_per_item",
        item_field_reference=None,
    )
    item = Item("1", "A", "Amoxicillin", {"user_field_2": "ISS_A"})
    mapped = mapped_names([], [ItemGroup(None, (item,))], [], per_item)
    assert mapped.items[0].data_elements == (None, "ISS_A")
    sent = mapped.model_dump_json(exclude_none=True)
    assert MappedNames.model_validate_json(sent) == mapped


@pytest.mark.parametrize("name", ["Mangawhai Community Clinic and Dispensary (North)", "មណ្ឌលសុខភាព ភូមិថ្មី"])
def test_ten_thousand_stores(name: str) -> None:
    mapped = mapped_names([org_unit(number, name) for number in range(10_000)], [group(1)], [], SINGLE)
    assert len(mapped.stores) == 10_000
    assert mapped.more_stores == 0
    assert len(json.dumps(mapped.model_dump(mode="json"))) < LAMBDA_CARRIES


def test_long_list_is_cut() -> None:
    long = "x" * 1_000
    mapped = mapped_names(
        [org_unit(number, long) for number in range(4_000)],
        [group(number, long) for number in range(4_000)],
        [f"store {long}: disabled" for _ in range(4_000)],
        SINGLE,
    )
    assert 0 < len(mapped.stores) < 4_000
    assert len(mapped.stores) + mapped.more_stores == 4_000
    assert len(mapped.items) + mapped.more_items == 4_000
    assert len(mapped.skipped) == SENTENCES
    assert len(mapped.skipped) + mapped.more_skipped == 4_000
    assert len(json.dumps(mapped.model_dump(mode="json")["stores"])) < BYTES_OF_A_LIST + 10_000
    assert len(json.dumps(mapped.model_dump(mode="json"))) < LAMBDA_CARRIES
