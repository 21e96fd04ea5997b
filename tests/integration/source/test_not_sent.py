"""Whoever is not sent can be found, and is told why when asked for."""

import json
from pathlib import Path

import pytest

from msupply_dhis2.compute.event import ComputeEvent
from msupply_dhis2.compute.mapped import check_database
from msupply_dhis2.compute.plan import RunPlan, make_run_plan, read_mapped
from msupply_dhis2.errors import EventError, SourceError
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.source.connection import Verification
from tests.support.open_msupply_database import OpenMsupplyDatabase, read_catalogue


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
    with database.open() as source:
        asked = ComputeEvent.model_validate({"manual": True, **event})
        return make_run_plan(asked, chosen, read_mapped(source, chosen, chosen.active_rows))


def test_store(database: OpenMsupplyDatabase) -> None:
    database.add_store("KAMO-2", is_disabled=True)
    database.add_store("OPUA", {})
    database.add_store("GONE", {}, is_disabled=True)
    database.add_store("TAKA", {"Dhis2Code": "no uid"})
    with pytest.raises(EventError) as refusal:
        plan(database, settings(), stores=["kamo-2", "Opua clinic", "GONE", "Kamo clinik"])
    assert str(refusal.value).splitlines() == [
        "stores: The store KAMO-2 clinic (KAMO-2) is in mSupply, but it is not sent: it is disabled in mSupply.",
        (
            "stores: The store OPUA clinic (OPUA) is in mSupply, but it is not sent: it has no value in the custom field 'Dhis2Code' "
            "(Store field reference)."
        ),
        "stores: The store GONE clinic (GONE) is in mSupply, but it is not sent: it is disabled in mSupply.",
        "stores: 'Kamo clinik' is not among the stores that are sent. Did you mean 'KAMO clinic'?",
    ]
    database.add_store("REAL", {"Dhis2Code": "a0123456789"})
    with pytest.raises(
        EventError,
        match=r"^stores: The store TAKA clinic \(TAKA\) is in mSupply, but it is not sent: 'no uid' in",
    ):
        plan(database, settings(org_unit_scheme="uid"), stores=["TAKA"])


def test_item(database: OpenMsupplyDatabase) -> None:
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
            "items: The item amoxicillin 500 tabs (amoxicillin 500) is in mSupply, but it is not sent: it has no value in the universal "
            "code."
        ),
        "items: The item transport tabs (transport) is in mSupply, but it is not sent: its type is service, not stock.",
        "items: The item old tabs (old) is in mSupply, but it is not sent: it is inactive in mSupply.",
        (
            "items: The item zinc tabs (zinc) is in mSupply, but it is not sent: it is not ticked in user_field_4 (Include in DHIS2 data "
            "push)."
        ),
    ]


def test_all_are_counted(database: OpenMsupplyDatabase) -> None:
    database.add_store("KAMO-2", {"Dhis2Code": "OU_KAMO"})
    database.add_store("OPUA", {"DHIS2 code": "OU_OPUA"})
    database.add_store("GONE", {}, is_disabled=True)
    database.add_store("TORN", {})
    database.execute("UPDATE sync_buffer SET data = '{' WHERE record_id = 'store-TORN'")
    database.add_item("zinc", universal_code="", record="{")
    warnings = plan(database, settings()).mapped.warnings(settings())
    assert warnings == (
        (
            "Include in DHIS2 data push (include_field) is not set: the only item with an identifier is sent. Fields that look "
            "like its checkbox: user_field_4 (1 ticked)."
        ),
        (
            "Active stores without a value in Dhis2Code, which are not sent: 2, namely OPUA clinic (OPUA), TORN clinic (TORN). "
            "There is a field 'DHIS2 code' that looks like it. Before character 6: nothing in the settings, a space in "
            "mSupply. Capital and small letters differ, first at character 2."
        ),
        "Items without a value in universal_code, which are not sent: 1, namely zinc tabs (zinc).",
        (
            "Stores that share an org unit count as one: KAMO clinic (KAMO) and KAMO-2 clinic (KAMO-2) share "
            "OU_KAMO."
        ),
        "Stores whose custom fields cannot be read (broken JSON), so they count as empty: TORN clinic (TORN).",
        (
            "Items whose fields cannot be read (broken JSON in item.legacy_record or item.custom_fields), so they count as "
            "empty: zinc tabs (zinc)."
        ),
    )


def test_connection_test(database: OpenMsupplyDatabase) -> None:
    database.add_store("OPUA", {})
    database.add_item("zinc", universal_code="")
    answer = check_database(database.open, settings(include_field="user_field_4"), Verification.NOT_NEEDED)
    assert answer.mapped is not None
    assert answer.mapped.notes == ("Active stores without a value in Dhis2Code, which are not sent: 1.",)
    assert answer.mapped.skipped_stores == 1
    assert answer.mapped.skipped == (
        "store OPUA clinic (OPUA): it has no value in the custom field 'Dhis2Code' (Store field reference)",
    )


def test_no_sync_buffer(database: OpenMsupplyDatabase) -> None:
    database.execute("DROP TABLE sync_buffer")
    with pytest.raises(
        SourceError, match="lacks the table sync_buffer, where releases up to 2 keep custom fields"
    ):
        plan(database, settings())
    database.execute("""UPDATE name SET custom_data = '{"Dhis2Code": "OU"}'""")
    assert any(
        "lacks the table sync_buffer" in warning
        for warning in plan(database, settings()).mapped.warnings(settings())
    )


@pytest.mark.parametrize(
    ("record", "ticks"),
    [
        ({"user_field_4": 1, "user_field_5": 1}, {"user_field_4": 1}),
        (
            {"user_field_7": True, "custom_data": {"push": "true", "other": False}},
            {"user_field_7": 1, "push": 1},
        ),
        ({"custom_data": {"packs": 1}}, {}),
    ],
)
def test_ticked_field(tmp_path: Path, record: object, ticks: dict[str, int]) -> None:
    database = OpenMsupplyDatabase(f"sqlite:///{tmp_path / 'msupply.sqlite'}")
    database.add_store("KAMO")
    database.add_item("amoxicillin", record=record)
    database.add_item("not sent", universal_code="", record=record)
    with database.open() as source:
        assert read_catalogue(source).ticks == ticks
