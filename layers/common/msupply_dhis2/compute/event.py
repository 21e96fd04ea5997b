"""What compute can be asked to do, and the instant, the name and the months of the run that follows from it.

Stores synchronise late and back-date. So a monthly run may compute the months before its own once more (the setting
``restate_months``), and a manual event may ask for a range of months. Each month is a step of its own, with the values
that a run on the first day of the following month would have sent had everything been known by then.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_validator

from msupply_dhis2.domain.reading import Event, MetricNames, Names, Text, parse_event
from msupply_dhis2.errors import EventError
from msupply_dhis2.mapping import Rows
from msupply_dhis2.periods import Basis, Calendar, Interval, PeriodFormat
from msupply_dhis2.settings import Settings
from msupply_dhis2.text import Choice

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(minutes=5)
MOST_MONTHS = 120
"""Ten years in one event: more is more likely a slip than meant."""

EXAMPLES = '{"manual": true}, {"manual": true, "basis": "previous_month", "dry_run": true} or {"interval": "monthly"}'


def parse_months(text: object) -> tuple[date, ...]:
    """Read a range, ``2025-01..2025-12`` or ``2025-01``, as the first day of each month, the oldest first.

    A ValueError says what is wrong with it, and what to write.
    """
    try:
        first, *others = [date.fromisoformat(f"{end.strip()}-01") for end in str(text).split("..")]
        (last,) = others or [first]
    except ValueError:
        said = f"'{text}' is neither a month nor a range of months: write 2025-01, or 2025-01..2025-12"
        raise ValueError(said) from None
    number = 12 * (last.year - first.year) + last.month - first.month + 1
    if first < EARLIEST.date():
        raise ValueError(f"'{text}' lies before the year {EARLIEST.year}: is the year right?")
    if number < 1:
        raise ValueError(f"'{text}' ends before it begins: write {last:%Y-%m}..{first:%Y-%m}")
    if number > MOST_MONTHS:
        said = f"'{text}' holds {number} months, and one event at most {MOST_MONTHS}: send several events"
        raise ValueError(said)
    return tuple(_shifted(first, by) for by in range(number))


def written_months(months: Sequence[date]) -> str:
    """Write a range as it is read."""
    first, last = f"{months[0]:%Y-%m}", f"{months[-1]:%Y-%m}"
    return first if first == last else f"{first}..{last}"


def _shifted(month: date, by: int) -> date:
    years, index = divmod(month.month - 1 + by, 12)
    return date(month.year + years, index + 1, 1)


class BasisChoice(Choice):
    """The basis of a run: one for all its metrics, or that of each row of the settings."""

    PREVIOUS_MONTH = Basis.PREVIOUS_MONTH.value
    CURRENT_DAY = Basis.CURRENT_DAY.value
    AS_IN_SETTINGS = "as_in_settings"

    def of_row(self, basis_of_row: Basis) -> Basis:
        """Return the basis of a row of the settings under this choice."""
        return basis_of_row if self is BasisChoice.AS_IN_SETTINGS else Basis(self.value)


class Export(Choice):
    """What is written into a file instead of being sent."""

    VALUES = "values"
    MAPPING = "mapping"


def _filled_in(scheduled_time: object) -> object:
    if scheduled_time == "<aws.scheduler.scheduled-time>":
        raise ValueError(
            f"is still {scheduled_time}: EventBridge Scheduler replaces this by the time of the schedule. To invoke "
            "compute by hand, give a time such as 2026-02-01T01:00:00Z instead."
        )
    return scheduled_time


class ComputeEvent(Event):
    """An event to compute: a schedule's, a manual push, an export, or the connection test's question about the database.

    What each field asks for stands in docs/reference.md. With ``months`` only the rows on a previous month basis are
    computed, or with that ``basis`` all rows. Where ``stores`` and ``items`` limit a run, the other stores of the same org
    unit and the other items of the same reference are taken along, because their quantities are one number in DHIS2.
    """

    interval: Interval | None = None
    scheduled_time: Annotated[datetime, BeforeValidator(_filled_in)] | None = None
    manual: bool = False
    export: Export | None = None
    check_database: bool = False
    settings: Text | None = None
    as_of: Text | None = None
    basis: BasisChoice | None = None
    months: (
        Annotated[tuple[date, ...], BeforeValidator(parse_months), PlainSerializer(written_months)] | None
    ) = None
    metrics: MetricNames | None = None
    stores: Names | None = None
    items: Names | None = None
    dry_run: bool = False
    full: bool = False
    confirm_deletions: bool = False
    while_off: bool = False

    @model_validator(mode="after")
    def _ask_for_one_thing(self) -> Self:
        if (self.interval is not None) + self.manual + (self.export is not None) + self.check_database != 1:
            raise ValueError("The event must hold exactly one of interval, manual, export and check_database")
        if self.export is not None:
            # All other fields say how something is sent; the mapping is of all stores and items.
            allowed, why = {"export"}, "sends nothing and holds all stores and items"
            if self.export is Export.VALUES:
                allowed |= {"as_of", "basis", "months", "metrics", "stores", "items"}
                why = "sends nothing"
            if others := ", ".join(sorted(self.model_fields_set - allowed)):
                raise ValueError(f'{others}: not with "export": "{self.export}", which {why}. Leave it out')
        if self.settings is not None and not self.check_database:
            raise ValueError("settings: only check_database has them")
        if self.while_off and not self.manual:
            raise ValueError("while_off: only a manual event has it")
        return self

    @model_validator(mode="after")
    def _ask_for_months_alone(self) -> Self:
        if self.months is None:
            return self
        if not self.is_by_hand:
            raise ValueError("months: only a manual event has them, or an export of values")
        if self.basis is BasisChoice.CURRENT_DAY:
            raise ValueError(
                "basis: a month that is over has no current day. Write previous_month, or leave it out"
            )
        if self.as_of is not None:
            raise ValueError("as_of: each month has its own instant. Leave as_of out, or leave months out")
        return self

    @property
    def started_by(self) -> str:
        """Return what started the run: the interval's name, ``manual`` or ``export``."""
        if self.interval:
            return self.interval.value
        return "export" if self.export else "manual"

    @property
    def is_by_hand(self) -> bool:
        """Whether it asks for values outside the schedules."""
        return self.manual or self.export is Export.VALUES

    @property
    def sends(self) -> bool:
        """Whether values are sent to DHIS2, and not only counted or exported."""
        return not self.dry_run and self.export is None

    def is_off(self, settings: Settings) -> bool:
        """Return whether nothing is sent because Use DHIS2 is off."""
        return self.sends and not settings.use_dhis2 and not self.while_off

    @property
    def basis_choice(self) -> BasisChoice:
        """The basis of the run: where the event does not say, what is asked for by hand without months is about today."""
        about_today = self.is_by_hand and self.months is None
        return self.basis or (BasisChoice.CURRENT_DAY if about_today else BasisChoice.AS_IN_SETTINGS)


