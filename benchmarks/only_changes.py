"""What sending only what changed saves in a year, and how much is remembered for it.

    uv run python benchmarks/only_changes.py [--year-stores 10] [--year-items 10] [--year-days 365]
    uv run python benchmarks/only_changes.py --nation-stores 3 --nation-items 500

First a sample database is computed as the schedules do, for a year: by the product's own compute, its comparison and
its records, encoded as they are in DynamoDB; the table itself is a dictionary, and push and DHIS2 take every value at
once. What each run would have sent without the setting is counted beside it.

The sample has no rows that arrive late. So that there are some, stores synchronise late: seven in ten every day, two
every week, one every 45 days. Of a store that has not, the movements since are taken off the histories and off its
stock lines before the metrics see them.

Then a few stores with as many items as a nation's are computed day by day, with identifiers that look like those of
DHIS2. What is remembered of them is measured, and scaled up to the nation.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from math import ceil
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.compute import CALENDAR, LAST_DAY  # noqa: E402 - after the path is set
from benchmarks.measure import MEBIBYTE, Table  # noqa: E402 - as above
from benchmarks.prices import (  # noqa: E402 - as above
    DYNAMODB_READ,
    DYNAMODB_STORAGE,
    DYNAMODB_WRITE,
    GIGABYTE,
    read_units,
    write_units,
)
from msupply_dhis2.aws.dynamodb import MOST_BYTES  # noqa: E402 - as above
from msupply_dhis2.compute.event import ComputeEvent  # noqa: E402 - as above
from msupply_dhis2.compute.job import ComputeJob  # noqa: E402 - as above
from msupply_dhis2.compute.sharding import whole_run  # noqa: E402 - as above
from msupply_dhis2.compute.values import OrgUnitValues, Publisher  # noqa: E402 - as above
from msupply_dhis2.domain.batch import Batch  # noqa: E402 - as above
from msupply_dhis2.domain.data_value import Column  # noqa: E402 - as above
from msupply_dhis2.domain.metric import Metric  # noqa: E402 - as above
from msupply_dhis2.domain.stock import GroupHistory, PairHistory, Store  # noqa: E402 - as above
from msupply_dhis2.periods import Interval  # noqa: E402 - as above
from msupply_dhis2.settings import Settings, parse_settings  # noqa: E402 - as above
from msupply_dhis2.settings.credentials import parse_database_address  # noqa: E402 - as above
from msupply_dhis2.source import open_source  # noqa: E402 - as above
from msupply_dhis2.source.base import Catalogue, Source  # noqa: E402 - as above
from msupply_dhis2.source.queries import Scope  # noqa: E402 - as above
from msupply_dhis2.state.delta.filter import DeltaFilter, RunScope  # noqa: E402 - as above
from msupply_dhis2.state.delta.record import Attempt, Receipts, Record  # noqa: E402 - as above
from msupply_dhis2.state.delta.table import DeltaTable  # noqa: E402 - as above
from msupply_dhis2.state.message import DeliveryState  # noqa: E402 - as above
from sandbox.sample import generate  # noqa: E402 - as above

NATION_STORES = 1_289
PUSH_TAKES = timedelta(minutes=1)

SYNCHRONISED_EVERY = (1, 1, 1, 1, 1, 1, 1, 7, 7, 45)
"""Days; each store has the one at its place."""

type Seen = Callable[[Store], datetime]
"""Up to which instant a store's movements have arrived, naive UTC."""


@dataclass(slots=True)
class Units:
    """What DynamoDB charges."""

    written: float = 0
    read: float = 0

    def write(self, size: int) -> None:
        """Count the writing of an item."""
        self.written += write_units(size)

    def get(self, size: int, *, consistent: bool = True) -> None:
        """Count the reading of an item."""
        self.read += read_units(size, consistent=consistent)

    @property
    def dollars(self) -> float:
        """What they cost."""
        return self.written * DYNAMODB_WRITE.dollars + self.read * DYNAMODB_READ.dollars


