import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import sqlalchemy as sa

from sandbox.postgres import temporary_postgres
from sandbox.sample import SampleError, SampleKind, SampleSummary, generate
from sandbox.sample.tables import METADATA
from tests.support.paths import PROJECT

MOVED_AT = """
    CASE
      WHEN i.type IN ('OUTBOUND_SHIPMENT', 'PRESCRIPTION', 'SUPPLIER_RETURN') THEN i.picked_datetime
      WHEN i.type IN ('INBOUND_SHIPMENT', 'CUSTOMER_RETURN') THEN i.received_datetime
      ELSE i.verified_datetime
    END
"""

# A query for each thing out of the ordinary; each finds at least one row.
EDGE_CASES = {
    "a merged item": "SELECT 1 FROM item_link WHERE id <> item_id",
    "a merged item with movements of its own": """
        SELECT 1 FROM invoice_line l JOIN item_link k ON k.id = l.item_link_id WHERE k.id <> k.item_id""",
    "a merged item that is left behind": """
        SELECT 1 FROM item WHERE is_active = 0 AND id NOT IN (SELECT item_id FROM item_link)""",
    "a cancelled prescription and its mirror": """
        SELECT 1 FROM invoice o JOIN invoice m ON m.linked_invoice_id = o.id
        JOIN invoice_line a ON a.invoice_id = o.id JOIN invoice_line b ON b.invoice_id = m.id
        WHERE o.status = 'CANCELLED' AND o.type = 'PRESCRIPTION' AND o.picked_datetime IS NOT NULL
          AND m.is_cancellation AND a.type = 'STOCK_OUT' AND b.type = 'STOCK_IN'
          AND a.number_of_packs = b.number_of_packs AND a.stock_line_id = b.stock_line_id""",
    "a stock line of pack size 0": """
        SELECT 1 FROM stock_line WHERE pack_size = 0 AND total_number_of_packs > 0""",
    "a movement of pack size 0": "SELECT 1 FROM invoice_line WHERE pack_size = 0 AND type = 'STOCK_IN'",
    "a movement without stock line": """
        SELECT 1 FROM invoice_line WHERE stock_line_id IS NULL AND type = 'STOCK_OUT'""",
    "an outbound shipment sent without instant": """
        SELECT 1 FROM invoice WHERE type = 'OUTBOUND_SHIPMENT' AND status = 'SHIPPED'
          AND picked_datetime IS NULL""",
    "an inbound shipment verified without instant": """
        SELECT 1 FROM invoice WHERE type = 'INBOUND_SHIPMENT' AND status = 'VERIFIED'
          AND received_datetime IS NULL""",
    "an inbound shipment on its way": """
        SELECT 1 FROM invoice WHERE type = 'INBOUND_SHIPMENT' AND status = 'SHIPPED'
          AND picked_datetime IS NOT NULL AND received_datetime IS NULL""",
    "an inactive item with a reference": """
        SELECT 1 FROM item WHERE type = 'STOCK' AND is_active = 0 AND universal_code <> ''""",
    "an item that is not stock, with a reference": """
        SELECT 1 FROM item WHERE type = 'NON_STOCK' AND universal_code <> ''""",
    "a service with a reference": "SELECT 1 FROM item WHERE type = 'SERVICE' AND universal_code <> ''",
    "two items under one universal code": """
        SELECT 1 FROM item a JOIN item b ON a.universal_code = b.universal_code AND a.id < b.id""",
    "an empty legacy record": "SELECT 1 FROM item WHERE legacy_record = '' AND universal_code <> ''",
    "a blank universal code": "SELECT 1 FROM item WHERE universal_code <> '' AND trim(universal_code) = ''",
    "a padded universal code": "SELECT 1 FROM item WHERE universal_code LIKE ' _%_ '",
    "a universal code in the legacy record only": """
        SELECT 1 FROM item WHERE universal_code IS NULL
          AND legacy_record NOT LIKE '%"universalcodes_code": ""%'""",
    "no universal code at all": """
        SELECT 1 FROM item WHERE is_active AND universal_code IS NULL
          AND legacy_record LIKE '%"universalcodes_code": ""%'""",
    "a disabled store with a code": """
        SELECT 1 FROM store s JOIN sync_buffer b ON b.record_id = s.id
        WHERE s.is_disabled AND b.data LIKE '%Dhis2Code": {"data": "OU_%'""",
    "a store without a code anywhere": """
        SELECT 1 FROM store s JOIN sync_buffer b ON b.record_id = s.id JOIN name n ON n.id = s.name_link_id
        WHERE b.data LIKE '%"custom_data": {}}' AND n.properties IS NULL AND n.custom_data IS NULL""",
    "a code in the properties of the name, blank where it is looked for first": """
        SELECT 1 FROM store s JOIN sync_buffer b ON b.record_id = s.id JOIN name n ON n.id = s.name_link_id
        WHERE b.data LIKE '%"Dhis2Code": {"data": " "}%' AND n.properties LIKE '%"Dhis2Code": "OU_%'""",
    "a code in the custom data of the name, blank where it is looked for before": """
        SELECT 1 FROM name WHERE custom_data LIKE '%"Dhis2Code": {"data": "OU_%'
          AND properties LIKE '%"Dhis2Code": {"data": " "}%'""",
    "a look-back of the store preferences": """
        SELECT 1 FROM store_preference WHERE monthly_consumption_look_back_period > 0""",
    "a look-back in the custom data where the preference is 0": """
        SELECT 1 FROM store_preference p JOIN store s ON s.id = p.id JOIN name n ON n.id = s.name_link_id
        WHERE p.monthly_consumption_look_back_period = 0
          AND n.custom_data LIKE '%"monthlyConsumptionLookBackPeriod": {"data": "2"}%'""",
    "an unreadable preference": """
        SELECT 1 FROM preference WHERE key = 'days_in_month' AND value = 'thirty' AND store_id IS NULL""",
    "a preference of one store": "SELECT 1 FROM preference WHERE store_id IS NOT NULL",
    "fractions that floating point does not add up": """
        SELECT 1 FROM invoice_line a JOIN invoice_line b ON a.stock_line_id = b.stock_line_id
        WHERE a.number_of_packs = 0.1 AND b.number_of_packs = 0.2""",
    "negative stock": "SELECT 1 FROM stock_line WHERE total_number_of_packs < 0",
    "stock allocated but not picked": """
        SELECT 1 FROM stock_line l JOIN invoice_line n ON n.stock_line_id = l.id
        JOIN invoice i ON i.id = n.invoice_id
        WHERE l.available_number_of_packs < l.total_number_of_packs AND l.on_hold
          AND i.status = 'ALLOCATED' AND i.picked_datetime IS NULL""",
    "lines that are no stock": "SELECT 1 FROM invoice_line WHERE type = 'UNALLOCATED_STOCK'",
    "lines of services": "SELECT 1 FROM invoice_line WHERE type = 'SERVICE'",
    "a batch that expired on the last day": """
        SELECT 1 FROM stock_line WHERE expiry_date = '2026-10-31' AND total_number_of_packs > 0""",
    "a batch that expires in 90 days": """
        SELECT 1 FROM stock_line WHERE expiry_date = '2027-01-29' AND total_number_of_packs > 0""",
    "a batch that expires in 91 days": """
        SELECT 1 FROM stock_line WHERE expiry_date = '2027-01-30' AND total_number_of_packs > 0""",
    "a batch that never expires": """
        SELECT 1 FROM stock_line WHERE expiry_date IS NULL AND total_number_of_packs > 0""",
    "an instant in nanoseconds": "SELECT 1 FROM invoice WHERE length(verified_datetime) = 29",
    "a movement at midnight": "SELECT 1 FROM invoice WHERE received_datetime LIKE '%00:00:00'",
    "out and in at one instant": """
        SELECT 1 FROM invoice i JOIN invoice_line a ON a.invoice_id = i.id
        JOIN invoice_line b ON b.invoice_id = i.id
        WHERE i.type = 'REPACK' AND a.type = 'STOCK_IN' AND b.type = 'STOCK_OUT'""",
    "a master list that is not active": """
        SELECT 1 FROM master_list l JOIN master_list_name_join j ON j.master_list_id = l.id
        WHERE l.is_active = 0""",
    "an item that is visible and was never handled": """
        SELECT 1 FROM master_list_line WHERE item_link_id NOT IN (SELECT item_link_id FROM stock_line)
          AND item_link_id NOT IN (SELECT item_link_id FROM invoice_line)""",
    "stock of an item that is on no list of the store": """
        SELECT 1 FROM stock_line l JOIN store s ON s.id = l.store_id WHERE NOT EXISTS (
          SELECT 1 FROM master_list_line m JOIN master_list_name_join j ON j.master_list_id = m.master_list_id
          WHERE m.item_link_id = l.item_link_id AND j.name_link_id = s.name_link_id)""",
    "a mapped store in which nothing ever happened": """
        SELECT 1 FROM store WHERE NOT is_disabled AND id NOT IN (SELECT store_id FROM invoice)
          AND id NOT IN (SELECT store_id FROM stock_line)""",
}


