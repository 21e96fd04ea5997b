"""The twelve metrics of random ledgers, held against a slow day-by-day reference and against laws."""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import event, given
from hypothesis import strategies as st

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import (
    MICRO,
    ConsumptionPreferences,
    GroupHistory,
    Item,
    ItemGroup,
    Movement,
    MovementKind,
    OrgUnit,
    PairHistory,
    StockLine,
    Store,
)
from msupply_dhis2.metrics.calculate import GroupValues, Rules, calculate, floor
from msupply_dhis2.metrics.ledger import StockWarning
from msupply_dhis2.periods import Basis, Calendar, PeriodFormat, Window, window
from tests.support.laws import tried
from tests.support.slow_reference import PERIOD_BEGINS, Entry, Line, Question, reference_values, start_of

# Each with dates around which something happens: daylight saving, a skipped or doubled midnight, a day that
# was left out, a leap day, the turn of a year.
MOMENTS = [
    ("UTC", date(2024, 2, 28)),
    ("UTC", date(2026, 1, 2)),
    ("Pacific/Auckland", date(2026, 4, 4)),
    ("Pacific/Auckland", date(2025, 10, 2)),
    ("America/Sao_Paulo", date(2018, 11, 3)),
    ("America/Sao_Paulo", date(2018, 2, 16)),
    ("Africa/Cairo", date(2026, 4, 23)),
    ("America/Havana", date(2026, 3, 6)),
    ("America/Havana", date(2025, 10, 31)),
    ("Pacific/Apia", date(2011, 12, 29)),
    ("Asia/Kathmandu", date(2025, 2, 27)),
]
LOOK_BACKS = [None, Fraction(1), Fraction(5, 2), Fraction(7), Fraction(1, 50)]


@dataclass(frozen=True)
class Case:
    """A question, and the whole ledger that answers it."""

    question: Question
    stores: tuple[Store, ...]
    items: tuple[Item, ...]
    pairs: tuple[tuple[Store, Item], ...]
    lines: tuple[Line, ...]
    entries: tuple[Entry, ...]

    @property
    def rules(self) -> Rules:
        return Rules(
            self.question.expiring_within_days,
            self.question.include_returns,
            ConsumptionPreferences(self.question.days_in_month, self.question.adjust),
        )

    @property
    def window(self) -> Window:
        zone = self.question.zone
        as_of = self.question.as_of.replace(tzinfo=ZoneInfo("UTC"))
        period_format = PeriodFormat.parse(self.question.period_format)
        return window(self.question.basis, as_of, Calendar(zone), period_format)

    def history(self, from_instant: datetime) -> GroupHistory:
        """What the reader of the source hands over."""
        pairs = [self._pair(store, item, from_instant) for store, item in self.pairs]
        return GroupHistory(OrgUnit("OU", self.stores), ItemGroup("REF", self.items), pairs)

    def _pair(self, store: Store, item: Item, from_instant: datetime) -> PairHistory:
        entries = [entry for entry in self.entries if (entry.store, entry.item) == (store, item)]
        recent = [entry for entry in entries if entry.instant >= from_instant]
        return PairHistory(
            store=store,
            item=item,
            stock_lines=[
                StockLine(line.id, line.units, line.expiry_date)
                for line in self.lines
                if (line.store, line.item) == (store, item)
            ],
            movements=sorted(
                (Movement(entry.instant, entry.kind, entry.units, entry.line) for entry in recent),
                key=lambda movement: movement.instant,
                reverse=True,
            ),
            first_in=min((entry.instant for entry in entries if entry.units > 0), default=None),
            units_before_floor=sum(entry.units for entry in entries if entry.instant < from_instant),
        )

    def values(self) -> GroupValues:
        history = self.history(floor([self.window], self.stores, self.rules))
        return calculate(history, self.window, self.rules, tuple(Metric))


def quantities() -> st.SearchStrategy[int]:
    """Whole units mostly, small enough that stock often meets 0; and fractions down to a millionth."""
    whole = st.integers(0, 12).map(lambda units: units * MICRO)
    return st.one_of(whole, whole, st.sampled_from([1, 100_000, 333_333, 500_000]))


# Stock comes in and goes out; and what a cancellation turned round has the other sign.
IN, OUT = MovementKind.INBOUND_SHIPMENT, MovementKind.OUTBOUND_SHIPMENT
KINDS = st.one_of(
    st.sampled_from([(IN, 1), (OUT, -1), (OUT, -1), (MovementKind.PRESCRIPTION, -1)]),
    st.tuples(st.sampled_from(MovementKind), st.sampled_from([1, -1])),
)