@dataclass
class Memory(DeltaTable):
    """The records in a dictionary instead of DynamoDB, and what DynamoDB would have charged for them.

    Attributes
    ----------
    largest
        The bytes of the largest record that was ever written.
    """

    target: str = "memory"
    contents: dict[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)
    applied: dict[tuple[str, str], DeliveryState] = field(default_factory=dict)
    units: Units = field(default_factory=Units)
    largest: int = 0

    @property
    def bytes(self) -> int:
        """How large all records are together."""
        return sum(len(content) for _, content in self.contents.values())

    def read(self, period: str, org_unit: str) -> Record:
        """Read a record."""
        # The row that holds for all org units of the period.
        self.units.get(0)
        version, content = self.contents.get((period, org_unit), (None, b""))
        self.units.get(len(content))
        record = Record(period, org_unit, version=version)
        if content:
            record.read(content)
        return record

    def write(self, record: Record) -> bool:
        """Write a record."""
        content = record.encoded()
        self.contents[record.period, record.org_unit] = ((record.version or 0) + 1, content)
        self.units.write(len(content))
        self.largest = max(self.largest, len(content))
        return True

    def org_units(self, period: str) -> Iterator[str]:
        """Return the org units that have a record."""
        there = [key for key in self.contents if key[0] == period]
        # A query is charged for all that it passes, not for what it gives.
        self.units.get(sum(len(self.contents[key][1]) for key in there), consistent=False)
        return iter([org_unit for _, org_unit in there])

    def receipts(self, record: Record) -> Receipts:
        """Return the receipts of what is on its way."""
        batches = set(record.attempts())
        for _ in batches:
            self.units.get(0)
        return {batch: self.applied[batch] for batch in batches}

    def invalidate(self, period: str, org_unit: str | None) -> None:
        """Nothing is sent here of which nothing is noted."""
        raise NotImplementedError

    def faults(self) -> tuple[str, ...]:
        """Nothing is damaged here."""
        return ()

    def push(self, batches: Iterable[Batch], began: datetime) -> None:
        """Let batches land, all of their values."""
        for batch in batches:
            assert batch.tracking is not None  # noqa: S101 - tells mypy: these are made with records
            places = frozenset(range(len(batch.values)))
            self.applied[batch.batch_id, batch.tracking.attempt_id] = DeliveryState(
                places, places, int(began.timestamp()), ceil((began + PUSH_TAKES).timestamp())
            )
            self.units.write(0)


class LateSource:
    """A database as it was when its stores had synchronised last.

    Parameters
    ----------
    source
        With all movements, also those that had not arrived.
    seen
        Up to when those of each store had.
    """

    def __init__(self, source: Source, seen: Seen) -> None:
        self._source = source
        self._seen = seen

    def catalogue(
        self, *, store_field: str, item_fields: Sequence[str], include_field: str | None
    ) -> Catalogue:
        """Read which stores and items are sent; they do not change."""
        return self._source.catalogue(
            store_field=store_field, item_fields=item_fields, include_field=include_field
        )

    def lines(self, stores: Sequence[Store]) -> Mapping[str, int]:
        """Count the lines of stores."""
        return self._source.lines(stores)

    def histories(self, scope: Scope, floor: datetime) -> Iterator[GroupHistory]:
        """Stream the groups without what has not arrived."""
        for history in self._source.histories(scope, floor):
            yield replace(history, pairs=[self._arrived(pair) for pair in history.pairs])

    def _arrived(self, pair: PairHistory) -> PairHistory:
        seen = self._seen(pair.store)
        late = [movement for movement in pair.movements if movement.instant >= seen]
        if not late:
            return pair
        moved: dict[str | None, int] = {}
        for movement in late:
            moved[movement.stock_line_id] = moved.get(movement.stock_line_id, 0) + movement.units
        return replace(
            pair,
            stock_lines=[
                line._replace(units=line.units - moved.get(line.id, 0)) for line in pair.stock_lines
            ],
            movements=pair.movements[len(late) :],
            first_in=pair.first_in if pair.first_in is not None and pair.first_in < seen else None,
        )

    def warnings(self) -> tuple[str, ...]:
        """Return what was odd."""
        return self._source.warnings()


