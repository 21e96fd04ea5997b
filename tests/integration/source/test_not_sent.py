"""Whoever is not sent can be found, and is told why when asked for."""

import json
from pathlib import Path

import pytest

from msupply_dhis2.compute.event import ComputeEvent
from msupply_dhis2.compute.plan import RunPlan, make_run_plan
from msupply_dhis2.errors import EventError
from msupply_dhis2.periods import Basis
from msupply_dhis2.settings import Settings, parse_settings
from tests.support.open_msupply_database import OpenMsupplyDatabase


@pytest.fixture
def database(tmp_path: Path) -> OpenMsupplyDatabase:
    database = OpenMsupplyDatabase(f"sqlite:///{tmp_path / 'msupply.sqlite'}")
    database.add_store("KAMO")
    database.add_item("amoxicillin", record={"user_field_4": True})
    return database


def settings(**changes: object) -> Settings:
    row = {"active": True, "interval": "monthly", "basis": "current_day", "metric": "stock_on_hand"}
    document = {
        "use_dhis2": True,
        "url": "https://dhis2.example.org",
        "setup": "single_data_element",
        "data_elements": [row],
        "data_set_id": "STOCK",
        "data_set_id_scheme": "code",
        "period_format": "YYYYMM",
        "item_field_reference": "universal_code",
        "data_element_id_scheme": "code",
        "org_unit_scheme": "code",
        **changes,
    }
    return parse_settings(json.dumps(document))


def plan(database: OpenMsupplyDatabase, chosen: Settings, **event: object) -> RunPlan:
    rows = [(row, Basis.CURRENT_DAY) for row in chosen.active_rows]
    with database.open() as source:
        asked = ComputeEvent.model_validate({"manual": True, **event})
        return make_run_plan(asked, rows, settings=chosen, source=source)


def test_a_store_that_is_asked_for_and_not_sent_is_told_why(database: OpenMsupplyDatabase) -> None:
    database.add_store("KAMO-2", is_disabled=True)
    database.add_store("OPUA", {})
    database.add_store("GONE", {}, is_disabled=True)
    database.add_store("TAKA", {"Dhis2Code": "no uid"})
    with pytest.raises(EventError) as refusal:
        plan(database, settings(), stores=["kamo-2", "Opua clinic", "GONE", "Kamo clinik"])
    assert str(refusal.value).splitlines() == [
        "stores: KAMO-2 clinic (KAMO-2) is in mSupply and is not sent: it is disabled in mSupply.",
        (
            "stores: OPUA clinic (OPUA) is in mSupply and is not sent: it has no value in the custom field 'Dhis2Code' "
            "(Store field reference)."
        ),
        "stores: GONE clinic (GONE) is in mSupply and is not sent: it is disabled in mSupply.",
        "stores: 'Kamo clinik' is none of the stores that are sent. Did you mean 'KAMO clinic'?",
    ]
    database.add_store("REAL", {"Dhis2Code": "a0123456789"})
    with pytest.raises(
        EventError, match=r"^stores: TAKA clinic \(TAKA\) is in mSupply and is not sent: 'no uid' in"
    ):
        plan(database, settings(org_unit_scheme="uid"), stores=["TAKA"])


def test_an_item_that_is_asked_for_and_not_sent_is_told_why(database: OpenMsupplyDatabase) -> None:
    database.add_item("amoxicillin 500", record={"user_field_4": True}, universal_code="")
    database.add_item("transport", type="SERVICE", record={"user_field_4": True})
    database.add_item("old", is_active=False, record={"user_field_4": True})
    database.add_item("zinc")
    with pytest.raises(EventError) as refusal:
        plan(
            database,
            settings(include_field="user_field_4"),
            items=["amoxicillin 500", "transport tabs", "OLD", "zinc"],
        )
    assert str(refusal.value).splitlines() == [
        (
            "items: amoxicillin 500 tabs (amoxicillin 500) is in mSupply and is not sent: it has no value in the universal "
            "code."
        ),
        "items: transport tabs (transport) is in mSupply and is not sent: its type is service, not stock.",
        "items: old tabs (old) is in mSupply and is not sent: it is inactive in mSupply.",
        (
            "items: zinc tabs (zinc) is in mSupply and is not sent: it is not ticked in user_field_4 (Include in DHIS2 data "
            "push)."
        ),
    ]
