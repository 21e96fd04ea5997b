"""The genuine Open mSupply database that lies beside the project, against a naive reading of it."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest

from msupply_dhis2.domain.stock import MICRO
from msupply_dhis2.settings.credentials import parse_database_address
from msupply_dhis2.source import open_source
from msupply_dhis2.source.base import Source
from tests.support.open_msupply_database import (
    CALENDAR,
    INSTANTS,
    OpenMsupplyDatabase,
    pairs_by_code,
    read_catalogue,
)
from tests.support.paths import SHARED

DATABASE = SHARED / "real" / "open_msupply.sqlite"

pytestmark = pytest.mark.skipif(
    not DATABASE.exists(), reason=f"there is no {DATABASE.name} beside the project"
)

FLOOR = datetime(2022, 3, 31, 11)  # noqa: DTZ001 - instants of a source are naive, in UTC
MAPPED_STORES = ("Kopu", "Kawakawa", "KamoRW", "Tamaki", "Opua")


@pytest.fixture
def source() -> Iterator[Source]:
    with open_source(parse_database_address(f"sqlite:///{DATABASE}"), calendar=CALENDAR) as source:
        yield source


def query(statement: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)) as connection:
        return connection.execute(statement).fetchall()


def test_mapped(source: Source) -> None:
    catalogue = read_catalogue(source)
    assert {store.org_unit: store.look_back_months for store in catalogue.stores} == {
        "OU_KOPU": None,
        "OU_KAWAKAWA": Fraction(3),
        "OU_KAMO": Fraction(3),
        "OU_TAMAKI": None,
        "OU_OPUA": None,
    }
    assert {item.fields["universal_code"] for item in catalogue.items} == {
        "45bfa4bf",
        "559794bf",
        "368c74bf",
        "367c44bf",
        "36df14bf",
    }
    assert catalogue.skipped == ()
    assert catalogue.warnings == ()


def test_release_3_log(tmp_path: Path) -> None:
    database = OpenMsupplyDatabase(f"sqlite:///{copyfile(DATABASE, tmp_path / 'release_3.sqlite')}")
    with database.open() as source:
        before = read_catalogue(source)
    database.upgrade_to_3()
    with database.open() as source:
        assert read_catalogue(source) == before
    opua = next(store for store in before.stores if store.org_unit == "OU_OPUA")
    database.log(opua.id, {"custom_data": {"Dhis2Code": {"data": "OU_CORRECTED"}}})
    with database.open() as source:
        after = read_catalogue(source)
    assert after == replace(
        before,
        stores=tuple(
            replace(store, org_unit="OU_CORRECTED") if store is opua else store for store in before.stores
        ),
    )


def test_stock(source: Source) -> None:
    rows = query(
        "SELECT store.code, item.code, SUM(total_number_of_packs * pack_size) FROM stock_line "
        "JOIN store ON store.id = store_id JOIN item_link ON item_link.id = item_link_id "
        "JOIN item ON item.id = item_id WHERE item.universal_code IS NOT NULL GROUP BY 1, 2"
    )
    expected = {(store, item): round(units * MICRO) for store, item, units in rows if store in MAPPED_STORES}
    pairs = pairs_by_code(source, FLOOR)
    read = {pair: sum(line.units for line in history.stock_lines) for pair, history in pairs.items()}
    assert without_zeros(read) == without_zeros(expected) != {}


def test_movements(source: Source) -> None:
    rows = query(
        "SELECT store.code, item.code, line.type, number_of_packs * pack_size, invoice.type, "
        "picked_datetime, received_datetime, verified_datetime FROM invoice_line AS line "
        "JOIN invoice ON invoice.id = invoice_id JOIN store ON store.id = store_id "
        "JOIN item_link ON item_link.id = item_link_id JOIN item ON item.id = item_id "
        "WHERE item.universal_code IS NOT NULL"
    )
    before: Counter[tuple[str, str]] = Counter()
    after: Counter[tuple[str, str, datetime, int]] = Counter()
    first_in: dict[tuple[str, str], datetime] = {}
    for store, item, line, units, kind, picked, received, verified in rows:
        instants = {"picked_datetime": picked, "received_datetime": received, "verified_datetime": verified}
        text = instants[INSTANTS[kind]]
        if store not in MAPPED_STORES or text is None or line not in ("STOCK_IN", "STOCK_OUT"):
            continue
        instant = datetime.fromisoformat(text)
        signed = round(units * MICRO) * (1 if line == "STOCK_IN" else -1)
        if instant < FLOOR:
            before[store, item] += signed
        else:
            after[store, item, instant, signed] += 1
        if signed > 0:
            first_in[store, item] = min(first_in.get((store, item), instant), instant)

    pairs = pairs_by_code(source, FLOOR)
    assert after == Counter(
        (*pair, movement.instant, movement.units)
        for pair, history in pairs.items()
        for movement in history.movements
    )
    assert after
    assert without_zeros(
        {pair: history.units_before_floor for pair, history in pairs.items()}
    ) == without_zeros(before)
    assert without_zeros(before) != {}
    assert {pair: history.first_in for pair, history in pairs.items() if history.first_in} == first_in


def without_zeros(sums: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {pair: units for pair, units in sums.items() if units}


def test_moved_without_instant(source: Source) -> None:
    rows = query(
        "SELECT store.code FROM invoice JOIN store ON store.id = store_id WHERE status = 'VERIFIED' AND CASE type "
        "WHEN 'INBOUND_SHIPMENT' THEN received_datetime WHEN 'INVENTORY_ADDITION' THEN verified_datetime "
        "ELSE picked_datetime END IS NULL OR status = 'RECEIVED' AND received_datetime IS NULL "
        "OR status IN ('SHIPPED', 'DELIVERED') AND type = 'OUTBOUND_SHIPMENT' AND picked_datetime IS NULL"
    )
    expected = sum(store in MAPPED_STORES for (store,) in rows)
    pairs_by_code(source, FLOOR)
    (warning,) = [warning for warning in source.warnings() if "Invoices" in warning]
    assert f": {expected}, namely " in warning
    assert "Opua inbound shipment 8" in warning