def synchronised(as_of: datetime, place: int) -> datetime:
    """Return when the store at a place of the list had synchronised last, naive UTC: in some night."""
    days = SYNCHRONISED_EVERY[place % len(SYNCHRONISED_EVERY)]
    late = (as_of.date() - date(2025, 1, 1 + place % 28)).days % days
    return datetime.combine(as_of.date() - timedelta(days=late), datetime.min.time())


def settings(
    interval: Interval, period_format: str, restate_months: int = 0, full_send_every_days: int = 30
) -> Settings:
    """Return settings with all twelve metrics."""
    rows = [
        {
            "metric": metric.value,
            "active": True,
            "interval": interval.value,
            "basis": "previous_month" if interval is Interval.MONTHLY else "current_day",
            "category_option_id": uid(metric.value),
            "category_option_combo_id_scheme": "uid",
        }
        for metric in Metric
    ]
    document = {
        "use_dhis2": True,
        "url": "https://dhis2.example.org",
        "setup": "category_option_combo",
        "data_elements": rows,
        "data_set_id": "STOCK",
        "data_set_id_scheme": "code",
        "period_format": period_format,
        "item_field_reference": "universal_code",
        "data_element_id_scheme": "code",
        "org_unit_scheme": "code",
        "only_changes": True,
        "restate_months": restate_months,
        "full_send_every_days": full_send_every_days,
    }
    return parse_settings(json.dumps(document))


@cache
def with_uid(column: Column) -> Column:
    """Return a column whose data element has a UID; the same object each time."""
    data_element, category, attribute = column.identifier
    return column._replace(identifier=(uid(data_element), category, attribute))


@lru_cache(maxsize=65_536)
def uid(name: str) -> str:
    """Make an identifier as DHIS2 does, a letter and ten letters or digits; the same for the same name."""
    characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    number = int.from_bytes(hashlib.sha256(name.encode()).digest())
    made = characters[number % 52]
    for _ in range(10):
        number //= len(characters)
        made += characters[number % len(characters)]
    return made


@dataclass(slots=True)
class Count:
    """What some runs came to; ``messages_without`` had all been sent."""

    runs: int = 0
    computed: int = 0
    sent: int = 0
    messages: int = 0
    messages_without: int = 0


@dataclass(slots=True)
class World:
    """An mSupply database, and what is remembered of what was sent from it."""

    url: str
    settings: Settings
    is_late: bool = False
    with_uids: bool = False
    memory: Memory = field(default_factory=Memory)
    count: Count = field(default_factory=Count)

    def run(self, event: ComputeEvent, as_of: datetime) -> None:
        """Compute once as a schedule does, send what changed, and let it land."""
        sent: list[Batch] = []

        without = Publisher(run_id="all", as_of=as_of, settings=self.settings, metrics=len(Metric), send=None)

        def note(computed: OrgUnitValues, _: int) -> None:
            if self.with_uids:
                # In place: what is sent has these names too.
                computed.values[:] = [
                    value._replace(column=with_uid(value.column)) for value in computed.values
                ]
            without.add(computed)

        def compare(scope: RunScope) -> DeltaFilter:
            return DeltaFilter(self.memory, self.settings, scope, as_of)

        result = ComputeJob(
            settings=self.settings,
            calendar=CALENDAR,
            open_database=lambda: self._opened(as_of),
            send=sent.append,
            watch=note,
            compare=compare,
        ).run(whole_run(event, as_of))
        without.flush()
        self.count.messages_without += without.batches
        self.memory.push(sent, as_of)
        self.count.runs += 1
        self.count.computed += result.values
        self.count.sent += result.values - result.already_stored
        self.count.messages += len(sent)

    @contextmanager
    def _opened(self, as_of: datetime) -> Iterator[Source]:
        with open_source(parse_database_address(self.url), calendar=CALENDAR) as source:
            if not self.is_late:
                yield source
                return
            stores = source.catalogue(
                store_field=self.settings.store_field_reference,
                item_fields=("universal_code",),
                include_field=None,
            ).stores
            seen = {store.id: synchronised(as_of, place) for place, store in enumerate(stores)}
            yield cast("Source", LateSource(source, lambda store: seen[store.id]))


