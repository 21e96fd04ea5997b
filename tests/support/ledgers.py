"""Random ledgers in real databases of either kind, and what a slow, day-by-day reading makes of them.

Invoices are dated around what the readers have to tell apart: midnights, the floor of what they read one by one, the
instant of the run and that of the reading, years ahead. Some cancel others.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import MICRO, Item, MovementKind, Store
from msupply_dhis2.metrics.quantity import Quantity
from msupply_dhis2.periods import Basis
from sandbox.postgres import TemporaryPostgres
from tests.support.mirror_database import MirrorDatabase
from tests.support.open_msupply_database import INSTANTS, OpenMsupplyDatabase
from tests.support.slow_reference import (
    Entry,
    Invoice,
    Line,
    Question,
    counts_at,
    reference_values,
    start_of,
)

KINDS_OF_DATABASE = ("sqlite", "postgresql", "mirror")

type Database = OpenMsupplyDatabase | MirrorDatabase

# Around summer time that ends, over midnight too, a day that was left out, and nothing of the kind.
MOMENTS = [
    ("UTC", date(2026, 1, 2)),
    ("Pacific/Auckland", date(2026, 4, 4)),
    ("America/Havana", date(2025, 10, 31)),
    ("Pacific/Apia", date(2011, 12, 29)),
]
STORES = ("KAMO", "OPUA")
NEVER = datetime(2200, 1, 1)  # noqa: DTZ001 - naive, in UTC
"""Open mSupply always has the instant of creation: one that is later than any reading serves where there is none."""

TRANSACTIONS: dict[MovementKind, dict[str, str]] = {
    MovementKind.OUTBOUND_SHIPMENT: {"kind": "ci"},
    MovementKind.PRESCRIPTION: {"kind": "ci", "mode": "dispensary"},
    MovementKind.SUPPLIER_RETURN: {"kind": "sc"},
    MovementKind.INBOUND_SHIPMENT: {"kind": "si"},
    MovementKind.CUSTOMER_RETURN: {"kind": "cc"},
    MovementKind.INVENTORY_ADDITION: {"kind": "si", "name_id": "adjusting"},
    MovementKind.INVENTORY_REDUCTION: {"kind": "sc", "name_id": "adjusting"},
    MovementKind.REPACK: {"kind": "sr"},
}


@dataclass(frozen=True)
class Row:
    """An invoice with its one line; ``linked`` is the place of another one, or of none that is there."""

    store: str
    kind: MovementKind
    moved: datetime | None
    created: datetime | None
    linked: int | None
    is_cancellation: bool
    packs: int


@dataclass(frozen=True)
class Case:
    """A question, when the database is read, and what is in it."""

    question: Question
    read_at: datetime
    rows: tuple[Row, ...]
    stock: tuple[tuple[str, int], ...]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    zone_name, moment = draw(st.sampled_from(MOMENTS))
    zone = ZoneInfo(zone_name)
    today = moment + timedelta(days=draw(st.integers(0, 45)))
    as_of = start_of(today, zone) + draw(st.timedeltas(timedelta(), timedelta(hours=22)))
    # Read at once, or when a month is run again; seldom by a clock that is behind.
    read_at = as_of + draw(
        st.one_of(
            st.timedeltas(timedelta(), timedelta(hours=26)),
            st.timedeltas(timedelta(hours=-3), timedelta(days=40)),
        )
    )
    question = Question(
        basis=draw(st.sampled_from(Basis)),
        as_of=as_of,
        zone=zone,
        period_format="YYYYMM",
        expiring_within_days=90,
        include_returns=draw(st.booleans()),
        days_in_month=Fraction(36525, 1200),
        adjust=draw(st.booleans()),
    )
    midnights = [
        start_of(day, zone)
        for day in (
            today,
            today + timedelta(days=1),
            today.replace(day=1),
            (today.replace(day=1) - timedelta(days=1)).replace(day=1),
            # The floor: the first day of the look-back, for either basis.
            today - timedelta(days=90),
            today.replace(day=1) - timedelta(days=91),
        )
    ]
    instants = st.builds(
        lambda base, offset: base + offset,
        st.sampled_from([*midnights, as_of, read_at, datetime(2099, 1, 1)]),  # noqa: DTZ001 - naive, in UTC
        st.one_of(
            st.sampled_from([timedelta(microseconds=n) for n in (-1, 0, 1)]),
            st.timedeltas(timedelta(hours=-30), timedelta(hours=30)),
        ),
    )
    row = st.builds(
        Row,
        store=st.sampled_from(STORES),
        kind=st.sampled_from(MovementKind),
        moved=st.one_of(instants, instants, instants, st.none()),
        created=st.one_of(instants, instants, st.none()),
        linked=st.one_of(st.none(), st.integers(0, 9), st.integers(0, 9)),
        is_cancellation=st.booleans(),
        packs=st.integers(-12, 12).filter(bool),
    )
    rows = draw(st.lists(row, min_size=1, max_size=10))
    # One more than there are, so that now and then the other is not there.
    rows = [
        each if each.linked is None else replace(each, linked=each.linked % (len(rows) + 1)) for each in rows
    ]
    stock = draw(st.lists(st.tuples(st.sampled_from(STORES), st.integers(-3, 20)), max_size=3))
    return Case(question, read_at, tuple(rows), tuple(stock))


def as_shown(instant: datetime | None, zone: ZoneInfo) -> datetime | None:
    """Return what the clock shows, in whole seconds, which is all that the older mSupply keeps."""
    if instant is None:
        return None
    return instant.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None, fold=0, microsecond=0)


def from_shown(local: datetime | None, zone: ZoneInfo) -> datetime | None:
    return None if local is None else local.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)


def expected(case: Case, store: Store, item: Item, *, to_the_second: bool) -> dict[Metric, Quantity]:
    zone = case.question.zone

    def instant(of: datetime | None) -> datetime | None:
        return from_shown(as_shown(of, zone), zone) if to_the_second else of

    def invoice(row: Row, *, follow: bool) -> Invoice:
        follow = follow and row.is_cancellation and row.linked is not None and row.linked < len(case.rows)
        cancelled = invoice(case.rows[row.linked or 0], follow=False) if follow else None
        return Invoice(instant(row.moved), instant(row.created), cancelled)

    entries = [
        Entry(store, item, at, row.kind, row.packs * MICRO, None)
        for row in case.rows
        if row.store == store.code
        and (at := counts_at(invoice(row, follow=True), case.read_at, zone)) is not None
    ]
    lines = [
        Line(store, item, str(place), packs * MICRO, None)
        for place, (code, packs) in enumerate(case.stock)
        if code == store.code
    ]
    return dict(reference_values(case.question, lines, entries, [store]))


def empty_database(kind: str, postgres: TemporaryPostgres, folder: Path, name: str) -> Database:
    """Return a database of a kind with two stores and an item; of databases with the same name there is only one."""
    database: Database
    if kind == "mirror":
        database = MirrorDatabase(postgres.new_database(f"{name}_dashboard"))
    elif kind == "postgresql":
        database = OpenMsupplyDatabase(postgres.new_database(f"{name}_omsupply"))
    else:
        database = OpenMsupplyDatabase(f"sqlite:///{folder}/msupply.sqlite")
    for code in STORES:
        database.add_store(code)
    database.add_item("amoxicillin")
    return database


def fill(database: Database, case: Case) -> None:
    """Put a ledger into a database, in the place of the one before."""
    if isinstance(database, MirrorDatabase):
        _fill_mirror(database, case)
    else:
        _fill_open_msupply(database, case)


def _fill_open_msupply(database: OpenMsupplyDatabase, case: Case) -> None:
    for table in ("invoice_line", "invoice", "stock_line"):
        database.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
    none = dict.fromkeys(INSTANTS.values())
    database.add_many(
        "invoice",
        [
            {
                "id": f"invoice {place}",
                "invoice_number": place,
                "store_id": f"store-{row.store}",
                "type": row.kind.upper(),
                "status": "NEW",
                **none,
                INSTANTS[row.kind.upper()]: None if row.moved is None else row.moved.isoformat(sep=" "),
                "created_datetime": (row.created or NEVER).isoformat(sep=" "),
                "is_cancellation": row.is_cancellation,
                "linked_invoice_id": None if row.linked is None else f"invoice {row.linked}",
            }
            for place, row in enumerate(case.rows)
        ],
    )
    database.add_many(
        "invoice_line",
        [
            {
                "invoice_id": f"invoice {place}",
                "item_link_id": "item-amoxicillin",
                "type": "STOCK_IN" if row.packs > 0 else "STOCK_OUT",
                "number_of_packs": abs(row.packs),
            }
            for place, row in enumerate(case.rows)
        ],
    )
    for code, packs in case.stock:
        database.add_stock(f"store-{code}", "item-amoxicillin", packs)


def _fill_mirror(database: MirrorDatabase, case: Case) -> None:
    database.execute("TRUNCATE trans_line, transact, item_line")
    for place, row in enumerate(case.rows):
        (day, seconds), (entry_day, entry_seconds) = (
            day_and_seconds(as_shown(instant, case.question.zone)) for instant in (row.moved, row.created)
        )
        database.add_transaction(
            f"store-{row.store}",
            day=day,
            seconds=seconds,
            id=f"invoice {place}",
            entry_date=entry_day,
            entry_time=entry_seconds,
            is_cancellation=row.is_cancellation,
            linked_transaction_id="" if row.linked is None else f"invoice {row.linked}",
            **TRANSACTIONS[row.kind],
        )
        database.add_line(f"invoice {place}", "item-amoxicillin", row.packs)
    for code, packs in case.stock:
        database.add_stock(f"store-{code}", "item-amoxicillin", packs)


def day_and_seconds(local: datetime | None) -> tuple[str | None, int]:
    if local is None:
        return None, 0
    return local.date().isoformat(), local.hour * 3600 + local.minute * 60 + local.second
