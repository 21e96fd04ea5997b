"""What is told of a value: the shape of the answer, as JSON has it."""

from datetime import date, datetime

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.periods import Basis


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Term(_Part):
    """One of the numbers that a value is added up from; ``units`` is signed, as it goes into the sum."""

    what: str
    units: str


class Span(_Part):
    """Days on end without any stock, the first and the last of them."""

    first: date
    last: date
    days: int


class StockLinePart(_Part):
    """A stock line as it is now, and its units at the snapshot."""

    store: str
    item: str
    batch: str | None
    expiry_date: date | None
    units_now: str
    units_at_snapshot: str


class MovementPart(_Part):
    """A movement, and the stock of all the stores and items together after it.

    ``note`` says where the instant at which it counts is not its own.
    """

    instant: datetime
    store: str
    item: str
    kind: str
    number: str | None
    batch: str | None
    units: str
    stock_after: str
    note: str | None = None


class ReportPart(_Part):
    """A line of a customer's document: of its columns those that are not 0, in units and days, by their names.

    ``day`` is the last of its period, which begins at ``first_day``, or the day of the count.
    """

    customer: str
    item: str
    document: str
    day: date | None
    first_day: date | None
    columns: dict[str, str]
    note: str | None = None


class EarlierMovements(_Part):
    """All movements before those that are listed, summed up, and the stock after them."""

    units: str
    stock_after: str


class OnScreen(_Part):
    """A rule by which mSupply's own screen shows another number for this value."""

    rule: str
    here: str
    on_screen: str


class Explanation(BaseModel):
    """Where a value comes from; ``message`` is the answer in a sentence: the value, or why there is none.

    ``value`` is as it is sent, ``exact`` as it is before it is rounded off, with six decimals at most. ``terms`` is what it
    is added up from, where it is a sum. ``movements`` are the latest of the period and of the look-back, oldest first. A
    customer has ``reports`` in place of stock lines and movements. ``left_out`` is what is not counted or counts otherwise.
    ``mapping`` is what the value is known by in DHIS2, and the settings that say so; ``way`` what became of it: what DHIS2
    acknowledged, rejected and holds, and the runs that covered it.
    """

    message: str
    metric: Metric
    value: str | None = None
    exact: str | None = None
    basis: Basis | None = None
    as_of: datetime | None = None
    period: str | None = None
    org_unit: str | None = None
    stores: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    formula: str | None = None
    terms: tuple[Term, ...] = ()
    days_without_stock: tuple[Span, ...] = ()
    stock_lines: tuple[StockLinePart, ...] = ()
    movements: tuple[MovementPart, ...] = ()
    earlier: EarlierMovements | None = None
    reports: tuple[ReportPart, ...] = ()
    left_out: tuple[str, ...] = ()
    data_value: dict[str, str | None] = {}
    mapping: tuple[str, ...] = ()
    way: tuple[str, ...] = ()
    beside_screen: tuple[OnScreen, ...] = ()