def days_until(last: date, number: int) -> Iterator[tuple[ComputeEvent, datetime]]:
    """Yield the daily runs of so many days: each at four in the morning."""
    for ago in reversed(range(number)):
        as_of = datetime.combine(last - timedelta(days=ago), datetime.min.time(), UTC).replace(hour=4)
        yield event(Interval.DAILY, as_of), as_of


def months_until(last: date, number: int) -> Iterator[tuple[ComputeEvent, datetime]]:
    """Yield the monthly runs of so many days: each on the 5th, when stores have synchronised."""
    for daily, as_of in days_until(last, number):
        if as_of.day == 5:  # noqa: PLR2004 - the template's schedule
            yield daily.model_copy(update={"interval": Interval.MONTHLY}), as_of


def event(interval: Interval, as_of: datetime) -> ComputeEvent:
    """Make the event of a schedule."""
    return ComputeEvent.model_validate({"interval": interval.value, "scheduled_time": as_of})


def year(url: str, days: int) -> None:
    """Compute a year in all ways, and print what each saves."""
    table = Table(
        "a year of runs",
        "runs:",
        "computed:",
        "sent:",
        "ratio:",
        "saved:",
        "messages:",
        "without:",
        "remembered, MiB:",
    )
    daily, monthly = Interval.DAILY, Interval.MONTHLY
    month_to_date, of_the_day = settings(daily, "YYYYMM"), settings(daily, "YYYYMMDD")
    restating = settings(monthly, "YYYYMM", restate_months=2)
    rarely_full = settings(monthly, "YYYYMM", restate_months=2, full_send_every_days=90)
    for name, world, runs in (
        ("daily, label YYYYMM", World(url, month_to_date), days_until),
        ("the same, stores late", World(url, month_to_date, is_late=True), days_until),
        ("daily, label YYYYMMDD", World(url, of_the_day), days_until),
        ("monthly, restate_months 2", World(url, restating), months_until),
        ("monthly, restate_months 2, full_send_every_days 90", World(url, rarely_full), months_until),
        ("the same, stores late", World(url, rarely_full, is_late=True), months_until),
    ):
        for run in runs(LAST_DAY, days):
            world.run(*run)
        count = world.count
        table.row(
            name,
            f"{count.runs:,}",
            f"{count.computed:,}",
            f"{count.sent:,}",
            f"{count.sent / count.computed:.3f}",
            f"{1 - count.sent / count.computed:.1%}",
            f"{count.messages:,}",
            f"{count.messages_without:,}",
            f"{world.memory.bytes / MEBIBYTE:.2f}",
        )


def nation(url: str, days: int) -> None:
    """Compute a few stores for a month, and print what is remembered of a nation of them."""
    daily = World(url, settings(Interval.DAILY, "YYYYMM"), with_uids=True)
    for run in days_until(LAST_DAY, days):
        daily.run(*run)
    monthly = World(url, settings(Interval.MONTHLY, "YYYYMM", restate_months=2), with_uids=True)
    # The months before, so that the last run finds them.
    *before, last = months_until(LAST_DAY, 100)
    for run in before:
        monthly.run(*run)
    monthly.memory.units = Units()
    monthly.run(*last)
    table = Table(f"a nation of {NATION_STORES:,} stores", "daily, month to date:", "monthly, restating 2:")
    rows: dict[str, list[str]] = {}
    for world in (daily, monthly):
        memory = world.memory
        periods = {period for period, _ in memory.contents}
        org_units = {org_unit for _, org_unit in memory.contents}
        scale = NATION_STORES / len(org_units)
        remembered = sum(len(_read(key, content).entries) for key, (_, content) in memory.contents.items())
        # A year's periods are kept, and a bit: see KEPT_FOR.
        gigabytes = memory.bytes / len(periods) * scale * 13 / GIGABYTE
        for name, cell in (
            ("values of an org unit and period", f"{remembered / len(memory.contents):,.0f}"),
            ("bytes for each", f"{memory.bytes / remembered:.1f}"),
            ("an item on average, KiB of 400", f"{memory.bytes / len(memory.contents) / 1024:.1f}"),
            ("the largest while it is on its way, KiB", f"{memory.largest / 1024:.1f}"),
            ("the nation, for each period, MiB", f"{memory.bytes / len(periods) * scale / MEBIBYTE:.1f}"),
            ("13 months of it, MiB", f"{gigabytes * 1024:.0f}"),
            ("write units in a month", f"{memory.units.written * scale:,.0f}"),
            ("read units in a month", f"{memory.units.read * scale:,.0f}"),
            (
                "**dollars in a month**",
                f"**{memory.units.dollars * scale + gigabytes * DYNAMODB_STORAGE.dollars:.2f}**",
            ),
        ):
            rows.setdefault(name, []).append(cell)
    for name, cells in rows.items():
        table.row(name, *cells)
    print()
    limits(daily.memory)