def parse_compute_event(event: object) -> ComputeEvent:
    """Read an event to compute; an EventError has a sentence for each field that is wrong, and examples."""
    if not isinstance(event, Mapping):
        raise EventError(f"The event must be a JSON object, for example {EXAMPLES}.")
    return parse_event(ComputeEvent, event, f"for example {EXAMPLES}")


def parse_noted_event(text: str) -> ComputeEvent | None:
    """Read the event that a run's row holds; ``None`` where another version noted it, or push knows the run only."""
    try:
        return parse_compute_event(json.loads(text))
    except (EventError, ValueError):
        return None


def instant_of_run(event: ComputeEvent, first_arrival: datetime, calendar: Calendar) -> datetime:
    """Return ``as_of`` in the calendar's time zone: the event's, else its scheduled time, else when it first arrived."""
    if event.as_of is not None:
        as_of = parse_as_of(event.as_of, calendar, "as_of")
    elif event.scheduled_time is not None:
        scheduled = event.scheduled_time
        # EventBridge Scheduler fills in UTC; a time without an offset is taken as that too.
        as_of = scheduled if scheduled.tzinfo else scheduled.replace(tzinfo=UTC)
    else:
        as_of = first_arrival
    require_known(as_of, first_arrival)
    return as_of.astimezone(calendar.time_zone)


