"""The rules of docs/msupply.md, each on both kinds of database."""

import collections
import itertools
import json
import re
import tracemalloc
from datetime import date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.domain.stock import (
    MICRO,
    ConsumptionPreferences,
    GroupHistory,
    ItemGroup,
    Kind,
    MovementKind,
    OrgUnit,
    PairHistory,
    Skipped,
    StockLine,
)
from msupply_dhis2.errors import SourceError
from msupply_dhis2.metrics.quantity import to_units
from msupply_dhis2.source import merge as histories
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.connection import open_database
from msupply_dhis2.source.queries import Scope
from sandbox.postgres import TemporaryPostgres
from tests.support.laws import tried
from tests.support.open_msupply_database import (
    INSTANTS,
    OpenMsupplyDatabase,
    data_warnings,
    pairs_by_code,
    read_catalogue,
    scope_of,
)

FLOOR = datetime(2022, 3, 31, 11)  # noqa: DTZ001 - instants of a source are naive, in UTC
EARLY = "2021-05-06 07:08:09"
LATE = "2022-04-05 06:07:08"
FAR_BACK = datetime(2000, 1, 1)  # noqa: DTZ001 - as above


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> OpenMsupplyDatabase:
    if request.param == "sqlite":
        return OpenMsupplyDatabase(f"sqlite:///{tmp_path}/msupply.sqlite")
    server: TemporaryPostgres = request.getfixturevalue("postgres")
    return OpenMsupplyDatabase(server.url)


@pytest.fixture
def kamo(database: OpenMsupplyDatabase) -> str:
    return database.add_store("KAMO")


@pytest.fixture
def amoxicillin(database: OpenMsupplyDatabase) -> str:
    return database.add_item("amoxicillin")


# Which stores are sent


@pytest.mark.usefixtures("amoxicillin")
def test_store(database: OpenMsupplyDatabase) -> None:
    database.add_store("KAMO")
    with database.open() as source:
        (store,) = read_catalogue(source).stores
    assert (store.id, store.code, store.name, store.org_unit) == (
        "store-KAMO",
        "KAMO",
        "KAMO clinic",
        "OU_KAMO",
    )
    assert store.look_back_months is None


@pytest.mark.usefixtures("amoxicillin")
def test_first_filled_place(database: OpenMsupplyDatabase) -> None:
    places = {
        "A": ({"Dhis2Code": " first "}, {"Dhis2Code": "second"}, {"Dhis2Code": "third"}),
        "B": ({"Dhis2Code": {"data": " "}}, {"Dhis2Code": {"data": "second"}}, {"Dhis2Code": "third"}),
        "C": ({}, {"Dhis2Code": None}, {"Dhis2Code": 303}),
        "D": ({}, {}, {"Dhis2Code": ""}),
        "E": ({}, {}, {"dhis2code": "spelt otherwise"}),
    }
    for code, (record, properties, custom_data) in places.items():
        database.add_store(code, record)
        database.execute(
            f"UPDATE name SET properties = '{json.dumps(properties)}', custom_data = '{json.dumps(custom_data)}' "  # noqa: S608
            f"WHERE id = 'name-of-{code}'"
        )
    with database.open() as source:
        stores = read_catalogue(source).stores
    assert {store.code: store.org_unit for store in stores} == {"A": "first", "B": "second", "C": "303"}


@pytest.mark.usefixtures("amoxicillin")
def test_nested_text(database: OpenMsupplyDatabase) -> None:
    database.add_store("KAMO", json.dumps({"Dhis2Code": {"data": "OU_1"}}))
    with database.open() as source:
        assert [store.org_unit for store in read_catalogue(source).stores] == ["OU_1"]


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_own_record_only(database: OpenMsupplyDatabase) -> None:
    database.execute("UPDATE sync_buffer SET table_name = 'item'")
    database.add_store("OPUA")
    with database.open() as source:
        assert [store.code for store in read_catalogue(source).stores] == ["OPUA"]


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_broken_store_record(
    database: OpenMsupplyDatabase,
) -> None:
    database.execute("UPDATE sync_buffer SET data = '{'")
    database.execute("""UPDATE name SET properties = '{"Dhis2Code": "elsewhere"}'""")
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert [store.org_unit for store in catalogue.stores] == ["elsewhere"]
    assert [warning for warning in catalogue.warnings if "KAMO" in warning]


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_disabled_store(database: OpenMsupplyDatabase) -> None:
    database.add_store("OPUA", is_disabled=True)
    database.add_store("nowhere", {}, is_disabled=True)
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert [store.code for store in catalogue.stores] == ["KAMO"]
    assert catalogue.skipped == (Skipped(Kind.STORE, "OPUA", "OPUA clinic", "it is disabled in mSupply"),)


@pytest.mark.parametrize(
    ("preferred", "custom", "months"),
    [
        (2.5, "6", Fraction(5, 2)),
        (0, {"data": "6"}, Fraction(6)),
        (None, 6, Fraction(6)),
        (-1, "6", Fraction(6)),
        (0, "0", None),
        (0, "-3", None),
        (0, "", None),
    ],
)
@pytest.mark.usefixtures("amoxicillin")
def test_look_back(
    database: OpenMsupplyDatabase,
    preferred: float | None,
    custom: object,
    months: Fraction | None,
) -> None:
    store = database.add_store("KAMO", {"Dhis2Code": "x", "monthlyConsumptionLookBackPeriod": custom})
    database.add("store_preference", id=store, monthly_consumption_look_back_period=preferred)
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert [store.look_back_months for store in catalogue.stores] == [months]
    assert catalogue.warnings == ()


@pytest.mark.usefixtures("amoxicillin")
def test_unreadable_look_back(database: OpenMsupplyDatabase) -> None:
    database.add_store("KAMO", {"Dhis2Code": "x", "monthlyConsumptionLookBackPeriod": "three"})
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert [store.look_back_months for store in catalogue.stores] == [None]
    assert "KAMO" in "".join(catalogue.warnings)


@pytest.mark.usefixtures("amoxicillin")
def test_no_mapped_store(database: OpenMsupplyDatabase) -> None:
    database.add_store("KAMO", {})
    with database.open() as source, pytest.raises(SourceError, match=r"No store .* 'Dhis2Code' .* fill in"):
        read_catalogue(source)


@pytest.mark.usefixtures("amoxicillin")
def test_lookalike_field(
    database: OpenMsupplyDatabase,
) -> None:
    database.add_store("KAMO", {"Dhis2\u0421ode": "x", "else": "y"})
    with database.open() as source, pytest.raises(SourceError) as raised:
        read_catalogue(source)
    assert (
        "There is a field 'Dhis2\u0421ode' that looks like it. Character 6 is a LATIN CAPITAL LETTER C (U+0043) in the "
        "settings, a CYRILLIC CAPITAL LETTER ES (U+0421) in mSupply." in str(raised.value)
    )


@pytest.mark.usefixtures("amoxicillin")
def test_all_stores_disabled(database: OpenMsupplyDatabase) -> None:
    database.add_store("KAMO", is_disabled=True)
    with database.open() as source, pytest.raises(SourceError, match="disabled"):
        read_catalogue(source)


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_deleted_record(database: OpenMsupplyDatabase) -> None:
    database.add_store("OPUA")
    database.execute("UPDATE sync_buffer SET action = 'DELETE' WHERE record_id = 'store-KAMO'")
    with database.open() as source:
        assert [store.code for store in read_catalogue(source).stores] == ["OPUA"]


# The custom fields of release 3


def named(org_unit: object) -> dict[str, object]:
    return {"custom_data": {"Dhis2Code": {"data": org_unit}}}