def rows_of(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, as text where the engines differ."""
    address = sa.make_url(url)
    if address.get_backend_name() == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    engine = sa.create_engine(address)
    try:
        with engine.connect() as connection:
            return {
                table.name: sorted(
                    (tuple(plain(value) for value in row) for row in connection.execute(sa.select(table))),
                    key=repr,
                )
                for table in METADATA.sorted_tables
            }
    finally:
        engine.dispose()


def plain(value: object) -> object:
    if isinstance(value, datetime):
        text = value.isoformat(" ")
    elif isinstance(value, date):
        text = value.isoformat()
    elif isinstance(value, str):
        text = value
    else:
        return value
    # PostgreSQL keeps microseconds.
    is_longer = len(text) == len("2026-01-01 00:00:00.123456789") and text[19] == "."
    return text[:26] if is_longer else text


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, SampleSummary]:
    url = f"sqlite:///{tmp_path_factory.mktemp('sample')}/sample.sqlite"
    return url, generate(url)


@pytest.fixture
def database(sample: tuple[str, SampleSummary]) -> Iterator[sa.Connection]:
    engine = sa.create_engine(sample[0])
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def ledgers(database: sa.Connection) -> dict[tuple[str, str], list[tuple[str, Decimal]]]:
    """Movements of each store and item: instant and signed units, exactly, in the order of time."""
    query = f"""
        SELECT i.store_id, k.item_id, {MOVED_AT} AS moved, l.type, l.number_of_packs, l.pack_size
        FROM invoice_line l JOIN invoice i ON i.id = l.invoice_id JOIN item_link k ON k.id = l.item_link_id
        WHERE l.type IN ('STOCK_IN', 'STOCK_OUT') AND moved IS NOT NULL ORDER BY moved, l.type
    """  # noqa: S608 - our own words only
    result = defaultdict(list)
    for store, item, moved, kind, packs, pack_size in database.execute(sa.text(query)):
        sign = 1 if kind == "STOCK_IN" else -1
        result[store, item].append((moved, sign * units(packs, pack_size)))
    return result


def units(packs: float, pack_size: float) -> Decimal:
    return round(Decimal(repr(packs)) * Decimal(repr(pack_size)), 6)


def stock(database: sa.Connection) -> dict[tuple[str, str], Decimal]:
    query = """
        SELECT s.store_id, k.item_id, s.total_number_of_packs, s.pack_size
        FROM stock_line s JOIN item_link k ON k.id = s.item_link_id
    """
    result: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for store, item, packs, pack_size in database.execute(sa.text(query)):
        result[store, item] += units(packs, pack_size)
    return result


def test_lines_equal_movements(sample: tuple[str, SampleSummary], database: sa.Connection) -> None:
    on_hand = stock(database)
    sums = {pair: sum(units for _, units in movements) for pair, movements in ledgers(database).items()}
    assert len(on_hand) > 100
    differing = {pair for pair in on_hand | sums if on_hand.get(pair, 0) != sums.get(pair, 0)}
    assert differing == set(sample[1].inconsistent_pairs)
    assert len(differing) == 2


def test_never_below_zero(database: sa.Connection) -> None:
    below = set()
    for pair, movements in ledgers(database).items():
        balance = Decimal(0)
        at_instant: dict[str, Decimal] = defaultdict(Decimal)
        for moved, change in movements:
            at_instant[moved] += change
        for change in at_instant.values():
            balance += change
            if balance < 0:
                below.add(pair)
    assert below == {pair for pair, units in stock(database).items() if units < 0}
    assert len(below) == 1


def test_runs_out_and_comes_back(database: sa.Connection) -> None:
    recoveries = 0
    for movements in ledgers(database).values():
        balance, was_out = Decimal(0), False
        for _, change in movements:
            recoveries += was_out and change > 0
            balance += change
            was_out = balance == 0
    assert recoveries > 20


def test_line_equals_its_movements(sample: tuple[str, SampleSummary], database: sa.Connection) -> None:
    query = f"""
        SELECT s.id, s.store_id, k.item_id, s.total_number_of_packs * s.pack_size AS on_hand,
          (SELECT sum(CASE l.type WHEN 'STOCK_IN' THEN 1 ELSE -1 END * l.number_of_packs * l.pack_size)
           FROM invoice_line l JOIN invoice i ON i.id = l.invoice_id
           WHERE l.stock_line_id = s.id AND ({MOVED_AT}) IS NOT NULL) AS moved
        FROM stock_line s JOIN item_link k ON k.id = s.item_link_id
    """  # noqa: S608 - our own words only
    lines = database.execute(sa.text(query)).all()
    without_movements = [line for line in lines if line.moved is None]
    assert {(line.store_id, line.item_id) for line in without_movements} - set(
        sample[1].inconsistent_pairs
    ) == {pair_without_stock_lines(database)}
    for line in lines:
        if line.moved is not None and (line.store_id, line.item_id) not in sample[1].inconsistent_pairs:
            assert line.moved == pytest.approx(line.on_hand, abs=1e-6)


def pair_without_stock_lines(database: sa.Connection) -> tuple[str, str]:
    query = """
        SELECT DISTINCT i.store_id, l.item_link_id FROM invoice_line l JOIN invoice i ON i.id = l.invoice_id
        WHERE l.stock_line_id IS NULL AND l.type = 'STOCK_OUT'
    """
    store, item = database.execute(sa.text(query)).one()
    return store, item


@pytest.mark.parametrize("edge_case", EDGE_CASES)
def test_contents(edge_case: str, database: sa.Connection) -> None:
    assert database.execute(sa.text(EDGE_CASES[edge_case])).first() is not None


def test_unreadable_records(database: sa.Connection) -> None:
    for query in (
        "SELECT data FROM sync_buffer WHERE record_id IN (SELECT id FROM store WHERE NOT is_disabled)",
        "SELECT legacy_record FROM item WHERE legacy_record <> '' AND universal_code <> ''",
    ):
        texts = database.execute(sa.text(query)).scalars().all()
        assert sum(not is_json(text) for text in texts) == 1


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def test_shared_org_unit(database: sa.Connection) -> None:
    texts = database.execute(sa.text("SELECT data FROM sync_buffer WHERE table_name = 'store'")).scalars()
    fields = [json.loads(text)["custom_data"].get("Dhis2Code") for text in texts if is_json(text)]
    codes = Counter(field["data"] if isinstance(field, dict) else field for field in fields if field)
    assert [count for code, count in codes.items() if code.strip()].count(2) == 1


def test_movement_kinds(database: sa.Connection) -> None:
    query = f"""
        SELECT i.type, max({MOVED_AT}) FROM invoice_line l JOIN invoice i ON i.id = l.invoice_id GROUP BY i.type
    """  # noqa: S608 - our own words only
    latest = {row[0]: row[1] for row in database.execute(sa.text(query))}
    assert latest.keys() == {
        "INBOUND_SHIPMENT",
        "OUTBOUND_SHIPMENT",
        "PRESCRIPTION",
        "CUSTOMER_RETURN",
        "SUPPLIER_RETURN",
        "INVENTORY_ADDITION",
        "INVENTORY_REDUCTION",
        "REPACK",
    }
    assert latest["OUTBOUND_SHIPMENT"].startswith("2026-10-31")
    assert max(latest.values()) < "2026-11-01"


def test_references(database: sa.Connection) -> None:
    references = (
        ("item", "unit_id", "unit"),
        ("item_link", "item_id", "item"),
        ("name_link", "name_id", "name"),
        ("store", "name_link_id", "name_link"),
        ("(SELECT * FROM sync_buffer WHERE table_name = 'store') AS record", "record_id", "store"),
        ("(SELECT * FROM sync_buffer WHERE table_name <> 'store') AS record", "record_id", "requisition"),
        ("master_list_line", "item_link_id", "item_link"),
        ("master_list_line", "master_list_id", "master_list"),
        ("master_list_name_join", "master_list_id", "master_list"),
        ("master_list_name_join", "name_link_id", "name_link"),
        ("store_preference", "id", "store"),
        ("stock_line", "store_id", "store"),
        ("stock_line", "item_link_id", "item_link"),
        ("invoice", "store_id", "store"),
        ("invoice", "name_link_id", "name_link"),
        ("invoice", "linked_invoice_id", "invoice"),
        ("invoice_line", "invoice_id", "invoice"),
        ("invoice_line", "item_link_id", "item_link"),
        ("invoice_line", "stock_line_id", "stock_line"),
        ("name_store_join", "name_link_id", "name_link"),
        ("name_store_join", "store_id", "store"),
        ("requisition", "store_id", "store"),
        ("requisition", "name_link_id", "name_link"),
        ("requisition", "period_id", "period"),
        ("requisition_line", "requisition_id", "requisition"),
        ("requisition_line", "item_link_id", "item_link"),
    )
    for table, column, other in references:
        query = f"SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT id FROM {other})"  # noqa: S608 - our own words only
        assert database.execute(sa.text(query)).scalar_one() == 0, (table, column)


def test_summary(sample: tuple[str, SampleSummary], database: sa.Connection) -> None:
    def count(query: str) -> int:
        number: int = database.execute(sa.text(f"SELECT count(*) FROM {query}")).scalar_one()  # noqa: S608 - our own words only
        return number

    summary = sample[1]
    assert summary.stores == count("store")
    assert summary.items == count("item")
    assert summary.stock_lines == count("stock_line")
    assert summary.invoices == count("invoice")
    assert summary.movements == count("invoice_line WHERE type IN ('STOCK_IN', 'STOCK_OUT')")


def test_seed(tmp_path: Path) -> None:
    sqlite, other = f"sqlite:///{tmp_path}/one.sqlite", f"sqlite:///{tmp_path}/other.sqlite"
    with temporary_postgres() as server:
        database = server.new_database("msupply")
        summary = generate(database, stores=2, items=5, movements=500, seed=7)
        postgres_rows = rows_of(database)
    assert generate(sqlite, stores=2, items=5, movements=500, seed=7) == summary
    sqlite_rows = rows_of(sqlite)
    for table, rows in sqlite_rows.items():
        assert rows == postgres_rows[table], table
    generate(other, stores=2, items=5, movements=500, seed=8)
    assert rows_of(other)["invoice_line"] != sqlite_rows["invoice_line"]


def test_movement_count(tmp_path: Path) -> None:
    summary = generate(f"sqlite:///{tmp_path}/sample.sqlite", stores=15, items=100, movements=15_000)
    assert 12_000 < summary.movements < 18_000


def test_large_without_edge_cases(tmp_path: Path) -> None:
    large = generate(f"sqlite:///{tmp_path}/large.sqlite", stores=250, items=100, movements=1_000)
    assert (large.stores, large.items, large.inconsistent_pairs) == (250, 100, ())
    plain_one = generate(f"sqlite:///{tmp_path}/plain.sqlite", stores=2, items=2, edge_cases=False)
    assert (plain_one.stores, plain_one.items) == (2, 2)


def test_not_empty(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sample.sqlite"
    generate(url, stores=1, items=1, edge_cases=False)
    before = rows_of(url)
    with pytest.raises(SampleError, match="already holds a database of mSupply"):
        generate(url, stores=2, items=2)
    assert rows_of(url) == before


def test_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="cannot be written"):
        generate(f"sqlite:///{tmp_path}/missing/sample.sqlite", stores=1, items=1)
    with pytest.raises(SampleError, match=r"127\.0\.0\.1") as error:
        generate("postgresql://user:topsecret@127.0.0.1:1/msupply", stores=1, items=1)
    assert "topsecret" not in str(error.value)


def test_mirror_needs_postgresql(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"cannot hold the mirror of the older mSupply: give postgresql"):
        generate(f"sqlite:///{tmp_path}/sample.sqlite", stores=1, items=1, kind=SampleKind.MIRROR)


def test_mirror_contents(tmp_path: Path) -> None:
    zone = ZoneInfo("Pacific/Auckland")
    sizes: dict[str, Any] = {"stores": 3, "items": 12, "seed": 7, "edge_cases": True}
    with temporary_postgres() as server:
        url = server.new_database("dashboard")
        of_mirror = generate(url, kind=SampleKind.MIRROR, time_zone=zone, **sizes)
        of_open_msupply = generate(f"sqlite:///{tmp_path}/sample.sqlite", **sizes)
        with psycopg.connect(url) as connection:
            for what, query in MIRROR_CASES.items():
                assert connection.execute(query).fetchone() is not None, what
    assert of_mirror == of_open_msupply


MIRROR_CASES = {
    "a cancellation by a negative quantity": """
        SELECT 1 FROM transact t JOIN trans_line l ON l.transaction_id = t.id
        WHERE t.type = 'ci' AND t.mode = 'dispensary' AND l.type = 'stock_out' AND l.quantity < 0""",
    "a count of the stock": """
        SELECT 1 FROM transact t JOIN name n ON n.id = t.name_id WHERE n.code = 'invad' AND t.type = 'sc'""",
    "a transaction that has moved without a date": """
        SELECT 1 FROM transact WHERE status IN ('cn', 'fn') AND confirm_date IS NULL""",
    "a transaction that has not moved yet": "SELECT 1 FROM transact WHERE status IN ('nw', 'sg')",
    "an item that is listed and hidden in a store": """
        SELECT 1 FROM item_store_join h JOIN store s ON s.id = h.store_id
        JOIN list_master_name_join j ON j.name_id = s.name_id
        JOIN list_master_line l ON l.item_master_id = j.list_master_id AND l.item_id = h.item_id
        WHERE h.inactive""",
    "a store that mSupply keeps for itself, with an org unit": """
        SELECT 1 FROM store WHERE code = 'SM' AND custom_data ->> 'Dhis2Code' <> ''""",
    "a transaction of summer time": """
        SELECT 1 FROM transact WHERE type = 'si' AND confirm_date BETWEEN '2026-01-01' AND '2026-01-31'
          AND confirm_time BETWEEN 21 * 3600 AND 22 * 3600""",
    "a placeholder": "SELECT 1 FROM trans_line WHERE type = 'placeholder'",
}


@pytest.mark.slow
def test_mirror_command() -> None:
    with temporary_postgres() as server:
        url = server.new_database("dashboard")
        made = run_sample(url, "--kind", "mirror", "--time-zone", "Pacific/Auckland", "--stores", "2")
        assert made.returncode == 0
        with psycopg.connect(url) as connection:
            moved = "SELECT 1 FROM transact WHERE confirm_date IS NOT NULL"
            assert connection.execute(moved).fetchone() is not None
    assert "no time zone: Auckland" in run_sample("sqlite://", "--time-zone", "Auckland").stderr


def run_sample(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox.sample", url, *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_output(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sample.sqlite"
    made = run_sample(url, "--stores", "2", "--items", "3", "--as-of", "2025-02-28", "--no-edge-cases")
    assert made.returncode == 0
    assert made.stdout.startswith("2 stores, 3 items, ")
    assert made.stdout.endswith("movements until 2025-02-28\n")
    again = run_sample(url)
    assert again.returncode == 1
    assert not again.stdout
    assert "already holds a database of mSupply" in again.stderr.replace("\n", " ")