@st.composite
def instants(draw: st.DrawFn, zone: ZoneInfo, today: date) -> datetime:
    """Instants around a day: midnights, their neighbours, and whatever lies between."""
    # Nearby days often, so that entries meet in the same days; months ago and the days to come, too.
    back = draw(st.one_of(st.integers(-4, 12), st.integers(0, 70), st.integers(0, 260)))
    midnight = start_of(today - timedelta(days=back), zone)
    return midnight + draw(
        st.one_of(
            st.just(timedelta()),
            st.sampled_from([timedelta(microseconds=-1), timedelta(microseconds=1), timedelta(hours=12)]),
            st.timedeltas(timedelta(), timedelta(hours=25)),
        )
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    zone_name, moment = draw(st.sampled_from(MOMENTS))
    zone = ZoneInfo(zone_name)
    today = moment + timedelta(days=draw(st.one_of(st.integers(0, 5), st.integers(0, 45))))
    question = Question(
        basis=draw(st.sampled_from(Basis)),
        as_of=start_of(today, zone)
        + draw(st.one_of(st.just(timedelta()), st.timedeltas(timedelta(), timedelta(hours=22)))),
        zone=zone,
        period_format=draw(st.sampled_from(sorted(PERIOD_BEGINS))),
        expiring_within_days=draw(st.sampled_from([0, 30, 90])),
        include_returns=draw(st.booleans()),
        days_in_month=draw(st.sampled_from([Fraction(36525, 1200), Fraction(30), Fraction(5, 2)])),
        adjust=draw(st.booleans()),
    )
    stores = tuple(
        Store(f"store {number}", "code", "name", "OU", draw(st.sampled_from(LOOK_BACKS)))
        for number in range(draw(st.sampled_from([1, 1, 2])))
    )
    items = tuple(
        Item(f"item {number}", "code", "name") for number in range(draw(st.sampled_from([1, 1, 2])))
    )
    every_pair = [(store, item) for store in stores for item in items]
    pairs = tuple(every_pair[n] for n in draw(st.sets(st.sampled_from(range(len(every_pair))), min_size=1)))
    # The ids of lines are not unique over the pairs, so that a line of another pair can be named.
    lines = tuple(
        Line(store, item, f"line {number}", draw(quantities()), draw(expiry_dates(today)))
        for store, item in pairs
        for number in range(draw(st.integers(0, 2)))
    )
    shared_instants = draw(st.lists(instants(zone, today), min_size=1, max_size=3))
    entries = tuple(
        draw(
            st.lists(
                st.builds(
                    _entry,
                    st.sampled_from(pairs),
                    st.one_of(st.sampled_from(shared_instants), instants(zone, today)),
                    KINDS,
                    quantities(),
                    st.sampled_from([None, "line 0", "line 1", "a line that is gone"]),
                ),
                min_size=draw(st.sampled_from([0, 2, 6])),
                max_size=16,
            )
        )
    )
    if draw(st.booleans()) and lines:
        # A ledger that adds up: what is there now is what moved.
        moved = sum(entry.units for entry in entries)
        rest = sum(line.units for line in lines[1:])
        lines = (replace(lines[0], units=moved - rest), *lines[1:])
    return Case(question, stores, items, pairs, lines, entries)


def _entry(
    pair: tuple[Store, Item], instant: datetime, kind: tuple[MovementKind, int], units: int, line: str | None
) -> Entry:
    return Entry(*pair, instant, kind[0], kind[1] * units, line)


@st.composite
def expiry_dates(draw: st.DrawFn, today: date) -> date | None:
    days = draw(st.one_of(st.none(), st.integers(-40, 100), st.sampled_from([0, 1, 30, 31, 90, 91])))
    return None if days is None else today + timedelta(days=days)


@tried(400)
@given(cases())
def test_day_by_day_reference(case: Case) -> None:
    values = case.values().values
    stores_with_pairs = [store for store in case.stores if any(pair[0] == store for pair in case.pairs)]

    expected = reference_values(case.question, case.lines, case.entries, stores_with_pairs)

    event(f"days out of stock: {_some(values.get(Metric.DAYS_OUT_OF_STOCK))}")
    event(f"consumption: {_some(values[Metric.AVERAGE_MONTHLY_CONSUMPTION])}")
    assert values == expected


def _some(value: int | Fraction | None) -> str:
    return "none" if value is None else "0" if value == 0 else "some" if value > 0 else "negative"


@tried(50)
@given(cases(), st.integers(1, 1000))
def test_floor_loses_nothing(case: Case, days: int) -> None:
    earlier = floor([case.window], case.stores, case.rules) - timedelta(days=days)

    read_further = calculate(case.history(earlier), case.window, case.rules, tuple(Metric))

    assert read_further == case.values()


@tried(50)
@given(cases(), st.sets(st.sampled_from(Metric)))
def test_metrics_are_independent(case: Case, metrics: set[Metric]) -> None:
    history = case.history(floor([case.window], case.stores, case.rules))

    asked = calculate(history, case.window, case.rules, metrics).values

    everything = case.values().values
    assert asked == {metric: everything[metric] for metric in metrics if metric in everything}


@tried(50)
@given(cases())
def test_opening_plus_flows_is_closing(case: Case) -> None:
    question = replace(case.question, include_returns=True, period_format="YYYYMM")
    no_repacks = tuple(entry for entry in case.entries if entry.kind is not MovementKind.REPACK)

    values = replace(case, question=question, entries=no_repacks).values().values

    assert values[Metric.CLOSING_STOCK] == (
        values[Metric.OPENING_STOCK]
        + values[Metric.RECEIVED]
        - values[Metric.ISSUED]
        + values[Metric.ADJUSTMENTS]
    )


@tried(50)
@given(cases())
def test_negative_stock_counted(case: Case) -> None:
    result = case.values()

    stock = [
        result.values[metric]
        for metric in (
            Metric.STOCK_ON_HAND,
            Metric.EXPIRING,
            Metric.EXPIRED,
            Metric.OPENING_STOCK,
            Metric.CLOSING_STOCK,
        )
    ]
    assert result.warnings[StockWarning.NEGATIVE_STOCK] == sum(1 for value in stock if value < 0)


@tried(50)
@given(cases())
def test_floor_is_a_midnight(case: Case) -> None:
    calendar = Calendar(case.question.zone)

    earliest = floor([case.window], case.stores, case.rules)

    assert calendar.start_of_day(calendar.day_of(earliest)) == earliest
    assert earliest <= case.window.month_start


@tried(50)
@given(cases())
def test_simultaneous_order(case: Case) -> None:
    turned = replace(case, entries=tuple(reversed(case.entries)))

    assert turned.values() == case.values()