@pytest.mark.parametrize(
    ("log", "org_unit"),
    [
        pytest.param([named("OU_Z"), named("OU_A")], "OU_A", id="corrected"),
        pytest.param([named("OU_A"), named("OU_Z")], "OU_Z", id="corrected, the other way round"),
        pytest.param([named("OU_A"), named("")], "elsewhere", id="emptied"),
        pytest.param([named("OU_A"), {"custom_data": {}}], "elsewhere", id="taken away"),
        pytest.param([named("OU_A"), {"code": "KAMO"}], "OU_A", id="without custom data"),
        pytest.param([named("OU_A"), {"custom_data": None}], "OU_A", id="null"),
        pytest.param([named("OU_A"), {"custom_data": " "}], "OU_A", id="empty text"),
        pytest.param([named("OU_A"), {"custom_data": "null"}], "OU_A", id="null as text"),
        pytest.param([named("OU_A"), {"custom_data": json.dumps({"Dhis2Code": "B"})}], "B", id="as text"),
        pytest.param([named("OU_A"), ("UPSERT", named("OU_B"), False)], "OU_A", id="not integrated"),
        pytest.param([named("OU_A"), ("DELETE", {}, True)], "elsewhere", id="deleted"),
        pytest.param([named("OU_A"), ("DELETE", {}, False)], "OU_A", id="not deleted yet"),
        pytest.param(
            [named("OU_A"), ("DELETE", {}, True), named("OU_B")], "OU_B", id="deleted and made anew"
        ),
        pytest.param(
            [named("OU_A"), ("DELETE", {}, True), {"code": "KAMO"}], "elsewhere", id="made anew without"
        ),
        pytest.param([named("OU_A"), ("MERGE", {"mergeIdToKeep": "x"}, True)], "OU_A", id="merged"),
    ],
)
@pytest.mark.usefixtures("amoxicillin")
def test_latest_record(database: OpenMsupplyDatabase, log: list[Any], org_unit: str) -> None:
    database.upgrade_to_3()
    database.add("name", id="name-of-KAMO", name="Kamo", properties=json.dumps({"Dhis2Code": "elsewhere"}))
    database.add("name_link", id="name-of-KAMO", name_id="name-of-KAMO")
    store = database.add("store", id="store-KAMO", name_link_id="name-of-KAMO", code="KAMO")
    database.log(store, named("of an item"), table="item")
    for entry in log:
        action, data, integrated = entry if isinstance(entry, tuple) else ("UPSERT", entry, True)
        database.log(store, data, action=action, integrated=integrated)
        database.log("another", named("of another"))
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert [store.org_unit for store in catalogue.stores] == [org_unit]
    assert catalogue.warnings == ()


@pytest.mark.parametrize("broken", ["{", {"custom_data": "{"}])
@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_broken_latest_record(database: OpenMsupplyDatabase, broken: object) -> None:
    database.add_store("OPUA")
    database.upgrade_to_3()
    database.log("store-KAMO", broken)
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert [store.code for store in catalogue.stores] == ["OPUA"]
    (warning,) = catalogue.warnings
    assert (
        warning
        == "Stores whose custom fields cannot be read (broken JSON), so they count as empty: KAMO clinic (KAMO)."
    )


@pytest.mark.usefixtures("amoxicillin")
def test_custom_field_of_store(
    database: OpenMsupplyDatabase,
) -> None:
    for code in "ABCDE":
        database.add_store(code, {"Dhis2Code": "record"} if code == "A" else {})
    database.upgrade_to_3()
    database.execute("""UPDATE name SET custom_data = '{"Dhis2Code": "last"}'""")
    database.execute("""UPDATE name SET properties = '{"Dhis2Code": "properties"}' WHERE id = 'name-of-B'""")
    for code in "ABC":
        database.set_custom_fields(
            "name", f"name-of-{code}", {"Dhis2Code": "fields", "monthlyConsumptionLookBackPeriod": 6}
        )
    database.set_custom_fields("name", "name-of-D", {"Dhis2Code": " "})
    with database.open() as source:
        stores = read_catalogue(source).stores
    assert {store.code: (store.org_unit, store.look_back_months) for store in stores} == {
        "A": ("record", 6),
        "B": ("properties", 6),
        "C": ("fields", 6),
        "D": ("last", None),
        "E": ("last", None),
    }


@pytest.mark.usefixtures("amoxicillin")
def test_custom_fields_only(
    database: OpenMsupplyDatabase,
) -> None:
    store = database.add_store("KAMO", {})
    for code in ("yes", "no"):
        database.add_item(code, universal_code=None)
    database.upgrade_to_3()
    database.execute("DELETE FROM sync_buffer")
    database.define_field("b_key", "Dhis2Code", "customer")
    database.define_field("d_key", "Dhis2Code", "customer")
    database.define_field("a_key", "Dhis2Code", "customer", deleted=EARLY)
    database.define_field("a_of_item", "Dhis2Code", "item")
    database.define_field("months", "monthlyConsumptionLookBackPeriod", "supplier")
    database.define_field("class", "DHIS2 class", "item", options={"opt-1": "Class A", "opt-2": "Class B"})
    database.define_field("push", "Include in DHIS2", "item")
    database.set_custom_fields(
        "name",
        f"name-of-{store.removeprefix('store-')}",
        {"a_key": "deleted", "a_of_item": "of an item", "b_key": "OU", "d_key": "second", "months": 5},
    )
    database.set_custom_fields(
        "item", "item-yes", {"user_field_1": "one", "class": "opt-2", "push": True, "user_field_5": 0}
    )
    database.set_custom_fields("item", "item-no", {"user_field_1": "two", "class": "opt-9", "push": False})
    fields = ("user_field_1", "user_field_5", "DHIS2 class")
    with database.open() as source:
        catalogue = read_catalogue(source, fields=fields)
        ticked = read_catalogue(source, fields=fields, include="Include in DHIS2")
    assert [(store.org_unit, store.look_back_months) for store in catalogue.stores] == [("OU", Fraction(5))]
    assert {item.code: item.fields for item in catalogue.items} == {
        "yes": {"user_field_1": "one", "DHIS2 class": "Class B"},
        # Of an option that is not there the id is all there is.
        "no": {"user_field_1": "two", "DHIS2 class": "opt-9"},
    }
    assert [item.code for item in ticked.items] == ["yes"]
    assert (catalogue.warnings, ticked.items_not_included) == ((), 1)


@pytest.mark.usefixtures("kamo")
def test_key_before_name(database: OpenMsupplyDatabase) -> None:
    database.add_item("a", universal_code=None)
    database.upgrade_to_3()
    database.define_field("code", "a name", "item")
    database.define_field("another", "code", "item")
    database.set_custom_fields("item", "item-a", {"code": "by key", "another": "by name"})
    with database.open() as source:
        (item,) = read_catalogue(source, fields=("code",)).items
    assert item.fields == {"code": "by key"}


@pytest.mark.usefixtures("kamo")
def test_item_record_fallback(database: OpenMsupplyDatabase) -> None:
    record = {"user_field_1": "record", "user_field_4": True, "custom_data": {"dhis2": "record"}}
    for code in ("filled in", "empty"):
        database.add_item(code, record=record, universal_code=None)
    database.upgrade_to_3()
    database.set_custom_fields("item", "item-filled in", {"user_field_1": "fields", "dhis2": "fields"})
    database.set_custom_fields(
        "item", "item-empty", {"user_field_1": "", "dhis2": None, "user_field_4": False}
    )
    fields = ("user_field_1", "dhis2")
    with database.open() as source:
        items = read_catalogue(source, fields=fields).items
        # A tick that is off is a value, and the record is not asked.
        ticked = read_catalogue(source, fields=fields, include="user_field_4").items
    assert {item.code: set(item.fields.values()) for item in items} == {
        "filled in": {"fields"},
        "empty": {"record"},
    }
    assert [item.code for item in ticked] == ["filled in"]


# Which items are sent

RECORD = {
    "universalcodes_code": "of the record",
    "user_field_1": " one ",
    "user_field_5": 0,
    "custom_data": {"dhis2": {"data": "custom"}},
}


@pytest.mark.usefixtures("kamo")
def test_item_fields(database: OpenMsupplyDatabase) -> None:
    database.add_item("a", record=RECORD, universal_code=" of the column ")
    fields = ("universal_code", "user_field_1", "user_field_2", "user_field_5", "dhis2", "other")
    with database.open() as source:
        (item,) = read_catalogue(source, fields=fields).items
    assert (item.id, item.code, item.name) == ("item-a", "a", "a tabs")
    assert item.fields == {"universal_code": "of the column", "user_field_1": "one", "dhis2": "custom"}


@pytest.mark.parametrize("blank", [None, "", "  "])
@pytest.mark.usefixtures("kamo")
def test_blank_universal_code(database: OpenMsupplyDatabase, blank: str | None) -> None:
    database.add_item("a", record=RECORD, universal_code=blank)
    with database.open() as source:
        (item,) = read_catalogue(source).items
    assert item.fields == {"universal_code": "of the record"}