def parse_as_of(text: str, calendar: Calendar, name: str) -> datetime:
    """Read the instant that a field of an event names; an EventError says what a date, or a date and time, looks like."""
    try:
        return calendar.parse_instant(text)
    except ValueError as error:
        raise EventError(
            f"{name}: '{text}' is neither a date (2022-05-01) nor a date and time (2022-05-01T00:30)."
        ) from error


def require_known(as_of: datetime, now: datetime, name: str = "as_of") -> None:
    """Raise an EventError where the instant in a field lies in the future, or before there was any mSupply."""
    if as_of > now + CLOCK_SKEW:
        raise EventError(f"{name}: {as_of.isoformat()} is in the future. Give a date or time up to now.")
    if as_of < EARLIEST:
        raise EventError(f"{name}: {as_of.isoformat()} lies before the year {EARLIEST.year}: is it right?")


def rows_asked_for(event: ComputeEvent, settings: Settings) -> Rows:
    """Return the active rows that the event asks for, each with the basis that holds for it."""
    return [
        (row, event.basis_choice.of_row(row.basis))
        for row in settings.active_rows
        if event.interval in {None, row.interval} and (event.metrics is None or row.metric in event.metrics)
    ]


def rows_of_past(rows: Rows) -> Rows:
    """Keep the rows that a month that is over has values for."""
    return [(row, basis) for row, basis in rows if basis is Basis.PREVIOUS_MONTH]


def run_id(event: ComputeEvent, as_of: datetime) -> str:
    """Name the run, ``20260201T010000Z-monthly-1f0c2a9b``: the same for the same event at the same instant."""
    moment = as_of.astimezone(UTC)
    asked = event.model_dump(mode="json", exclude={"scheduled_time", "as_of", "while_off", "settings"})
    content = json.dumps([moment.isoformat(), asked], sort_keys=True)
    return f"{moment:%Y%m%dT%H%M%SZ}-{event.started_by}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


class MonthStep(BaseModel):
    """A part of a run, whose values are on the queue before the next step begins.

    ``month`` is computed again (``2025-01``): of the rows of the settings only those on the basis *previous month* are
    then worked. ``None`` is the run's own step, with all its rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: AwareDatetime
    month: str | None = None


def month_steps_of_range(
    months: Sequence[date], now: datetime, calendar: Calendar, period: PeriodFormat
) -> tuple[MonthStep, ...]:
    """Return a step for each month of a range, the oldest first; an EventError where a month is not over yet."""
    latest = _last_month(now, calendar)
    if months[-1] > latest:
        raise EventError(
            f"months: {months[-1]:%Y-%m} is not over yet. The last month that is: {latest:%Y-%m}. For the current "
            'month leave months out: {"manual": true} is about today.'
        )
    return tuple(_steps(months, latest, calendar, period).values())


def month_steps_before(
    number: int, as_of: datetime, calendar: Calendar, period: PeriodFormat
) -> tuple[MonthStep, ...]:
    """Return a step for each of so many months before the month of a monthly run, the oldest first."""
    own = _last_month(as_of, calendar)
    steps = _steps((_shifted(own, -by) for by in range(number, 0, -1)), own, calendar, period)
    return tuple(step for month, step in steps.items() if month != own)


def _last_month(instant: datetime, calendar: Calendar) -> date:
    """Return the last month that is over at an instant."""
    return _shifted(calendar.day_of(instant.astimezone(UTC).replace(tzinfo=None)), -1)


def _steps(
    months: Iterable[date], latest: date, calendar: Calendar, period: PeriodFormat
) -> dict[date, MonthStep]:
    """Return a step for each period, about the last month of it that is over, even where it is not among these months.

    Where a period has more than one month, a later month's values replace an earlier one's.
    """

    def label(month: date) -> str:
        return period.label(_shifted(month, 1) - timedelta(1))

    steps = {}
    for month in months:
        end = month
        while end < latest and label(_shifted(end, 1)) == label(month):
            end = _shifted(end, 1)
        as_of = calendar.start_of_day(_shifted(end, 1)).replace(tzinfo=UTC).astimezone(calendar.time_zone)
        steps[end] = MonthStep(as_of=as_of, month=f"{end:%Y-%m}")
    return steps
