"""The rules of docs/msupply.md for the mirror of the older mSupply, each on a small mirror in PostgreSQL."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from msupply_dhis2.compute.event import parse_compute_event
from msupply_dhis2.compute.job import ComputeJob
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.compute.sharding import whole_run
from msupply_dhis2.compute.values import OrgUnitValues
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import (
    MICRO,
    ConsumptionPreferences,
    Kind,
    MovementKind,
    PairHistory,
    Skipped,
    StockLine,
)
from msupply_dhis2.errors import SourceError
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.settings.credentials import parse_database_address
from msupply_dhis2.source import open_source
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.queries import Scope
from sandbox.postgres import TemporaryPostgres
from sandbox.sample import SampleKind, generate, mirror_tables
from tests.support.mirror_database import MirrorDatabase
from tests.support.open_msupply_database import (
    CALENDAR,
    data_warnings,
    pairs_by_code,
    read_catalogue,
    scope_of,
)

FLOOR = datetime(2022, 3, 31, 11)  # noqa: DTZ001 - instants of a source are naive, in UTC
EARLY = "2021-05-06"
LATE = "2022-04-05"
NOON = 12 * 3600
PAIR = ("KAMO", "amoxicillin")

COLUMNS = [
    (table.name, column.name) for table in mirror_tables.METADATA.tables.values() for column in table.columns
]


@pytest.fixture
def database(postgres: TemporaryPostgres) -> MirrorDatabase:
    return MirrorDatabase(postgres.url)


@pytest.fixture(params=["typed", "text"])
def either(request: pytest.FixtureRequest, database: MirrorDatabase) -> MirrorDatabase:
    """A mirror with the types of the export, and one that holds nothing but text."""
    if request.param == "text":
        database.make_all_text()
    return database


@pytest.fixture
def kamo(database: MirrorDatabase) -> str:
    return database.add_store("KAMO")


@pytest.fixture
def amoxicillin(database: MirrorDatabase) -> str:
    return database.add_item("amoxicillin")


def moved(pair: PairHistory) -> list[tuple[MovementKind, int]]:
    return [(movement.kind, movement.units // MICRO) for movement in pair.movements]


def history(source: Source, floor: datetime = FLOOR) -> PairHistory:
    return pairs_by_code(source, floor)[PAIR]


# Which stores are sent


@pytest.mark.usefixtures("amoxicillin")
def test_store(either: MirrorDatabase) -> None:
    either.add_store("KAMO", {"Dhis2Code": "OU plain", "monthlyConsumptionLookBackPeriod": {"data": "6"}})
    either.add_store(
        "OPUA", {"Dhis2Code": {"data": " OU "}, "monthlyConsumptionLookBackPeriod": {"data": "0"}}
    )
    with either.open() as source:
        catalogue = read_catalogue(source)
    assert [(store.id, store.name, store.org_unit, store.look_back_months) for store in catalogue.stores] == [
        ("store-KAMO", "KAMO clinic", "OU plain", Fraction(6)),
        ("store-OPUA", "OPUA clinic", "OU", None),
    ]
    assert catalogue.preferences == ConsumptionPreferences()
    assert catalogue.warnings == ()


@pytest.mark.usefixtures("amoxicillin", "kamo")
def test_skipped_stores(
    either: MirrorDatabase,
) -> None:
    either.add_store("SHUT", disabled=True)
    for code in ("SM", "HIS", "DRG"):
        either.add_store(code)
    with either.open() as source:
        catalogue = read_catalogue(source)
    assert [store.code for store in catalogue.stores] == ["KAMO"]
    own = "it is a store of mSupply's own (not a real store)"
    assert set(catalogue.skipped) == {
        Skipped(Kind.STORE, "SHUT", "SHUT clinic", "it is disabled in mSupply"),
        *(Skipped(Kind.STORE, code, f"{code} clinic", own) for code in ("SM", "HIS", "DRG")),
    }


@pytest.mark.usefixtures("amoxicillin", "kamo")
def test_broken_custom_data(database: MirrorDatabase) -> None:
    database.make_all_text()
    database.add_store("TORN", '{"Dhis2Code": ')
    database.add_store("BARE", "")
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert [store.code for store in catalogue.stores] == ["KAMO"]
    assert catalogue.warnings == (
        "Stores whose custom fields cannot be read (broken JSON), so they count as empty: TORN clinic (TORN).",
    )


# Which items are sent


@pytest.mark.usefixtures("kamo")
def test_item_fields(either: MirrorDatabase) -> None:
    either.add_item(
        "a",
        user_field_1=" one ",
        user_field_2=" ",
        user_field_5=12,
        custom_data={"dhis2": {"data": "custom"}},
    )
    either.add_item("b", user_field_5=0, user_field_4=True, universalcodes_code=" padded ")
    fields = ("universal_code", "user_field_1", "user_field_2", "user_field_4", "user_field_5", "dhis2")
    with either.open() as source:
        first, second = read_catalogue(source, fields=fields).items
    assert first.fields == {
        "universal_code": "uc-a",
        "user_field_1": "one",
        "user_field_5": "12",
        "dhis2": "custom",
    }
    assert second.fields == {"universal_code": "padded"}
    assert second.name == "b tabs"


@pytest.mark.usefixtures("kamo")
def test_other_item_types(database: MirrorDatabase) -> None:
    database.add_item("stock")
    database.add_item("transport", type_of="service")
    database.add_item("chair", type_of="non_stock")
    database.add_item("none", universalcodes_code="")
    with database.open() as source:
        catalogue = read_catalogue(source)
    assert [item.code for item in catalogue.items] == ["stock"]
    assert [(each.code, each.reason) for each in catalogue.skipped] == [
        ("chair", "its type is non-stock, not general (stock)"),
        ("transport", "its type is service, not general (stock)"),
    ]
    assert [each.code for each in catalogue.blank(Kind.ITEM)] == ["none"]


@pytest.mark.usefixtures("kamo")
@pytest.mark.parametrize(
    ("include", "ticked", "empty"),
    [
        ("user_field_4", {"user_field_4": True}, {"user_field_4": False}),
        ("user_field_7", {"user_field_7": True}, {"user_field_7": None}),
        ("push", {"custom_data": {"push": {"data": "true"}}}, {"custom_data": {"push": {"data": "false"}}}),
        ("push", {"custom_data": {"push": True}}, {}),
    ],
)
def test_include_field(
    either: MirrorDatabase, include: str, ticked: dict[str, object], empty: dict[str, object]
) -> None:
    either.add_item("yes", **ticked)
    either.add_item("no", **empty)
    with either.open() as source:
        catalogue = read_catalogue(source, include=include)
    assert [item.code for item in catalogue.items] == ["yes"]
    assert catalogue.items_not_included == 1


# Stock


def test_stock_lines(either: MirrorDatabase) -> None:
    kamo, amoxicillin = either.add_store("KAMO"), either.add_item("amoxicillin")
    either.add_stock(
        kamo, amoxicillin, 2.5, id="a", pack_size=10, available=1, expiry_date="2022-06-30", hold=True
    )
    either.add_stock(kamo, amoxicillin, 7, id="b", pack_size=0)
    either.add_stock(kamo, amoxicillin, None, id="c", pack_size=None)
    with either.open() as source:
        lines = history(source).stock_lines
        warnings = data_warnings(source)
    assert lines == [
        StockLine("a", 25 * MICRO, date(2022, 6, 30)),
        StockLine("b", 0, None),
        StockLine("c", 0, None),
    ]
    assert warnings == ("Stock lines without a pack size count as 0 units: 2 (with packs: 1).",)


def test_empty_dates(database: MirrorDatabase) -> None:
    database.make_all_text()
    kamo, amoxicillin = database.add_store("KAMO"), database.add_item("amoxicillin")
    for number, text in enumerate(["0000-00-00", "", "0000-00-00T00:00:00", "2022-06-30T00:00:00"]):
        database.add_stock(kamo, amoxicillin, 1, id=f"line-{number}", expiry_date=text)
    with database.open() as source:
        (group,) = source.histories(scope_of(read_catalogue(source)), FLOOR)
    assert [line.expiry_date for line in group.pairs[0].stock_lines] == [None, None, None, date(2022, 6, 30)]
    assert group.unreadable == []


# Movements

KINDS = [
    ("ci", {"mode": "store"}, MovementKind.OUTBOUND_SHIPMENT),
    ("ci", {"mode": "dispensary"}, MovementKind.PRESCRIPTION),
    ("ci", {"mode": None}, MovementKind.OUTBOUND_SHIPMENT),
    ("si", {}, MovementKind.INBOUND_SHIPMENT),
    ("si", {"name_id": "adjusting"}, MovementKind.INVENTORY_ADDITION),
    ("sc", {"name_id": "adjusting"}, MovementKind.INVENTORY_REDUCTION),
    ("cc", {}, MovementKind.CUSTOMER_RETURN),
    ("sc", {}, MovementKind.SUPPLIER_RETURN),
    ("sr", {}, MovementKind.REPACK),
    ("bu", {}, None),
]


@pytest.mark.parametrize(("kind", "values", "expected"), KINDS)
@pytest.mark.slow
def test_transaction_kinds(
    either: MirrorDatabase, kind: str, values: dict[str, object], expected: MovementKind | None
) -> None:
    kamo, amoxicillin = either.add_store("KAMO"), either.add_item("amoxicillin")
    transaction = either.add_transaction(kamo, kind, LATE, **values)
    either.add_line(transaction, amoxicillin, 5)
    either.add_line(transaction, amoxicillin, -3)
    with either.open() as source:
        movements = moved(history(source))
    # What a build makes is an addition, what it takes a reduction, so that adjustments hold the sum.
    assert sorted(movements, key=lambda movement: -movement[1]) == [
        (expected or MovementKind.INVENTORY_ADDITION, 5),
        (expected or MovementKind.INVENTORY_REDUCTION, -3),
    ]


def test_negative_quantity(database: MirrorDatabase, kamo: str, amoxicillin: str) -> None:
    prescription = database.add_transaction(kamo, "ci", LATE, 100, mode="dispensary")
    database.add_line(prescription, amoxicillin, 8, type="stock_out")
    cancelled = database.add_transaction(kamo, "ci", LATE, 200, mode="dispensary")
    database.add_line(cancelled, amoxicillin, -8, type="stock_out")
    build = database.add_transaction(kamo, "bu", LATE, 300)
    database.add_line(build, amoxicillin, -2, type="stock_in")
    with database.open() as source:
        pair = history(source)
    assert moved(pair) == [
        (MovementKind.INVENTORY_REDUCTION, -2),
        (MovementKind.PRESCRIPTION, 8),
        (MovementKind.PRESCRIPTION, -8),
    ]
    assert pair.first_in == pair.movements[1].instant


@pytest.mark.parametrize("status", ["cn", "fn"])
def test_moved_statuses(database: MirrorDatabase, kamo: str, amoxicillin: str, status: str) -> None:
    database.move(kamo, amoxicillin, 4, "si", LATE, NOON, status=status)
    with database.open() as source:
        (movement,) = history(source).movements
    # Noon in Auckland after summer time.
    assert movement.instant == datetime(2022, 4, 5)  # noqa: DTZ001 - naive, in UTC
    assert movement.units == 4 * MICRO


@pytest.mark.parametrize("status", ["nw", "sg", "wp", "", None])
def test_unmoved_statuses(database: MirrorDatabase, kamo: str, amoxicillin: str, status: str | None) -> None:
    database.make_visible(amoxicillin, "name-of-KAMO")
    database.move(kamo, amoxicillin, 4, "si", LATE, status=status)
    database.move(database.add_store("OPUA"), amoxicillin, 4, "si", LATE)
    with database.open() as source:
        pair = history(source)
        assert data_warnings(source) == ()
    assert (pair.movements, pair.first_in, pair.units_before_floor) == ([], None, 0)


@pytest.mark.parametrize(
    ("nothing", "types"), [(None, "typed"), (None, "text"), ("", "text"), ("0000-00-00", "text")]
)
def test_moved_without_date(
    database: MirrorDatabase, kamo: str, amoxicillin: str, nothing: str | None, types: str
) -> None:
    if types == "text":
        database.make_all_text()
    database.make_visible(amoxicillin, "name-of-KAMO")
    database.move(kamo, amoxicillin, 4, "si", nothing, name_id="adjusting", invoice_num=17)  # type: ignore[arg-type]
    database.move(kamo, amoxicillin, 4, "ci", nothing, status="nw")  # type: ignore[arg-type]
    with database.open() as source:
        assert history(source).movements == []
        (warning,) = data_warnings(source)
    assert "that have no date for it" in warning
    assert warning.endswith(": 1, namely KAMO supplier invoice 17.")


BEGAN = datetime(2022, 4, 5, 0, 30)  # noqa: DTZ001 - naive, in UTC: half past twelve in Auckland
FAR_BACK = datetime(2000, 1, 1)  # noqa: DTZ001 - as above


def local(day: str, seconds: float = 0) -> datetime:
    return CALENDAR.instant_at(datetime.fromisoformat(day) + timedelta(seconds=seconds))


def instants(database: MirrorDatabase) -> tuple[list[tuple[datetime, int]], tuple[str, ...]]:
    """Read the movements, whatever the floor: those before it show in the sum before it and in nothing else."""
    with database.open(began=BEGAN) as source:
        pair = history(source, FAR_BACK)
    movements = [(each.instant, each.units // MICRO) for each in pair.movements]
    for floor in (FLOOR, *(instant for instant, _ in movements)):
        with database.open(began=BEGAN) as source:
            later = history(source, floor)
            warnings = data_warnings(source)
        assert later.movements == [each for each in pair.movements if each.instant >= floor]
        assert later.units_before_floor == sum(each.units for each in pair.movements if each.instant < floor)
    return movements, warnings


@pytest.mark.parametrize(
    ("day", "seconds", "entered", "counts_at"),
    [
        # Not later than the reading.
        (LATE, NOON + 1800, {"entry_date": EARLY, "entry_time": 0}, local(LATE, NOON + 1800)),
        (LATE, NOON + 1801, {"entry_date": LATE, "entry_time": NOON}, local(LATE, NOON)),
        (LATE, 86_340, {"entry_date": EARLY, "entry_time": 60}, local(EARLY, 60)),
        (LATE, 86_340, {"entry_date": EARLY, "entry_time": None}, local(EARLY)),
        ("2027-01-01", 0, {"entry_date": "2027-01-01", "entry_time": 0}, local(LATE)),
        ("2027-01-01", 0, {"entry_date": LATE, "entry_time": NOON + 1801}, local(LATE)),
        ("2027-01-01", 0, {}, local(LATE)),
    ],
)
@pytest.mark.slow
def test_future_date(
    either: MirrorDatabase, day: str, seconds: int, entered: dict[str, object], counts_at: datetime
) -> None:
    kamo, amoxicillin = either.add_store("KAMO"), either.add_item("amoxicillin")
    either.move(kamo, amoxicillin, -20, "ci", day, seconds, invoice_num=4711, **entered)
    movements, warnings = instants(either)
    assert movements == [(counts_at, -20)]
    is_later = (day, seconds) > (LATE, NOON + 1800)
    assert [": 1, namely KAMO customer invoice 4711. " in each for each in warnings] == [True] * is_later


def test_empty_entry_date(database: MirrorDatabase) -> None:
    kamo, amoxicillin = database.add_store("KAMO"), database.add_item("amoxicillin")
    database.make_all_text()
    database.move(kamo, amoxicillin, -20, "ci", "2027-01-01", entry_date="tomorrow", entry_time="soon")
    assert instants(database)[0] == [(local(LATE), -20)]


@pytest.mark.parametrize(
    ("original", "counts_at"),
    [
        ({"day": "2022-03-31", "seconds": 86_399}, local("2022-03-31", 86_399)),
        ({"day": EARLY, "seconds": 0}, local(EARLY)),
        # Later than what cancels it, and of another type.
        ({"day": "2022-04-04", "seconds": 60, "kind": "si"}, local("2022-04-04", 60)),
        ({"day": LATE, "seconds": 86_399, "entry_date": LATE, "entry_time": 60}, local(LATE, 60)),
        ({"day": LATE, "seconds": 86_399}, local(LATE)),
        # By its own time.
        ({"day": None}, local("2022-04-01", 9)),
        ({"day": EARLY, "status": "nw"}, local("2022-04-01", 9)),
        ({"day": EARLY, "kind": "ps"}, local("2022-04-01", 9)),
        ({"day": EARLY, "id": "something else"}, local("2022-04-01", 9)),
    ],
)
@pytest.mark.slow
def test_cancellation(either: MirrorDatabase, original: dict[str, Any], counts_at: datetime) -> None:
    kamo, amoxicillin = either.add_store("KAMO"), either.add_item("amoxicillin")
    either.add_transaction(kamo, **{"id": "original", "kind": "ci", **original})
    cancelling = {"is_cancellation": True, "linked_transaction_id": "original"}
    either.move(kamo, amoxicillin, 7, "ci", "2022-04-01", 9, **cancelling)
    assert instants(either)[0] == [(counts_at, 7)]


@pytest.mark.slow
def test_linked_is_no_cancellation(
    either: MirrorDatabase,
) -> None:
    kamo, amoxicillin = either.add_store("KAMO"), either.add_item("amoxicillin")
    sent = either.add_transaction(kamo, "ci", EARLY)
    either.move(kamo, amoxicillin, 7, "si", LATE, linked_transaction_id=sent, is_cancellation=False)
    either.move(kamo, amoxicillin, 8, "si", LATE, 60, linked_transaction_id=sent)
    either.move(kamo, amoxicillin, 9, "si", None, linked_transaction_id=sent, is_cancellation=True)  # type: ignore[arg-type]
    assert instants(either)[0] == [(local(LATE, 60), 8), (local(LATE), 7)]


def test_receipts_without_date(either: MirrorDatabase) -> None:
    kamo, amoxicillin = either.add_store("KAMO"), either.add_item("amoxicillin")
    line, empty = either.add_stock(kamo, amoxicillin, 10), either.add_stock(kamo, amoxicillin, 0)
    for named, day, values in (
        (line, None, {}),
        (line, None, {}),
        (empty, None, {}),
        (None, None, {}),
        (line, LATE, {}),
        (line, None, {"status": "sg"}),
        (line, None, {"name_id": "adjusting"}),
    ):
        receipt = either.add_transaction(kamo, "si", day, **{"status": "nw", **values})
        either.add_line(receipt, amoxicillin, 5, item_line_id=named)
    with either.open() as source:
        history(source)
        (warning,) = data_warnings(source)
    assert (
        "have no date, although their stock is in the store: 2, by store KAMO 2. Stock is right." in warning
    )
    either.execute("ALTER TABLE trans_line DROP COLUMN item_line_id")
    with either.open() as source:
        history(source)
        assert data_warnings(source) == ()


@pytest.mark.parametrize("line", ["placeholder", "service", "non_stock"])
def test_line_types(database: MirrorDatabase, kamo: str, amoxicillin: str, line: str) -> None:
    transaction = database.add_transaction(kamo, "si", LATE)
    database.add_line(transaction, amoxicillin, 4, type=line)
    database.add_line(transaction, amoxicillin, None, type="stock_in")
    database.add_line(transaction, amoxicillin, 0, type="stock_in")
    database.add_line(transaction, amoxicillin, 3)
    database.move(kamo, amoxicillin, 9, "ps", LATE)
    with database.open() as source:
        assert moved(history(source)) == [(MovementKind.INBOUND_SHIPMENT, 3)]


def test_order_and_floor(either: MirrorDatabase) -> None:
    kamo, amoxicillin = either.add_store("KAMO"), either.add_item("amoxicillin")
    either.move(kamo, amoxicillin, 100, "si", EARLY, NOON)
    either.move(kamo, amoxicillin, -30, "ci", "2021-06-01")
    # The floor is the midnight that begins April in Auckland.
    either.move(kamo, amoxicillin, -7, "ci", "2022-03-31", 86_399)
    either.move(kamo, amoxicillin, -5, "ci", "2022-04-01", 0)
    either.move(kamo, amoxicillin, -2, "ci", LATE, NOON)
    with either.open() as source:
        pair = history(source)
    assert [(str(movement.instant), movement.units // MICRO) for movement in pair.movements] == [
        ("2022-04-05 00:00:00", -2),
        ("2022-03-31 11:00:00", -5),
    ]
    assert pair.units_before_floor == 63 * MICRO
    assert pair.first_in == datetime(2021, 5, 6)  # noqa: DTZ001 - naive, in UTC


def test_stock_line_of_movement(database: MirrorDatabase, kamo: str, amoxicillin: str) -> None:
    transaction = database.add_transaction(kamo, "si", LATE)
    for line in ("line-1", "", None):
        database.add_line(transaction, amoxicillin, 1, item_line_id=line)
    with database.open() as source:
        named = [movement.stock_line_id for movement in history(source).movements]
    assert sorted(named, key=str) == [None, None, "line-1"]


def test_no_pack_size(database: MirrorDatabase, kamo: str, amoxicillin: str) -> None:
    transaction = database.add_transaction(kamo, "si", LATE)
    for pack_size in (0, None):
        database.add_line(transaction, amoxicillin, 3, pack_size=pack_size)
    with database.open() as source:
        pair = history(source)
        (warning,) = data_warnings(source)
    assert [movement.units for movement in pair.movements] == [0, 0]
    assert (pair.first_in, pair.units_before_floor) == (None, 0)
    assert "count as movements of 0 units: 2" in warning


def test_sums(either: MirrorDatabase) -> None:
    kamo, amoxicillin = either.add_store("KAMO"), either.add_item("amoxicillin")
    transaction = either.add_transaction(kamo, "si", EARLY)
    packs = [(0.1, 1), (0.2, 1), (-0.3, 1), (1 / 3, 3), (12, 100), (-1e8, 2.5), (0.0000005, 1)]
    for number, pack_size in packs:
        either.add_line(transaction, amoxicillin, number, pack_size=pack_size)
    with either.open() as source:
        summed = history(source)
        single = history(source, datetime(2000, 1, 1))  # noqa: DTZ001 - naive, in UTC
    assert len(single.movements) == len(packs)
    assert summed.units_before_floor == sum(movement.units for movement in single.movements)
    assert single.units_before_floor == 0
    assert summed.units_before_floor == 1_000_000 + 1_200 * MICRO - 250_000_000 * MICRO + 1


# Local time


@pytest.mark.parametrize(
    ("day", "seconds", "instant"),
    [
        ("2022-01-15", NOON, "2022-01-14 23:00:00"),
        ("2022-07-15", NOON, "2022-07-15 00:00:00"),
        # The clock shows the hour from 2 twice: the first counts.
        ("2022-04-03", 2 * 3600 + 1800, "2022-04-02 13:30:00"),
        ("2022-04-03", 3 * 3600, "2022-04-02 15:00:00"),
        # It skips the hour from 2: what is said to have happened then happened as it was put forward.
        ("2022-09-25", 2 * 3600 - 1, "2022-09-24 13:59:59"),
        ("2022-09-25", 2 * 3600 + 1800, "2022-09-24 14:00:00"),
        ("2022-09-25", 3 * 3600, "2022-09-24 14:00:00"),
        # Times that no clock shows stay on their day.
        ("2022-07-15", 86_400, "2022-07-15 11:59:59"),
        ("2022-07-15", -5, "2022-07-14 12:00:00"),
        ("2022-07-15", None, "2022-07-14 12:00:00"),
    ],
)
@pytest.mark.slow
def test_time_zone(either: MirrorDatabase, day: str, seconds: int | None, instant: str) -> None:
    kamo, amoxicillin = either.add_store("KAMO"), either.add_item("amoxicillin")
    either.move(kamo, amoxicillin, 1, "si", day, seconds)
    with either.open() as source:
        (movement,) = history(source, datetime(2022, 1, 1)).movements  # noqa: DTZ001 - naive, in UTC
    assert str(movement.instant) == instant


def test_skipped_midnight(database: MirrorDatabase, kamo: str, amoxicillin: str) -> None:
    database.move(kamo, amoxicillin, 1, "si", "2011-12-30", NOON)
    calendar = Calendar(ZoneInfo("Pacific/Apia"))
    midnight = calendar.start_of_day(date(2011, 12, 31))
    with database.open(calendar) as source:
        (movement,) = history(source, midnight).movements
    assert movement.instant == midnight


@pytest.mark.parametrize(
    ("text", "shown"), [("08:30:15", 30_615), ("8:30", 30_600), ("30615", 30_615), (" ", 0), ("odd", 0)]
)
def test_time_as_text(database: MirrorDatabase, kamo: str, amoxicillin: str, text: str, shown: int) -> None:
    database.make_all_text()
    database.move(kamo, amoxicillin, 1, "si", "2022-07-15", text)
    with database.open() as source:
        (movement,) = history(source).movements
    assert (movement.instant - datetime(2022, 7, 14, 12)).total_seconds() == shown  # noqa: DTZ001 - naive, in UTC


@pytest.mark.parametrize("kind", ["time", "interval", "numeric", "double precision"])
def test_time_types(database: MirrorDatabase, kamo: str, amoxicillin: str, kind: str) -> None:
    database.move(kamo, amoxicillin, 1, "si", "2022-07-15", 30_615)
    using = (
        f"make_interval(secs => confirm_time)::{kind}"
        if kind in {"time", "interval"}
        else f"confirm_time::{kind}"
    )
    database.execute(f"ALTER TABLE transact ALTER confirm_time TYPE {kind} USING {using}")
    with database.open() as source:
        (movement,) = history(source).movements
    assert str(movement.instant) == "2022-07-14 20:30:15"


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_timestamp_as_date(database: MirrorDatabase, kamo: str, amoxicillin: str, kind: str) -> None:
    database.move(kamo, amoxicillin, 1, "si", "2022-07-15", NOON)
    database.add_stock(kamo, amoxicillin, 1, expiry_date="2022-08-01")
    database.execute(f"ALTER TABLE transact ALTER confirm_date TYPE {kind}")
    database.execute(f"ALTER TABLE item_line ALTER expiry_date TYPE {kind}")
    with database.open() as source:
        pair = history(source)
    assert str(pair.movements[0].instant) == "2022-07-15 00:00:00"
    assert pair.stock_lines[0].expiry_date == date(2022, 8, 1)


@pytest.mark.parametrize("kind", ["real", "numeric", "integer"])
def test_quantity_types(database: MirrorDatabase, kamo: str, amoxicillin: str, kind: str) -> None:
    packs = 2 if kind == "integer" else 0.1
    database.add_stock(kamo, amoxicillin, packs)
    database.move(kamo, amoxicillin, packs, "si", EARLY)
    for table in ("item_line", "trans_line"):
        for column in ("quantity", "pack_size"):
            database.execute(f"ALTER TABLE {table} ALTER {column} TYPE {kind}")
    with database.open() as source:
        pair = history(source)
    assert pair.stock_lines[0].units == pair.units_before_floor == int(packs * MICRO)


def test_uuid_ids(database: MirrorDatabase) -> None:
    kamo = "0a0a0a0a-0000-0000-0000-00000000000a"
    amoxicillin = "0a0a0a0a-0000-0000-0000-00000000000b"
    database.add("store", id=kamo, code="KAMO", name="Kamo", custom_data={"Dhis2Code": "OU"})
    database.add("item", id=amoxicillin, code="amoxicillin", type_of="general", universalcodes_code="uc")
    database.add_stock(kamo, amoxicillin, 1, id=kamo)
    transaction = database.add_transaction(kamo, "si", EARLY, id=kamo)
    database.add_line(transaction, amoxicillin, 3, id=kamo)
    for table, column in (
        ("store", "id"),
        ("item", "id"),
        ("item_line", "id"),
        ("item_line", "store_id"),
        ("item_line", "item_id"),
        ("transact", "id"),
        ("transact", "store_id"),
        ("trans_line", "transaction_id"),
        ("trans_line", "item_id"),
    ):
        database.execute(f"ALTER TABLE {table} ALTER {column} TYPE uuid USING {column}::uuid")
    with database.open() as source:
        pair = history(source)
        assert source.lines([pair.store]) == {kamo: 2}
    assert (pair.units_before_floor, pair.stock_lines[0].units) == (3 * MICRO, MICRO)


NO_NUMBER = (
    "quantity or pack_size is not a finite number, or together they make more than 1,000,000,000,000 units"
)


def unreadable(source: Source, floor: datetime = FLOOR) -> dict[str, list[tuple[str, str, str]]]:
    """Read all groups, by the codes of their items."""
    groups = source.histories(scope_of(read_catalogue(source)), floor)
    return {
        group.pairs[0].item.code: [(row.table, row.id, row.fault) for row in group.unreadable]
        for group in groups
    }


def test_unreadable_row(database: MirrorDatabase, kamo: str) -> None:
    database.make_all_text()
    expected: dict[str, list[tuple[str, str, str]]] = {}

    def item(code: str) -> str:
        expected[code] = []
        return database.add_item(code)

    for column in ("quantity", "pack_size"):
        for text in ("1,5", "many", "NaN", "infinity", "1e999", "--1", "\N{ARABIC-INDIC DIGIT ONE}", "1e13"):
            code = f"{column} {text}"
            row = database.add_stock(kamo, item(code), 1, **{column: text})
            expected[code] = [("item_line", row, NO_NUMBER)]
        for text in ("1,5", "NaN", "-1e13"):
            for day in (EARLY, LATE):
                code = f"moved {column} {text} {day}"
                row = database.add_line(
                    database.add_transaction(kamo, "si", day), item(code), 1, **{column: text}
                )
                expected[code] = [("trans_line", row, NO_NUMBER)]
    row = database.add_stock(kamo, item("soon"), 1, expiry_date="soon")
    expected["soon"] = [("item_line", row, "expiry_date is not a date ('soon')")]
    for text in ("2022-02-30", "15/07/2022", "2022-13-01", "yesterday", "2022-7-5"):
        transaction = database.add_transaction(kamo, "ci", text, invoice_num=23)
        for moved_item in (item(text), item(f"{text} too")):
            database.add_line(transaction, moved_item, 1)
            database.add_line(transaction, moved_item, 2)
        fault = f"confirm_date is not a date ('{text}'; customer invoice 23)"
        expected[text] = expected[f"{text} too"] = [("transact", transaction, fault)]
    healthy = item("healthy")
    database.add_stock(kamo, healthy, "1e12")  # type: ignore[arg-type]
    for units, day in ((4, EARLY), (3, LATE)):
        database.move(kamo, healthy, units, "si", day)
    for floor in (FLOOR, datetime(2000, 1, 1)):  # noqa: DTZ001 - naive, in UTC
        with database.open() as source:
            assert unreadable(source, floor) == expected


def test_infinite_values(database: MirrorDatabase, kamo: str) -> None:
    expected = {}
    for packs in ("inf", "nan", "1e13"):
        line = database.add_line(database.add_transaction(kamo, "si", EARLY), database.add_item(packs), 1)
        database.execute(f"UPDATE trans_line SET quantity = '{packs}' WHERE id = '{line}'")  # noqa: S608 - our own number
        expected[packs] = [("trans_line", line, NO_NUMBER)]
    for day in ("infinity", "-infinity", "20220-01-01"):
        transaction = database.add_transaction(kamo, "ci", day, invoice_num=23)
        database.add_line(transaction, database.add_item(day), 1)
        expected[day] = [
            ("transact", transaction, f"confirm_date is not a date ('{day}'; customer invoice 23)")
        ]
    database.move(kamo, database.add_item("healthy"), 1, "si", EARLY)
    expected["healthy"] = []
    with database.open() as source:
        assert unreadable(source) == expected
    database.execute("ALTER TABLE trans_line DROP id")
    with database.open() as source:
        assert unreadable(source)["inf"][0][1].startswith("of the transaction transact-")


def test_difference_and_negative(database: MirrorDatabase, kamo: str, amoxicillin: str) -> None:
    line = database.add_stock(kamo, amoxicillin, -2)
    database.move(kamo, amoxicillin, 4, "si", EARLY)
    database.move(kamo, amoxicillin, -1, "ci", LATE)
    with database.open() as source:
        history(source)
        below, ledger = source.warnings()
    assert (
        f"amoxicillin tabs (item amoxicillin) in KAMO clinic (store KAMO), stock line {line}: -2 units."
        in below
    )
    assert "1 of 1" in ledger
    assert ledger.endswith("amoxicillin tabs (item amoxicillin) in KAMO clinic (store KAMO): -5 units.")


def test_uncounted_non_number(database: MirrorDatabase, kamo: str, amoxicillin: str) -> None:
    database.make_all_text()
    database.add_stock(kamo, amoxicillin, 2)
    database.add_stock(database.add_store("OPUA", {}), amoxicillin, "many")  # type: ignore[arg-type]
    database.add_stock(kamo, database.add_item("zinc", universalcodes_code=""), "many")  # type: ignore[arg-type]
    for type_of_line, transaction in (
        ("stock_in", database.add_transaction(kamo, "si", EARLY, status="nw")),
        ("stock_in", database.add_transaction(kamo, "si", None)),
        ("placeholder", database.add_transaction(kamo, "si", EARLY)),
    ):
        database.add_line(transaction, amoxicillin, 1, type=type_of_line)
    database.execute("UPDATE trans_line SET quantity = 'many', pack_size = 'few'")
    database.move(kamo, amoxicillin, 3, "si", EARLY)
    database.move(kamo, amoxicillin, 4, "si", LATE)
    with database.open() as source:
        pair = history(source)
    assert [line.units for line in pair.stock_lines] == [2 * MICRO]
    assert (moved(pair), pair.units_before_floor) == ([(MovementKind.INBOUND_SHIPMENT, 4)], 3 * MICRO)


@pytest.mark.parametrize(
    ("text", "units"),
    [("2.5", 2.5), (" 2 ", 2), ("+2", 2), (".5", 0.5), ("5.", 5), ("1e3", 1000), ("2E-1", 0.2)],
)
def test_number_as_text(
    database: MirrorDatabase, kamo: str, amoxicillin: str, text: str, units: float
) -> None:
    database.make_all_text()
    database.add_stock(kamo, amoxicillin, text)  # type: ignore[arg-type]
    with database.open() as source:
        assert [line.units for line in history(source).stock_lines] == [units * MICRO]


# Which pairs there are


def test_visible_pairs(either: MirrorDatabase) -> None:
    kamo, opua = either.add_store("KAMO"), either.add_store("OPUA")
    items = {
        code: either.add_item(code) for code in ("listed", "hidden", "shown", "stocked", "moved", "neither")
    }
    for code in ("listed", "hidden", "shown", "stocked"):
        either.make_visible(items[code], "name-of-KAMO")
    either.make_visible(items["listed"], "name-of-KAMO")
    either.add("item_store_join", store_id=kamo, item_id=items["hidden"], inactive=True)
    either.add("item_store_join", store_id=opua, item_id=items["listed"], inactive=True)
    either.add("item_store_join", store_id=kamo, item_id=items["shown"], inactive=False)
    either.add("item_store_join", store_id=kamo, item_id=items["stocked"], inactive=True)
    either.add_stock(kamo, items["stocked"], 0)
    either.move(kamo, items["moved"], 1, "si", EARLY)
    with either.open() as source:
        assert set(pairs_by_code(source, FLOOR)) == {
            ("KAMO", code) for code in ("listed", "shown", "stocked", "moved")
        }


def test_indexed_lookup(
    postgres: TemporaryPostgres,
) -> None:
    url = postgres.new_database("many_stores")
    generate(url, stores=150, items=20, movements=100_000, edge_cases=False, kind=SampleKind.MIRROR)
    read = sa.text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'trans_line'")
    with open_source(parse_database_address(url), calendar=CALENDAR) as source:
        whole = scope_of(read_catalogue(source))
        few = Scope(whole.org_units[:1], whole.item_groups)
        assert sum(len(group.pairs) for group in source.histories(few, datetime(2026, 9, 1))) > 8  # noqa: DTZ001
        assert source.connection.execute(read).scalar() == 0


# How the work is divided


def test_line_count(database: MirrorDatabase, kamo: str, amoxicillin: str) -> None:
    empty, other = database.add_store("EMPTY"), database.add_store("OTHER")
    for store in (kamo, other):
        database.add_stock(store, amoxicillin, 1)
    transaction = database.add_transaction(kamo, "si")
    database.add_line(transaction, amoxicillin, 1)
    database.add_line(transaction, "any item", 1, type="service")
    with database.open() as source:
        stores = [store for store in read_catalogue(source).stores if store.id != other]
        assert source.lines(stores) == {kamo: 3, empty: 0}


# Partial exports


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_missing_column(database: MirrorDatabase) -> None:
    database.execute("ALTER TABLE trans_line DROP COLUMN pack_size")
    database.execute("DROP TABLE name")
    with pytest.raises(SourceError) as raised, database.open():
        pytest.fail("it lacks what every value takes")
    said = str(raised.value)
    assert "is the mirror of the older mSupply and lacks what every value needs: " in said
    assert "name (the whole table), trans_line.pack_size. Let the older mSupply export" in said


@pytest.mark.parametrize(
    ("change", "lacking", "otherwise"),
    [
        (
            "DROP TABLE list_master_line",
            "list_master_line (the whole table)",
            "only items that ever had stock",
        ),
        ("DROP TABLE list_master_name_join", "list_master_name_join (the whole table)", "is not known"),
        ("ALTER TABLE store DROP COLUMN name_id", "store.name_id", "only items that ever had stock"),
        (
            "DROP TABLE item_store_join",
            "item_store_join (the whole table)",
            "hidden in a store count as visible",
        ),
        ("ALTER TABLE store DROP COLUMN disabled", "store.disabled", "disabled stores"),
        (
            "ALTER TABLE transact DROP COLUMN mode",
            "transact.mode",
            "prescriptions count as outbound shipments",
        ),
        ("ALTER TABLE transact DROP COLUMN invoice_num", "transact.invoice_num", "named by their id"),
        (
            "ALTER TABLE item_line DROP COLUMN expiry_date",
            "item_line.expiry_date",
            "neither expired nor expiring",
        ),
        ("ALTER TABLE trans_line DROP COLUMN item_line_id", "trans_line.item_line_id", "neither expired nor"),
        (
            "ALTER TABLE transact DROP COLUMN is_cancellation",
            "transact.is_cancellation",
            "cancels another counts at its own time",
        ),
        ("ALTER TABLE transact DROP COLUMN entry_date", "transact.entry_date", "at the start of a day"),
    ],
)
def test_missing_option(
    database: MirrorDatabase, kamo: str, amoxicillin: str, change: str, lacking: str, otherwise: str
) -> None:
    database.make_visible(amoxicillin, "name-of-KAMO")
    database.move(kamo, amoxicillin, 5, "si", LATE)
    database.move(kamo, amoxicillin, -1, "ci", LATE, 60, mode="dispensary")
    database.move(kamo, amoxicillin, -1, "sc", None, id="dateless")  # type: ignore[arg-type]
    database.execute(change)
    with database.open() as source:
        (warning,) = read_catalogue(source).warnings
        assert [units for _, units in moved(history(source))] == [-1, 5]
    assert warning.startswith(f"The mirror lacks {lacking}: ")
    assert otherwise in warning
    assert warning.endswith("Let the older mSupply export it too if that matters.")


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_missing_mapped_field(database: MirrorDatabase) -> None:
    database.execute("ALTER TABLE item DROP COLUMN user_field_1")
    with database.open() as source:
        assert read_catalogue(source).warnings == ()
        (warning,) = read_catalogue(source, fields=("universal_code", "user_field_1")).warnings
    assert warning.startswith("The mirror lacks item.user_field_1: no item has a value in user_field_1.")


@pytest.mark.usefixtures("kamo", "amoxicillin")
def test_no_item_field(
    database: MirrorDatabase,
) -> None:
    database.execute("ALTER TABLE item DROP COLUMN universalcodes_code")
    database.execute("ALTER TABLE item DROP COLUMN user_field_4")
    with database.open() as source:
        with pytest.raises(
            SourceError, match=r"lacks item.universalcodes_code, where the items' identifiers"
        ):
            read_catalogue(source)
        with pytest.raises(
            SourceError, match=r"lacks item.user_field_4, where the tick of user_field_4 is kept"
        ):
            read_catalogue(source, fields=("user_field_1",), include="user_field_4")


def test_all_options_missing(database: MirrorDatabase, kamo: str, amoxicillin: str) -> None:
    database.move(kamo, amoxicillin, 5, "si", LATE)
    database.execute("DROP TABLE list_master_name_join, list_master_line, list_master, item_store_join, unit")
    for table, column in COLUMNS:
        if (table, column) in {
            *(("item", f"user_field_{number}") for number in range(1, 8)),
            ("item", "custom_data"),
            ("store", "name_id"),
            ("store", "disabled"),
            ("store", "store_mode"),
            ("transact", "mode"),
            ("transact", "invoice_num"),
            ("item_line", "expiry_date"),
            ("trans_line", "item_line_id"),
            ("transact", "is_cancellation"),
            ("transact", "linked_transaction_id"),
            ("transact", "entry_date"),
            ("transact", "entry_time"),
        }:
            database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    with database.open() as source:
        assert len(read_catalogue(source).warnings) == 8
        assert moved(history(source)) == [(MovementKind.INBOUND_SHIPMENT, 5)]


def all_values(
    database: MirrorDatabase, metrics: Iterable[Metric]
) -> tuple[ComputeResult, dict[Metric, str]]:
    """Compute the previous month, and give the values of its one group."""
    values: dict[Metric, str] = {}

    def keep(computed: OrgUnitValues, _: int) -> None:
        values.update({value.metric: value.value for value in computed.values})

    rows = "".join(
        f"  - {{metric: {metric}, active: true, category_option_id: {metric}, category_option_combo_id_scheme: code, "
        "interval: monthly, basis: previous_month}\n"
        for metric in metrics
    )
    event = parse_compute_event({"interval": "monthly", "dry_run": True})
    result = ComputeJob(
        settings=parse_settings(f"""