@pytest.mark.usefixtures("kamo")
def test_universal_code_before_2_16(database: OpenMsupplyDatabase) -> None:
    database.add_item("a", record=RECORD)
    database.execute("ALTER TABLE item DROP COLUMN universal_code")
    with database.open() as source:
        (item,) = read_catalogue(source).items
    assert item.fields == {"universal_code": "of the record"}


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_missing_options(database: OpenMsupplyDatabase) -> None:
    for column in (
        "name DROP COLUMN properties",
        "name DROP COLUMN custom_data",
        "store DROP COLUMN is_disabled",
    ):
        database.execute(f"ALTER TABLE {column}")
    for table in ("preference", "store_preference"):
        database.execute(f"DROP TABLE {table}")
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert len(catalogue.stores) == 1
    assert catalogue.preferences == ConsumptionPreferences()


@pytest.mark.usefixtures("kamo")
def test_broken_item_record(
    database: OpenMsupplyDatabase,
) -> None:
    database.add_item("broken", record="{", universal_code="1")
    database.add_item("empty", record="", universal_code="2")
    database.add_item("nested", record={"custom_data": "{"}, universal_code="3")
    with database.open() as source:
        catalogue = read_catalogue(source, fields=("universal_code", "user_field_1", "key"))
    assert [item.fields for item in catalogue.items] == [
        {"universal_code": "1"},
        {"universal_code": "2"},
        {"universal_code": "3"},
    ]
    (warning,) = catalogue.warnings
    assert "broken tabs (broken), nested tabs (nested)." in warning


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_skipped_items(
    database: OpenMsupplyDatabase,
) -> None:
    database.add_item("inactive", is_active=False)
    database.add_item("transport", type="SERVICE")
    database.add_item("chair", type="NON_STOCK")
    database.add_item("inactive and not mapped", is_active=False, universal_code="")
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert [item.code for item in catalogue.items] == ["amoxicillin"]
    assert {(each.code, each.reason) for each in catalogue.skipped} == {
        ("inactive", "it is inactive in mSupply"),
        ("transport", "its type is service, not stock"),
        ("chair", "its type is non-stock, not stock"),
    }


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_items_without_reference(database: OpenMsupplyDatabase) -> None:
    database.add_item("unmapped", universal_code=None)
    database.add_item("unmapped service", universal_code=None, type="SERVICE")
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert [each.code for each in catalogue.blank(Kind.ITEM)] == ["unmapped"]
    assert catalogue.skipped == ()


@pytest.mark.parametrize(
    ("include_field", "ticked", "other"),
    [
        ("user_field_4", {"user_field_4": True}, {"user_field_4": False}),
        ("user_field_7", {"user_field_7": 1}, {"custom_data": {"user_field_7": True}}),
        ("push", {"custom_data": {"push": "True"}}, {"push": "True"}),
        ("push", {"custom_data": json.dumps({"push": "true"})}, {"custom_data": {"push": "yes"}}),
    ],
)
@pytest.mark.usefixtures("kamo")
def test_include_field(
    database: OpenMsupplyDatabase, include_field: str, ticked: object, other: object
) -> None:
    database.add_item("ticked", record=ticked)
    database.add_item("other", record=other)
    database.add_item("other and inactive", record=other, is_active=False)
    with database.open() as source:
        catalogue = read_catalogue(source, include=include_field)
    assert [item.code for item in catalogue.items] == ["ticked"]
    assert catalogue.items_not_included == 2
    assert catalogue.skipped == ()


@pytest.mark.usefixtures("kamo")
def test_merged_item_not_sent(database: OpenMsupplyDatabase, amoxicillin: str) -> None:
    merged = database.add_item("old amoxicillin")
    database.execute(f"UPDATE item_link SET item_id = '{amoxicillin}' WHERE id = '{merged}'")  # noqa: S608
    with database.open() as source:
        assert [item.code for item in read_catalogue(source).items] == ["amoxicillin"]


@pytest.mark.usefixtures("kamo")
def test_no_item_reference(
    database: OpenMsupplyDatabase,
) -> None:
    database.add_item("a", universal_code="", record={"user_field_2": " "})
    with (
        database.open() as source,
        pytest.raises(SourceError, match=r"No item .* universal code or user field 2"),
    ):
        read_catalogue(source, fields=("universal_code", "user_field_2"))


@pytest.mark.usefixtures("kamo")
def test_referenced_items_skipped(database: OpenMsupplyDatabase) -> None:
    database.add_item("a", record={"user_field_4": True}, is_active=False)
    database.add_item("b")
    with (
        database.open() as source,
        pytest.raises(SourceError, match="not ticked in user_field_4: 1; inactive or not of type stock: 1"),
    ):
        read_catalogue(source, include="user_field_4")


# Global preferences


@pytest.mark.usefixtures("amoxicillin")
def test_preferences(database: OpenMsupplyDatabase, kamo: str) -> None:
    database.add("preference", key="days_in_month", value="30", store_id=None)
    database.add("preference", key="adjust_for_number_of_days_out_of_stock", value="true", store_id=None)
    database.add("preference", key="days_in_month", value="31", store_id=kamo)
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert catalogue.preferences == ConsumptionPreferences(Fraction(30), adjust_for_days_out_of_stock=True)
    assert catalogue.warnings == ()


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_unreadable_preferences(database: OpenMsupplyDatabase) -> None:
    database.add("preference", key="days_in_month", value="thirty", store_id=None)
    database.add("preference", key="adjust_for_number_of_days_out_of_stock", value="{", store_id=None)
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert catalogue.preferences == ConsumptionPreferences()
    assert len(catalogue.warnings) == 2


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_zero_days_in_month(database: OpenMsupplyDatabase) -> None:
    database.add("preference", key="days_in_month", value="0", store_id=None)
    with database.open() as source:
        assert read_catalogue(source).preferences == ConsumptionPreferences()


# Stock lines