def _read(key: tuple[str, str], content: bytes) -> Record:
    record = Record(*key)
    record.read(content)
    return record


def limits(memory: Memory) -> None:
    """Print how many values an org unit may have before they are no longer remembered."""
    key, (_, content) = max(memory.contents.items(), key=lambda entry: len(entry[1][1]))
    record = _read(key, content)
    table = Table("an org unit and period", "values:", "on their way:", "bytes of the item:", "remembered")
    for times, attempts in ((1, 0), (1, 1), (1, 12), (2, 1), (5, 1), (10, 1)):
        larger = _several(record, times, attempts)
        size = len(larger.encoded())
        is_kept = "yes" if size <= MOST_BYTES else "no: all is sent each time"
        table.row(
            "as measured" if times == 1 else f"{times} times as many items",
            f"{len(larger.entries):,}",
            f"{attempts} times",
            f"{size:,}",
            is_kept,
        )


def _several(record: Record, times: int, attempts: int) -> Record:
    """Make a record of so many times as many values, each on its way as often."""
    larger = Record(record.period, record.org_unit, full=record.full)
    for number in range(times):
        for place, ((data_element, category, attribute), entry) in enumerate(record.entries.items()):
            again = uid(f"{data_element} {number}") if number else data_element
            item = f"{entry.item} {number}" if number else entry.item
            # A payload holds about a thousand values.
            batch = place // 1000
            sent = [_attempt(f"{batch} {time}", place % 1000) for time in range(attempts)]
            larger.entries[again, category, attribute] = replace(
                entry, item=item, confirmed=str(entry.acknowledged), attempts=sent
            )
    return larger


def _attempt(batch: str, place: int) -> Attempt:
    unlike = hashlib.sha256(batch.encode()).hexdigest()
    return Attempt(f"20261031T040000Z-daily-1f0c2a9b-{unlike[:16]}", unlike[:32], 1_800_000_000, place, "7")


def sample(directory: str, name: str, **sizes: Any) -> str:  # noqa: ANN401 - handed on to generate
    """Make a sample database."""
    url = f"sqlite:///{directory}/{name}.sqlite"
    generate(url, as_of=LAST_DAY, edge_cases=False, **sizes)
    return url


def main() -> None:
    """Measure, and print three tables in Markdown."""
    parser = argparse.ArgumentParser(
        description="What sending only what changed saves in a year, and how much is remembered for it."
    )
    parser.add_argument("--year-stores", type=int, default=10, help="of the year's database")
    parser.add_argument("--year-items", type=int, default=10)
    parser.add_argument("--year-days", type=int, default=365)
    parser.add_argument("--nation-stores", type=int, default=1, help="of the nation's that are computed")
    parser.add_argument("--nation-items", type=int, default=500)
    parser.add_argument("--nation-days", type=int, default=31, help="up to the last of a month (default: 31)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        whole = sample(directory, "year", stores=arguments.year_stores, items=arguments.year_items)
        year(whole, arguments.year_days)
        print()
        few = sample(directory, "nation", stores=arguments.nation_stores, items=arguments.nation_items)
        nation(few, arguments.nation_days)


if __name__ == "__main__":
    main()