use_dhis2: true
url: https://dhis2.example.org
setup: category_option_combo
item_field_reference: universal_code
data_set_id: STOCK
data_set_id_scheme: code
data_element_id_scheme: code
org_unit_scheme: code
period_format: YYYYMM
data_elements:
{rows}"""),
        calendar=CALENDAR,
        open_database=database.open,
        send=lambda _: pytest.fail("a dry run sends nothing"),
        watch=keep,
    ).run(whole_run(event, datetime(2022, 5, 1, 4, tzinfo=CALENDAR.time_zone)))
    return result, values


@pytest.mark.parametrize("column", ["item_line.expiry_date", "trans_line.item_line_id"])
def test_no_expiry_or_line(database: MirrorDatabase, kamo: str, amoxicillin: str, column: str) -> None:
    line = database.add_stock(kamo, amoxicillin, 40, expiry_date="2022-01-01")
    receipt = database.add_transaction(kamo, "si", LATE)
    database.add_line(receipt, amoxicillin, 100, item_line_id=line)
    database.move(kamo, amoxicillin, -60, "ci", "2022-04-20", mode="dispensary")
    whole, values = all_values(database, Metric)
    assert (values[Metric.EXPIRED], values[Metric.EXPIRING]) == ("40", "0")
    table, name = column.split(".")
    database.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
    result, without = all_values(database, Metric)
    assert without == {
        metric: value for metric, value in values.items() if metric not in {Metric.EXPIRED, Metric.EXPIRING}
    }
    (said,) = set(result.warnings) - set(whole.warnings)
    assert said == (
        f"The mirror lacks {column}: it is not known when stock expires, so neither expired nor expiring stock is "
        f"sent. "
        "Let the older mSupply export it too if that matters."
    )
    nothing, _ = all_values(database, [Metric.EXPIRED])
    assert nothing.status is Status.NOTHING_TO_DO
    assert nothing.message == (
        "mSupply's database lacks what all metrics of this run need. The log names it."
    )


# What cannot be right


KEYED = ("item", "store", "name", "item_line", "transact", "trans_line", "list_master_line")


@pytest.mark.parametrize("table", [*KEYED, "list_master_name_join", "item_store_join"])
def test_duplicate_rows(database: MirrorDatabase, kamo: str, amoxicillin: str, table: str) -> None:
    database.make_visible(amoxicillin, "name-of-KAMO")
    database.add_stock(kamo, amoxicillin, 5)
    database.move(kamo, amoxicillin, 5, "si", LATE)
    database.add("item_store_join", store_id=kamo, item_id=amoxicillin, inactive=False)
    database.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
    with database.open() as source:
        assert len(read_catalogue(source).stores) == 1
    database.execute(f"INSERT INTO {table} SELECT * FROM {table}")  # noqa: S608 - our own names
    with (
        database.open() as source,
        pytest.raises(SourceError, match=f"Rows of {table} are there more than once"),
    ):
        read_catalogue(source)


@pytest.mark.usefixtures("amoxicillin")
@pytest.mark.parametrize(
    ("index", "is_searched"),
    [
        ("CREATE UNIQUE INDEX other ON store (id)", False),
        # None of these says that an id is there once.
        ("CREATE INDEX other ON store (id)", True),
        ("CREATE UNIQUE INDEX other ON store (id, code)", True),
        ("CREATE UNIQUE INDEX other ON store (id) WHERE code = 'A'", True),
        ("CREATE UNIQUE INDEX other ON store (code)", True),
    ],
)
def test_unique_index(database: MirrorDatabase, index: str, *, is_searched: bool) -> None:
    database.add_store("KAMO")
    database.execute("ALTER TABLE store DROP CONSTRAINT store_pkey")
    database.execute(index)
    asked: list[str] = []
    with database.open() as mirror:
        sa.event.listen(
            mirror.connection, "before_cursor_execute", lambda *arguments: asked.append(str(arguments[2]))
        )
        read_catalogue(mirror)
    assert any("DISTINCT store.id" in statement for statement in asked) is is_searched


def test_all_duplicates(database: MirrorDatabase, kamo: str, amoxicillin: str) -> None:
    for _ in range(3):
        database.add_stock(kamo, amoxicillin, 5)
    for table in ("item_line", "store"):
        database.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
        database.execute(f"INSERT INTO {table} SELECT * FROM {table}")  # noqa: S608 - our own names
    with database.open() as source, pytest.raises(SourceError) as refused:
        read_catalogue(source)
    first, *faults = str(refused.value).splitlines()
    assert first.endswith("is a mirror that cannot be right.")
    assert [fault.partition(". ")[0] for fault in faults] == [
        "Rows of store are there more than once: 2 rows have 1 value of id",
        "Rows of item_line are there more than once: 6 rows have 3 values of id",
    ]


@pytest.mark.parametrize(
    ("column", "known"), [("type", "ci, si, cc, sc, sr, bu"), ("status", "cn, fn, nw, sg, wp, wf")]
)
def test_unknown_codes(either: MirrorDatabase, column: str, known: str) -> None:
    kamo, amoxicillin = either.add_store("KAMO"), either.add_item("amoxicillin")
    either.move(kamo, amoxicillin, 5, "si", LATE)
    either.move(kamo, amoxicillin, -1, "ci", LATE)
    either.move(kamo, amoxicillin, -1, "cc", LATE, status="cn")
    either.execute("UPDATE transact SET type = NULL WHERE type = 'cc'")
    either.execute(f"UPDATE transact SET {column} = upper({column})")  # noqa: S608 - our own names
    with either.open() as source, pytest.raises(SourceError) as refused:
        read_catalogue(source)
    seen = "'CI', 'SI', nothing" if column == "type" else "'CN', 'FN'"
    assert str(refused.value).splitlines()[1] == (
        f"No transaction has a {column} that is known, so no movement would count: transact.{column} holds {seen}, "
        f"and the older mSupply writes {known}. Let it be exported as it is there."
    )


@pytest.mark.usefixtures("amoxicillin")
def test_some_known_codes(database: MirrorDatabase, kamo: str) -> None:
    with database.open() as source:
        assert len(read_catalogue(source).stores) == 1
    database.add_transaction(kamo, "ps", status="XX")
    database.add_transaction(kamo, "ci", status="nw")
    with database.open() as source:
        assert len(read_catalogue(source).stores) == 1