def test_stock_lines(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    line = database.add_stock(
        kamo,
        amoxicillin,
        2.5,
        pack_size=100,
        expiry_date="2024-02-29",
        on_hold=True,
        available_number_of_packs=0,
    )
    other = database.add_stock(kamo, amoxicillin, -3)
    with database.open() as source:
        pair = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"]
    assert pair.stock_lines == [
        StockLine(line, 250 * MICRO, date(2024, 2, 29)),
        StockLine(other, -3 * MICRO, None),
    ]
    assert (pair.movements, pair.first_in, pair.units_before_floor) == ([], None, 0)


def test_stock_without_pack_size(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    database.add_stock(kamo, amoxicillin, 5, pack_size=0)
    database.add_stock(kamo, amoxicillin, 0, pack_size=0)
    with database.open() as source:
        pair = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"]
        (warning,) = data_warnings(source)
    assert [line.units for line in pair.stock_lines] == [0, 0]
    assert warning.startswith("Stock lines without a pack size count as 0 units: 2")
    assert "(with packs: 1)" in warning


# Movements


@pytest.mark.parametrize("kind", INSTANTS)
def test_invoice_types(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str, kind: str) -> None:
    others = dict.fromkeys(set(INSTANTS.values()) - {INSTANTS[kind]}, "2022-04-01 00:00:00")
    line = database.add_stock(kamo, amoxicillin, 0)
    invoice = database.add_invoice(kamo, kind, LATE, **others)
    database.add_line(invoice, amoxicillin, 2, pack_size=10, stock_line_id=line)
    database.add_line(invoice, amoxicillin, -0.5, pack_size=10)
    with database.open() as source:
        movements = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"].movements
        assert data_warnings(source) == ()
    at = datetime.fromisoformat(LATE)
    assert sorted(movements, key=lambda movement: movement.units) == [
        (at, MovementKind(kind.lower()), -5 * MICRO, None),
        (at, MovementKind(kind.lower()), 20 * MICRO, line),
    ]


@pytest.mark.parametrize("kind", INSTANTS)
def test_no_instant(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str, kind: str) -> None:
    others = dict.fromkeys(set(INSTANTS.values()) - {INSTANTS[kind]}, LATE)
    moved = database.add_invoice(kamo, kind, **others, status="VERIFIED", invoice_number=4711)
    new = database.add_invoice(kamo, kind, **others, status="NEW", invoice_number=4712)
    for invoice in (moved, new):
        database.add_line(invoice, amoxicillin, 1)
    database.add_stock(kamo, amoxicillin, 1)
    with database.open() as source:
        pair = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"]
        (warning,) = data_warnings(source)
    assert (pair.movements, pair.first_in, pair.units_before_floor) == ([], None, 0)
    assert warning.endswith(f": 1, namely KAMO {kind.lower().replace('_', ' ')} 4711.")


def test_delivered_is_not_stock(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    for status in ("SHIPPED", "DELIVERED"):
        invoice = database.add_invoice(kamo, "INBOUND_SHIPMENT", status=status, delivered_datetime=LATE)
        database.add_line(invoice, amoxicillin, 1)
    with database.open() as source:
        assert pairs_by_code(source, FLOOR) == {}
        assert data_warnings(source) == ()


@pytest.mark.usefixtures("amoxicillin")
def test_many_invoices(database: OpenMsupplyDatabase, kamo: str) -> None:
    for number in range(1, 24):
        database.add_invoice(kamo, "REPACK", invoice_number=number)
    with database.open() as source:
        pairs_by_code(source, FLOOR)
        (warning,) = data_warnings(source)
    assert ": 23, namely " in warning
    assert warning.endswith("KAMO repack 20 and 3 more.")


def test_status_and_hold(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    invoice = database.add_invoice(kamo, "PRESCRIPTION", LATE, status="NEW", on_hold=True)
    database.add_line(invoice, amoxicillin, -1)
    with database.open() as source:
        assert len(pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"].movements) == 1


def test_line_types(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    invoice = database.add_invoice(kamo, "OUTBOUND_SHIPMENT", LATE)
    database.add_line(invoice, amoxicillin, 1, line="UNALLOCATED_STOCK")
    database.add_line(invoice, amoxicillin, 1, line="SERVICE")
    database.add_line(invoice, amoxicillin, 0, line="STOCK_IN")
    database.add(
        "invoice_line", invoice_id=invoice, item_link_id=amoxicillin, type="STOCK_OUT", number_of_packs=-1
    )
    with database.open() as source:
        assert pairs_by_code(source, FLOOR) == {}


def test_cancelled_prescription(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    original = database.add_invoice(kamo, "PRESCRIPTION", LATE, status="CANCELLED")
    database.add_line(original, amoxicillin, -7)
    reverse = database.add_invoice(kamo, "PRESCRIPTION", "2022-04-06 00:00:00", is_cancellation=True)
    database.add_line(reverse, amoxicillin, 7)
    with database.open() as source:
        movements = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"].movements
    assert [(movement.kind, movement.units) for movement in movements] == [
        (MovementKind.PRESCRIPTION, 7 * MICRO),
        (MovementKind.PRESCRIPTION, -7 * MICRO),
    ]


BEGAN = datetime(2022, 4, 5, 6, 30, 0, 500_000)  # noqa: DTZ001 - naive, in UTC
TODAY = datetime(2022, 4, 4, 12)  # noqa: DTZ001 - the midnight that begins 5 April in Auckland
UNREADABLE = {"sqlite": "the day before", "postgresql": "-infinity"}


def instants_and_warnings(
    database: OpenMsupplyDatabase, floor: datetime = FAR_BACK
) -> tuple[list[tuple[datetime, int]], PairHistory, tuple[str, ...]]:
    with database.open(began=BEGAN) as source:
        pair = pairs_by_code(source, floor)["KAMO", "amoxicillin"]
        return [(each.instant, each.units // MICRO) for each in pair.movements], pair, data_warnings(source)


@pytest.mark.parametrize(
    ("instant", "created", "counts_at"),
    [
        ("2022-04-05 06:30:00.500001", "2022-04-05 06:00:00.25", "2022-04-05 06:00:00.25"),
        ("2022-04-05 06:30:01", "2022-04-05T06:30:00.5", "2022-04-05 06:30:00.5"),
        ("2022-04-05T11:59:00", "2022-04-05 06:30:00.50001", TODAY.isoformat()),
        ("2022-04-06", "2022-04-05", "2022-04-05"),
        ("2027-01-01 00:00:00", "2027-01-01 00:00:00", TODAY.isoformat()),
        ("2027-01-01 00:00:00", "2021-05-06 07:08:09", "2021-05-06 07:08:09"),
        ("2027-01-01 00:00:00", None, TODAY.isoformat()),
    ],
)
def test_future_date(
    database: OpenMsupplyDatabase,
    kamo: str,
    amoxicillin: str,
    instant: str,
    created: str | None,
    counts_at: str,
) -> None:
    created = UNREADABLE[database.engine.dialect.name] if created is None else created
    invoice = database.add_invoice(
        kamo, "PRESCRIPTION", instant, created_datetime=created, invoice_number=4711
    )
    database.add_line(invoice, amoxicillin, -20)
    movements, pair, (warning,) = instants_and_warnings(database)
    assert movements == [(datetime.fromisoformat(counts_at), -20)]
    assert pair.units_before_floor == 0
    assert warning.startswith("Invoices with a date in the future.")
    assert ": 1, namely KAMO prescription 4711. " in warning


@pytest.mark.parametrize("instant", ["2022-04-05 06:30:00.5", "2022-04-05T06:30:00.5000009", "2022-04-05"])
def test_date_until_reading(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str, instant: str) -> None:
    if not database.is_sqlite:
        instant = instant.removesuffix("000009")
    invoice = database.add_invoice(kamo, "INBOUND_SHIPMENT", instant, created_datetime="2022-04-01 00:00:00")
    database.add_line(invoice, amoxicillin, 20)
    movements, _, warnings = instants_and_warnings(database)
    assert movements == [(datetime.fromisoformat(instant), 20)]
    assert warnings == ()


def test_future_date_before_floor(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    invoice = database.add_invoice(
        kamo, "INBOUND_SHIPMENT", "2027-01-01 00:00:00", created_datetime="2021-05-06 07:08:09"
    )
    database.add_line(invoice, amoxicillin, 20)
    movements, pair, _ = instants_and_warnings(database, FLOOR)
    assert movements == []
    assert pair.units_before_floor == 20 * MICRO
    assert pair.first_in == datetime.fromisoformat(EARLY)


@pytest.mark.parametrize(
    ("kind", "original", "created", "counts_at"),
    [
        # Dated back, over midnight and the end of the month; long before; and later than the row that cancels.
        ("PRESCRIPTION", "2022-03-31 10:59:59.999", LATE, "2022-03-31 10:59:59.999"),
        ("PRESCRIPTION", EARLY, LATE, EARLY),
        ("OUTBOUND_SHIPMENT", "2022-04-03 08:00:00", LATE, "2022-04-03 08:00:00"),
        ("INBOUND_SHIPMENT", "2022-04-04 08:00:00", LATE, "2022-04-04 08:00:00"),
        ("INVENTORY_REDUCTION", "2022-04-05 06:30:00.5", LATE, "2022-04-05 06:30:00.5"),
        # Where the rule for what is dated later puts that which is cancelled.
        ("PRESCRIPTION", "2022-04-05 11:59:00", LATE, LATE),
        ("PRESCRIPTION", "2022-04-05 11:59:00", "2022-04-05 11:59:00", TODAY.isoformat()),
        # By its own instant, where that which is cancelled has none, or does not say what moved it.
        ("PRESCRIPTION", None, LATE, "2022-04-01 09:00:00"),
        ("SOMETHING_NEW", "2022-04-04 08:00:00", LATE, "2022-04-01 09:00:00"),
    ],
)
@pytest.mark.slow
def test_cancellation(
    database: OpenMsupplyDatabase,
    kamo: str,
    amoxicillin: str,
    kind: str,
    original: str | None,
    created: str,
    counts_at: str,
) -> None:
    if kind == "SOMETHING_NEW":
        if not database.is_sqlite:
            pytest.skip("PostgreSQL keeps to the types that it knows")
        cancelled = database.add_invoice(kamo, "PRESCRIPTION", original)
        database.execute(f"UPDATE invoice SET type = '{kind}'")  # noqa: S608 - our own words
    else:
        cancelled = database.add_invoice(kamo, kind, original, status="NEW", created_datetime=created)
    cancelling = database.add_invoice(
        kamo, "PRESCRIPTION", "2022-04-01 09:00:00", is_cancellation=True, linked_invoice_id=cancelled
    )
    database.add_line(cancelling, amoxicillin, 7)
    instant = datetime.fromisoformat(counts_at)
    for floor in (FAR_BACK, FLOOR, instant, instant + timedelta(microseconds=1)):
        movements, pair, _ = instants_and_warnings(database, floor)
        assert movements == ([(instant, 7)] if instant >= floor else [])
        assert pair.units_before_floor == (0 if instant >= floor else 7 * MICRO)
        assert pair.first_in == instant


def test_cancellation_of_nothing(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    original = database.add_invoice(kamo, "PRESCRIPTION", LATE)
    for packs, instant, linked in ((1, LATE, None), (2, LATE, "gone"), (4, None, original)):
        cancelling = database.add_invoice(
            kamo, "PRESCRIPTION", instant, status="NEW", is_cancellation=True, linked_invoice_id=linked
        )
        database.add_line(cancelling, amoxicillin, packs)
    movements, pair, warnings = instants_and_warnings(database)
    assert sorted(movements) == [(datetime.fromisoformat(LATE), 1), (datetime.fromisoformat(LATE), 2)]
    assert (pair.units_before_floor, warnings) == (0, ())


def test_linked_is_no_cancellation(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    sent = database.add_invoice(kamo, "OUTBOUND_SHIPMENT", EARLY)
    received = database.add_invoice(kamo, "INBOUND_SHIPMENT", LATE, linked_invoice_id=sent)
    database.add_line(received, amoxicillin, 7)
    movements, _, _ = instants_and_warnings(database)
    assert movements == [(datetime.fromisoformat(LATE), 7)]


@pytest.mark.parametrize("column", ["is_cancellation", "linked_invoice_id", "created_datetime"])
def test_no_cancellation_columns(
    database: OpenMsupplyDatabase, kamo: str, amoxicillin: str, column: str
) -> None:
    database.move(kamo, amoxicillin, 7, "INBOUND_SHIPMENT", LATE)
    database.move(kamo, amoxicillin, 8, "INBOUND_SHIPMENT", "2027-01-01 00:00:00")
    database.execute("DROP INDEX IF EXISTS index_invoice_created_datetime")
    database.execute(f"ALTER TABLE invoice RENAME COLUMN {column} TO something_else")
    movements, _, _ = instants_and_warnings(database, FLOOR)
    assert (datetime.fromisoformat(LATE), 7) in movements
    assert ((TODAY, 8) in movements) is (column == "created_datetime")


def test_order_and_floor(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    instants = {
        "2022-03-31 11:00:00": 1,
        "2022-03-31 10:59:59": 2,
        "2022-03-31 10:59:59.999999": 4,
        "2022-03-31 11:00:00.000001": 8,
        "2022-04-05 06:07:08.5": 16,
        "2021-01-01 00:00:00": 32,
    }
    for instant, units in instants.items():
        database.move(kamo, amoxicillin, units, "INBOUND_SHIPMENT", instant)
    with database.open() as source:
        pair = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"]
    assert [movement.units // MICRO for movement in pair.movements] == [16, 8, 1]
    assert pair.units_before_floor == (2 + 4 + 32) * MICRO
    assert pair.first_in == datetime(2021, 1, 1)  # noqa: DTZ001 - naive, in UTC


def test_first_movement_in(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    for packs, pack_size, instant in (
        (-9, 1, "2019-01-01 00:00:00"),
        (5, 0, "2019-02-01 00:00:00"),
        (0.0000004, 1, "2019-03-01 00:00:00"),
        (0.0000005, 1, "2019-04-01 00:00:00.25"),
        (1, 1, "2019-05-01 00:00:00"),
    ):
        database.move(kamo, amoxicillin, packs, "INVENTORY_ADDITION", instant, pack_size=pack_size)
    with database.open() as source:
        pair = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"]
        assert data_warnings(source) == ()
    assert pair.first_in == datetime(2019, 4, 1, 0, 0, 0, 250_000)  # noqa: DTZ001 - naive, in UTC
    assert pair.units_before_floor == -8 * MICRO + 1


def test_movement_without_pack_size(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    database.move(kamo, amoxicillin, 5, "REPACK", LATE, pack_size=0)
    with database.open() as source:
        pair = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"]
        (warning,) = data_warnings(source)
    assert [movement.units for movement in pair.movements] == [0]
    assert pair.first_in is None
    assert warning.startswith("Lines of invoices without a pack size")


def test_merged_item_history(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    database.add("item_link", id="old", item_id=amoxicillin)
    database.add_stock(kamo, "old", 3)
    database.add_stock(kamo, amoxicillin, 4)
    database.move(kamo, "old", 3, "INBOUND_SHIPMENT", LATE)
    database.move(kamo, amoxicillin, 5, "INBOUND_SHIPMENT", EARLY)
    with database.open() as source:
        (pair,) = pairs_by_code(source, FLOOR).values()
    assert sorted(line.units for line in pair.stock_lines) == [3 * MICRO, 4 * MICRO]
    assert [movement.units for movement in pair.movements] == [3 * MICRO]
    assert pair.units_before_floor == 5 * MICRO


def test_instant_spellings(tmp_path: Path) -> None:
    database = OpenMsupplyDatabase(f"sqlite:///{tmp_path}/msupply.sqlite")
    kamo, amoxicillin = database.add_store("KAMO"), database.add_item("amoxicillin")
    instants = {
        "2022-03-31T12:00:00": 1,
        "2022-03-31T10:00:00.123456789": 2,
        "2022-03-31": 4,
        "2022-04-01": 8,
        "2022-03-31 11:00:00.000000999": 16,
        "2022-03-31 11:00": 32,
        "2022-03-31 10:00:00": 64,
    }
    for instant, units in instants.items():
        database.move(kamo, amoxicillin, units, "INBOUND_SHIPMENT", instant)
    with database.open() as source:
        pair = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"]
    assert sum(movement.units for movement in pair.movements) == (1 + 8 + 16 + 32) * MICRO
    assert pair.units_before_floor == (2 + 4 + 64) * MICRO
    assert pair.first_in == datetime(2022, 3, 31)  # noqa: DTZ001 - naive, in UTC


def test_earlier_spelling(tmp_path: Path) -> None:
    database = OpenMsupplyDatabase(f"sqlite:///{tmp_path}/msupply.sqlite")
    kamo, amoxicillin = database.add_store("KAMO"), database.add_item("amoxicillin")
    for instant in ("2022-03-31T08:00:00", "2022-03-31 09:00:00"):
        database.move(kamo, amoxicillin, 1, "INBOUND_SHIPMENT", instant)
    with database.open() as source:
        pair = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"]
    assert pair.first_in == datetime(2022, 3, 31, 8)  # noqa: DTZ001 - naive, in UTC


def test_receipts_without_date(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    opua, unmapped = database.add_store("OPUA"), database.add_item("unmapped", universal_code="")
    for store in (kamo, kamo, opua):
        line = database.add_stock(store, amoxicillin, 10)
        receipt = database.add_invoice(store, "INBOUND_SHIPMENT", status="NEW")
        for _ in range(2):
            database.add_line(receipt, amoxicillin, 5, stock_line_id=line)
    empty = database.add_stock(kamo, amoxicillin, 0)
    for item, named, kind, values in (
        (amoxicillin, None, "INBOUND_SHIPMENT", {"status": "NEW"}),
        (amoxicillin, empty, "INBOUND_SHIPMENT", {"status": "NEW"}),
        (amoxicillin, line, "INBOUND_SHIPMENT", {"status": "SHIPPED"}),
        (amoxicillin, line, "INBOUND_SHIPMENT", {"status": "NEW", "received_datetime": LATE}),
        (amoxicillin, line, "CUSTOMER_RETURN", {"status": "NEW"}),
        (unmapped, line, "INBOUND_SHIPMENT", {"status": "NEW"}),
    ):
        database.add_line(database.add_invoice(kamo, kind, **values), item, 5, stock_line_id=named)
    with database.open() as source:
        pairs = pairs_by_code(source, FLOOR)
        (warning,) = data_warnings(source)
    assert sum(line.units for line in pairs["KAMO", "amoxicillin"].stock_lines) == 20 * MICRO
    assert warning == (
        "Receipts (inbound shipments) that are new and have no date, although their stock is in the store: 3, "
        "by store KAMO 2, OPUA 1. Stock is right. The month of the receipt is not known, so the metric received does "
        "not count them."
    )


# Which pairs there are, and in which order


def test_visible_pairs(database: OpenMsupplyDatabase, kamo: str) -> None:
    visible, stocked, moved, moved_later, _ = (database.add_item(code) for code in "abcde")
    database.make_visible(visible, "name-of-KAMO", is_active=False)
    database.add_stock(kamo, stocked, 0)
    database.move(kamo, moved, -1, "PRESCRIPTION", EARLY)
    database.move(kamo, moved_later, -1, "PRESCRIPTION", LATE)
    database.add_store("OPUA")
    with database.open() as source:
        pairs = pairs_by_code(source, FLOOR)
    assert list(pairs) == [("KAMO", "a"), ("KAMO", "b"), ("KAMO", "c"), ("KAMO", "d")]
    assert pairs["KAMO", "a"].stock_lines == []
    assert pairs["KAMO", "c"].units_before_floor == -MICRO


@pytest.mark.usefixtures("kamo")
def test_merged_master_lists(database: OpenMsupplyDatabase, amoxicillin: str) -> None:
    database.add("name_link", id="old name", name_id="name-of-KAMO")
    database.add("item_link", id="old item", item_id=amoxicillin)
    database.make_visible("old item", "old name")
    database.make_visible(amoxicillin, "name-of-KAMO")
    with database.open() as source:
        assert list(pairs_by_code(source, FLOOR)) == [("KAMO", "amoxicillin")]


@pytest.mark.usefixtures("kamo")
def test_merged_store_name(database: OpenMsupplyDatabase, amoxicillin: str) -> None:
    database.add("name", id="kept", name="Kept clinic")
    database.add("name_link", id="kept", name_id="kept")
    database.execute("UPDATE name_link SET name_id = 'kept' WHERE id = 'name-of-KAMO'")
    database.make_visible(amoxicillin, "kept")
    with database.open() as source:
        assert [store.name for store in read_catalogue(source).stores] == ["Kept clinic"]
        assert list(pairs_by_code(source, FLOOR)) == [("KAMO", "amoxicillin")]


def test_group_order(
    database: OpenMsupplyDatabase,
) -> None:
    stores = [database.add_store(code) for code in "ABC"]
    items = [database.add_item(code) for code in "vwxyz"]
    for store in stores:
        for item in items:
            database.add_stock(store, item, 1)
            database.move(store, item, 1, "INBOUND_SHIPMENT", LATE)
            database.move(store, item, 1, "INBOUND_SHIPMENT", EARLY)
    with database.open() as source:
        catalogue = read_catalogue(source)
        a, b, c = catalogue.stores
        v, w, x, y, z = catalogue.items
        scope = Scope(
            (OrgUnit("second", (c, a)), OrgUnit("first", (b,))),
            (ItemGroup("one", (z,)), ItemGroup("three", (w, v, y)), ItemGroup("two", (x,))),
        )
        groups = list(source.histories(scope, FLOOR))
    assert [
        (
            group.org_unit.code,
            group.item_group.reference,
            [(pair.store.code, pair.item.code) for pair in group.pairs],
        )
        for group in groups
    ] == [
        ("second", "one", [("C", "z"), ("A", "z")]),
        ("second", "three", [("C", "w"), ("C", "v"), ("C", "y"), ("A", "w"), ("A", "v"), ("A", "y")]),
        ("second", "two", [("C", "x"), ("A", "x")]),
        ("first", "one", [("B", "z")]),
        ("first", "three", [("B", "w"), ("B", "v"), ("B", "y")]),
        ("first", "two", [("B", "x")]),
    ]
    for group in groups:
        for pair in group.pairs:
            assert (len(pair.stock_lines), len(pair.movements), pair.units_before_floor) == (1, 1, MICRO)


def test_empty_scope(database: OpenMsupplyDatabase) -> None:
    with database.open() as source:
        assert list(source.histories(Scope((), ()), FLOOR)) == []


@pytest.mark.slow
def test_parameter_limit(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    database.add_stock(kamo, amoxicillin, 1)
    with database.open() as source:
        catalogue = read_catalogue(source)
        (store,), (item,) = catalogue.stores, catalogue.items
        stores = [type(store)(f"s{number}", "", "", "") for number in range(10_000)]
        items = [type(item)(f"i{number}", "", "") for number in range(70_000)]
        scope = Scope(
            tuple(OrgUnit(each.id, (each,)) for each in (*stores, store)),
            tuple(ItemGroup(each.id, (each,)) for each in (*items, item)),
        )
        (group,) = source.histories(scope, FLOOR)
    assert (group.org_unit.stores, group.item_group.items) == ((store,), (item,))


# Numbers


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def arithmetic(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> OpenMsupplyDatabase:
    if request.param == "sqlite":
        return OpenMsupplyDatabase(f"sqlite:///{tmp_path_factory.mktemp('arithmetic')}/msupply.sqlite")
    server: TemporaryPostgres = request.getfixturevalue("postgres")
    return OpenMsupplyDatabase(server.new_database("arithmetic"))


@pytest.mark.slow
@tried(20)
@given(
    lines=st.lists(
        st.tuples(
            st.one_of(
                st.integers(1, 10**9).map(float),
                st.floats(1e-9, 1e7),
                st.sampled_from((1e8, 1e12, 1e12 + 0.0001, 1e300, float("inf"))),
                st.decimals("0.0000005", 1000, places=7).map(float),
            ),
            st.one_of(
                st.integers(0, 10**6).map(float),
                st.floats(1e-6, 1e4),
                st.decimals(0, 10, places=1).map(float),
                st.sampled_from((1e4, -1e6, 1e-300, 1e300, float("inf"))),
            ),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    )
)
@pytest.mark.slow
def test_sums(arithmetic: OpenMsupplyDatabase, lines: list[tuple[float, float, bool]]) -> None:
    with arithmetic.engine.begin() as connection:
        for table in (
            "invoice_line",
            "invoice",
            "sync_buffer",
            "store",
            "name_link",
            "name",
            "item_link",
            "item",
        ):
            connection.execute(sa.text(f"DELETE FROM {table}"))  # noqa: S608 - names from above
    kamo, amoxicillin = arithmetic.add_store("KAMO"), arithmetic.add_item("amoxicillin")
    units: list[int] = []
    unreadable = set()
    for packs, pack_size, is_in in lines:
        invoice = arithmetic.add_invoice(kamo, "REPACK", EARLY)
        signed = packs if is_in else -packs
        line = arithmetic.add_line(invoice, amoxicillin, signed, pack_size=pack_size)
        try:
            units.append(to_units(signed, pack_size))
        except ValueError:
            unreadable.add(line)
    # A line that goes out with a negative pack size brings stock in.
    comes_in = any(each > 0 for each in units)
    with arithmetic.open() as source:
        (summed,) = groups(source)
        (listed,) = groups(source, FAR_BACK)
    for group in (summed, listed):
        assert {row.id for row in group.unreadable} == unreadable
    assert summed.pairs[0].units_before_floor == sum(units)
    moved = [movement.units for movement in listed.pairs[0].movements]
    assert (sorted(moved), listed.pairs[0].units_before_floor) == (sorted(units), 0)
    first_ins = [group.pairs[0].first_in for group in (summed, listed)]
    assert first_ins == [datetime.fromisoformat(EARLY) if comes_in else None] * 2


def test_large_sum(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    for _ in range(30):
        database.move(kamo, amoxicillin, 1e12, "REPACK", EARLY)
        database.move(kamo, amoxicillin, 1e11 + 0.25, "REPACK", EARLY)
    with database.open() as source:
        pair = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"]
    assert pair.units_before_floor == 30 * (11 * 10**11 * MICRO + MICRO // 4) > 2**63


# Rows that cannot be read

INFINITE = float("inf")
NO_STOCK = "total_number_of_packs or pack_size is not a finite number, or together they make more than"
NO_MOVEMENT = "number_of_packs or pack_size is not a finite number, or together they make more than"


def groups(source: Source, floor: datetime = FLOOR) -> list[GroupHistory]:
    return list(source.histories(scope_of(read_catalogue(source)), floor))


class Expected(collections.defaultdict[str, list[tuple[str, str, str]]]):
    """The rows of each item that cannot be read: table, id and how the fault begins."""

    def __init__(self, database: OpenMsupplyDatabase) -> None:
        super().__init__(list)
        self._database = database

    def item(self, code: str) -> str:
        self[code] = []
        return self._database.add_item(code)

    def assert_read(self) -> None:
        for floor in (FLOOR, FAR_BACK):
            with self._database.open() as source:
                read = {group.pairs[0].item.code: group.unreadable for group in groups(source, floor)}
            assert read.keys() == self.keys()
            for code, expected in self.items():
                assert {(row.store.code, row.item.code, row.until) for row in read[code]} <= {
                    ("KAMO", code, None)
                }
                assert [(row.table, row.id) for row in read[code]] == [
                    (table, row) for table, row, _ in expected
                ]
                for row, (_, _, fault) in zip(read[code], expected, strict=True):
                    assert row.fault.startswith(fault)


def test_unreadable_stock(database: OpenMsupplyDatabase, kamo: str) -> None:
    expected = Expected(database)
    quantities = [(INFINITE, 1.0), (-INFINITE, 1.0), (1.0, INFINITE), (1e7, 100_001.0), (-1e12 - 1, 1.0)]
    for number, (packs, pack_size) in enumerate(quantities):
        row = database.add_stock(kamo, expected.item(f"{number}"), packs, pack_size=pack_size)
        expected[f"{number}"] = [("stock_line", row, NO_STOCK)]
    database.add_stock(kamo, expected.item("healthy"), 1e12)
    expected.assert_read()


def test_unreadable_movement(database: OpenMsupplyDatabase, kamo: str) -> None:
    expected = Expected(database)
    quantities = [(INFINITE, 1.0), (1.0, -INFINITE), (1e300, 1e300), (1e7, 100_001.0)]
    if not database.is_sqlite:
        quantities.append((float("nan"), 1.0))
    for instant, (packs, pack_size) in itertools.product((EARLY, LATE), quantities):
        code = f"{packs} {pack_size} {instant}"
        item = expected.item(code)
        # What comes in and what goes out must not make up for one another.
        rows = []
        for line in ("STOCK_IN", "STOCK_OUT"):
            invoice = database.add_invoice(kamo, "REPACK", instant)
            rows.append(database.add_line(invoice, item, packs, line=line, pack_size=pack_size))
        expected[code] = [("invoice_line", row, NO_MOVEMENT) for row in sorted(rows)]
    for units, instant in ((4, EARLY), (3, LATE)):
        database.move(
            kamo, "item-healthy" if units == 3 else expected.item("healthy"), units, "REPACK", instant
        )
    expected.assert_read()
    with database.open() as source:
        pair = pairs_by_code(source, FLOOR)["KAMO", "healthy"]
    assert ([movement.units for movement in pair.movements], pair.units_before_floor) == (
        [3 * MICRO],
        4 * MICRO,
    )


def test_text_as_number(tmp_path: Path) -> None:
    database = OpenMsupplyDatabase(f"sqlite:///{tmp_path}/msupply.sqlite")
    kamo, expected = database.add_store("KAMO"), Expected(database)
    row = database.add_stock(kamo, expected.item("text"), 1)
    rows = [
        database.add_line(database.add_invoice(kamo, "REPACK", instant), "item-text", 1)
        for instant in (EARLY, LATE)
    ]
    database.execute("UPDATE stock_line SET pack_size = 'few'")
    database.execute("UPDATE invoice_line SET number_of_packs = 'many'")
    expected["text"] = [
        ("stock_line", row, NO_STOCK),
        *(("invoice_line", each, NO_MOVEMENT) for each in sorted(rows)),
    ]
    expected.assert_read()


def test_impossible_expiry(database: OpenMsupplyDatabase, kamo: str) -> None:
    expected = Expected(database)
    impossible = ["0000-00-00", "2024-02-30", "soon"] if database.is_sqlite else ["infinity"]
    for expiry in ("20224-03-01", *impossible):
        row = database.add_stock(kamo, expected.item(expiry), 1, expiry_date=expiry)
        expected[expiry] = [("stock_line", row, f"expiry_date is not a date ('{expiry}')")]
    for expiry in ["2024-02-29", *(["2024-02-29 00:00:00", ""] if database.is_sqlite else [])]:
        database.add_stock(kamo, expected.item(f"healthy {expiry}"), 1, expiry_date=expiry)
    expected.assert_read()
    with database.open() as source:
        read = {group.pairs[0].item.code: group for group in groups(source)}
    assert str(read["20224-03-01"].unreadable[0]) == (
        "20224-03-01 tabs (item 20224-03-01) in KAMO clinic (store KAMO): not sent, because a row of mSupply's database "
        f"cannot be read: stock_line {expected['20224-03-01'][0][1]}: expiry_date is not a date ('20224-03-01')"
    )
    dates = {
        code: group.pairs[0].stock_lines[0].expiry_date for code, group in read.items() if "healthy" in code
    }
    assert set(dates.values()) == ({date(2024, 2, 29), None} if database.is_sqlite else {date(2024, 2, 29)})


def test_impossible_instant(database: OpenMsupplyDatabase, kamo: str) -> None:
    expected = Expected(database)
    for instant in (
        ["0000-00-00", "", "yesterday", "2022-02-30 10:00:00", "2022-04-01 10:00:00+12:00"]
        if database.is_sqlite
        else ["infinity", "-infinity", "20222-01-01 00:00:00"]
    ):
        invoice = database.add_invoice(kamo, "CUSTOMER_RETURN", instant, invoice_number=4711)
        for code in (instant, f"{instant} too"):
            item = expected.item(code)
            database.add_line(invoice, item, 1)
            database.add_line(invoice, item, 2)
            fault = f"received_datetime is not a date and time ('{instant}'; customer return 4711)"
            expected[code] = [("invoice", invoice, fault)]
    database.move(kamo, expected.item("healthy"), 1, "CUSTOMER_RETURN", LATE)
    expected.assert_read()


def test_uncounted_row(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    database.add_stock(kamo, amoxicillin, 2)
    database.add_stock(kamo, amoxicillin, 1e12, expiry_date="2024-02-29")
    database.add_stock(kamo, amoxicillin, 0, pack_size=INFINITE, expiry_date="20224-03-01")
    database.add_stock(kamo, amoxicillin, INFINITE, pack_size=0)
    database.add_stock(database.add_store("OPUA", {}), amoxicillin, INFINITE)
    database.add_line(database.add_invoice(kamo, "INBOUND_SHIPMENT"), amoxicillin, INFINITE)
    for instant in (EARLY, "20222-01-01 00:00:00"):
        invoice = database.add_invoice(kamo, "REPACK", instant)
        database.add_line(invoice, amoxicillin, INFINITE, line="SERVICE")
    database.add_line(database.add_invoice(kamo, "REPACK", EARLY), amoxicillin, INFINITE, pack_size=0)
    # An instant that moves invoices of other types.
    database.add_invoice(kamo, "REPACK", EARLY, picked_datetime="20222-01-01 00:00:00")
    with database.open() as source:
        (group,) = groups(source)
    (pair,) = group.pairs
    assert group.unreadable == []
    assert sorted(line.units for line in pair.stock_lines) == [0, 0, 2 * MICRO, 10**12 * MICRO]
    assert (pair.movements, pair.units_before_floor) == ([], 0)


def test_empty_line_expiry(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    line = database.add_stock(kamo, amoxicillin, 0, expiry_date="20224-03-01")
    for instant in (EARLY, "2022-04-02 00:00:00", LATE):
        invoice = database.add_invoice(kamo, "REPACK", instant)
        database.add_line(invoice, amoxicillin, 1, stock_line_id=line if instant != LATE else None)
    with database.open() as source:
        (group,) = groups(source)
    assert [(row.id, row.until) for row in group.unreadable] == [(line, datetime(2022, 4, 2))]  # noqa: DTZ001 - naive, in UTC


def test_negative_stock(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    line = database.add_stock(kamo, amoxicillin, -2.5)
    database.add_stock(kamo, amoxicillin, 2.5)
    with database.open() as source:
        pair = pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"]
        (warning,) = data_warnings(source)
    assert sum(each.units for each in pair.stock_lines) == 0
    assert warning == (
        "Stock lines below 0: 1, namely amoxicillin tabs (item amoxicillin) in KAMO clinic (store KAMO), stock line "
        f"{line}: -2.5 units. The metrics count them; mSupply's own stock on hand does not."
    )


# A ledger that does not add up


def test_ledger_differences(database: OpenMsupplyDatabase, kamo: str) -> None:
    for code, packs, early, late in (
        ("right", 5, 8, -3),
        ("less", 5, 8, 1),
        ("more", 9.5, 8, -3),
        ("never moved", 100, 0, 0),
        ("gone", 0, 2, 0),
    ):
        item = database.add_item(code)
        database.add_stock(kamo, item, packs)
        for units, instant in ((early, EARLY), (late, LATE)):
            if units:
                database.move(kamo, item, units, "REPACK", instant)
    database.add_stock(kamo, database.add_item("unreadable"), INFINITE)
    for floor in (FLOOR, FAR_BACK):
        with database.open() as source:
            groups(source, floor)
            (warning,) = source.warnings()
        assert warning == (
            "Items in a store whose stock lines differ from the sum of their movements: 4 of 5. Nothing is corrected: "
            "the stock lines count. The largest differences (+ is more stock than movements): "
            "never moved tabs (item never moved) in KAMO clinic (store KAMO): +100 units; "
            "more tabs (item more) in KAMO clinic (store KAMO): +4.5 units; "
            "less tabs (item less) in KAMO clinic (store KAMO): -4 units; "
            "gone tabs (item gone) in KAMO clinic (store KAMO): -2 units."
        )


def test_largest_differences(database: OpenMsupplyDatabase, kamo: str) -> None:
    for number in range(1, 31):
        database.add_stock(kamo, database.add_item(f"{number:02}"), number)
    with database.open() as source:
        groups(source)
        (warning,) = source.warnings()
    named = [int(units) for units in re.findall(r"\+(\d+) units", warning)]
    assert "30 of 30" in warning
    assert named == list(range(30, 10, -1))


# One state, a bounded part of it at a time


def test_consistent_snapshot(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    if database.is_sqlite:
        database.execute("PRAGMA journal_mode = WAL")
    database.add_stock(kamo, amoxicillin, 1)
    with database.open() as source:
        database.add_store("OPUA")
        catalogue = read_catalogue(source)
        database.execute("UPDATE stock_line SET total_number_of_packs = 5")
        database.move(kamo, amoxicillin, 4, "INBOUND_SHIPMENT", LATE)
        (group,) = source.histories(scope_of(catalogue), FLOOR)
    assert [store.code for store in catalogue.stores] == ["KAMO"]
    assert ([line.units for line in group.pairs[0].stock_lines], group.pairs[0].movements) == ([MICRO], [])
    with database.open() as source:
        assert len(pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"].movements) == 1


@pytest.mark.usefixtures("kamo")
def test_read_only(database: OpenMsupplyDatabase) -> None:
    with pytest.raises(SourceError), open_database(database.address) as connection:
        connection.execute(sa.text("DELETE FROM store"))
    with database.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM store")).scalar() == 1


@pytest.mark.slow
def test_constant_memory(database: OpenMsupplyDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "ROWS_AT_A_TIME", 100)
    kamo = database.add_store("KAMO")
    items = [database.add_item(f"item {number:02}") for number in range(50)]
    invoice = database.add_invoice(kamo, "INBOUND_SHIPMENT", LATE)
    database.add_many(
        "stock_line",
        (
            {"store_id": kamo, "item_link_id": item, "total_number_of_packs": 1}
            for item in items
            for _ in range(300)
        ),
    )
    database.add_many(
        "invoice_line",
        (
            {"invoice_id": invoice, "item_link_id": item, "type": "STOCK_IN", "number_of_packs": 1}
            for item in items
            for _ in range(300)
        ),
    )
    with database.open() as source:
        scope = scope_of(read_catalogue(source))
        # What is only needed once does not count.
        collections.deque(source.histories(scope, FLOOR), maxlen=0)
        tracemalloc.start()
        try:
            collections.deque(source.histories(scope, FLOOR), maxlen=0)
            _, streamed = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            assert len(list(source.histories(scope, FLOOR))) == 50
            _, listed = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert streamed * 5 < listed


@pytest.mark.parametrize("at_a_time", [1, 2, 3, 4, 5])
@pytest.mark.slow
def test_fetch_size(
    database: OpenMsupplyDatabase,
    kamo: str,
    amoxicillin: str,
    at_a_time: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(histories, "ROWS_AT_A_TIME", at_a_time)
    for number in range(1, 5):
        database.add_stock(kamo, amoxicillin, number)
        database.move(kamo, amoxicillin, number, "INBOUND_SHIPMENT", LATE)
        database.make_visible(database.add_item(f"item {number}"), "name-of-KAMO")
    with database.open() as source:
        pairs = pairs_by_code(source, FLOOR)
    pair = pairs.pop(("KAMO", "amoxicillin"))
    assert sorted(line.units for line in pair.stock_lines) == [number * MICRO for number in range(1, 5)]
    assert sorted(movement.units for movement in pair.movements) == [number * MICRO for number in range(1, 5)]
    assert pair.units_before_floor == 0
    assert set(pairs) == {("KAMO", f"item {number}") for number in range(1, 5)}


def test_server_side_cursor(postgres: TemporaryPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "ROWS_AT_A_TIME", 1)
    database = OpenMsupplyDatabase(postgres.url)
    kamo = database.add_store("KAMO")
    for code in "abc":
        item = database.add_item(code)
        database.make_visible(item, "name-of-KAMO")
        database.add_stock(kamo, item, 1)
        database.move(kamo, item, 1, "INBOUND_SHIPMENT", LATE)
    cursors = sa.text("SELECT count(*) FROM pg_cursors WHERE name <> ''")
    with database.open() as source:
        groups = source.histories(scope_of(read_catalogue(source)), FLOOR)
        next(groups)
        assert source.connection.execute(cursors).scalar() == 4
        assert len(list(groups)) == 2
        assert source.connection.execute(cursors).scalar() == 0


def test_indexed_lookup(tmp_path: Path) -> None:
    database = OpenMsupplyDatabase(f"sqlite:///{tmp_path}/msupply.sqlite")
    kamo, amoxicillin = database.add_store("KAMO"), database.add_item("amoxicillin")
    invoices = database.add_many(
        "invoice",
        (
            {
                "store_id": kamo,
                "type": "INBOUND_SHIPMENT",
                "received_datetime": LATE,
                "invoice_number": number,
                "status": "VERIFIED",
            }
            for number in range(2_000)
        ),
    )
    database.add_many(
        "invoice_line",
        (
            {"invoice_id": invoice, "item_link_id": amoxicillin, "type": "STOCK_IN", "number_of_packs": 1}
            for invoice in invoices
        ),
    )
    thousands = itertools.count()
    with database.open() as source:
        driver_connection: Any = source.connection.connection.driver_connection
        driver_connection.set_progress_handler(lambda: next(thousands) and 0, 1_000)
        assert len(pairs_by_code(source, FLOOR)["KAMO", "amoxicillin"].movements) == 2_000
    # Steps of SQLite's machine: 2,000 lines x 2,000 invoices x the few steps that reading one takes are millions.
    assert next(thousands) * 1_000 < 2_000 * 2_000


def test_abandoned_scope(database: OpenMsupplyDatabase, kamo: str) -> None:
    for code in "abc":
        database.add_stock(kamo, database.add_item(code), 1)
    with database.open() as source:
        scope = scope_of(read_catalogue(source))
        groups = source.histories(scope, FLOOR)
        next(groups)
        del groups
        assert len(list(source.histories(scope, FLOOR))) == 3


# How the work is divided


def test_line_count(database: OpenMsupplyDatabase, kamo: str, amoxicillin: str) -> None:
    empty, other = database.add_store("EMPTY"), database.add_store("OTHER")
    database.add_stock(kamo, amoxicillin, 1)
    database.move(kamo, amoxicillin, 5, "INBOUND_SHIPMENT", EARLY)
    database.move(kamo, amoxicillin, -2, "PRESCRIPTION", LATE)
    database.move(other, amoxicillin, 5, "INBOUND_SHIPMENT", LATE)
    with database.open() as source:
        stores = [store for store in read_catalogue(source).stores if store.id != other]
        assert source.lines(stores) == {kamo: 3, empty: 0}
