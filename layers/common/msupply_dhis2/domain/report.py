"""What a customer that is no store reports: documents that its supplier has typed in, line by line."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple, Self

from msupply_dhis2.domain.stock import Item, ItemGroup, OrgUnit, Store, UnreadableRow
from msupply_dhis2.periods import Basis, Window


class DocumentKind(StrEnum):
    """What a document is, as messages call it. The last two say nothing but how much stock there is."""

    REQUISITION = "requisition"
    REPORT = "report"
    IMPREST = "imprest"
    STOCK_HISTORY = "stock history"


class DatePeriod(NamedTuple):
    """Days, the first and the last included."""

    first: date
    last: date

    @classmethod
    def of(cls, windows: Iterable[Window]) -> Self:
        """Return the days that reports must be about."""
        days = [(window.calendar.day_of(window.flow_start), window.snapshot_date) for window in windows]
        return cls(min(first for first, _ in days), max(last for _, last in days))

    @property
    def days(self) -> int:
        """How many it has."""
        return (self.last - self.first).days + 1


@dataclass(frozen=True, slots=True)
class Document:
    """A document that somebody has finalised; of two about the same period the one with the higher ``rank`` counts.

    ``is_from_dhis2``: it says itself that mSupply has fetched it from there.
    """

    number: str
    kind: DocumentKind
    rank: tuple[datetime, float, str]
    period: DatePeriod | None
    has_program: bool
    is_from_dhis2: bool

    def __str__(self) -> str:
        """Name it: ``requisition 14``."""
        return f"{self.kind} {self.number}"


class Reported(NamedTuple):
    """The columns of a line, in millionths; what the database lacks is 0."""

    stock: int
    consumption: int
    initial: int
    received: int
    issued: int
    lost: int
    added: int
    adjusted: int
    """Gains and losses in one column, where the two are 0."""
    expiring: int
    days_out: int
    other_days_out: int
    requested: int

    @property
    def has_moved(self) -> bool:
        """Whether anything has, besides the opening stock."""
        return any((self.received, self.issued, self.lost, self.added, self.adjusted))

    @property
    def adjustment(self) -> int:
        """Gains less losses."""
        return self.added - self.lost if self.added or self.lost else self.adjusted

    @property
    def change(self) -> int:
        """What all that has moved comes to."""
        return self.received - self.issued + self.adjustment

    @property
    def days(self) -> int:
        """Days out of stock, in the column that is not 0."""
        return self.days_out or self.other_days_out


class ReportLine(NamedTuple):
    """What a document says of an item, as of a day; ``None``: the database holds a day that cannot be read."""

    document: Document
    day: date | None
    reported: Reported
    has_remark: bool

    @property
    def is_untouched(self) -> bool:
        """Whether it is as mSupply made it: 0 in every column, without comment or reason."""
        return not (self.has_remark or any(self.reported))

    def with_another(self, line: Self) -> Self:
        """Return what two lines of a document about one item say together."""
        return self._replace(
            day=max((each.day for each in (self, line) if each.day is not None), default=None),
            reported=Reported(*map(sum, zip(self.reported, line.reported, strict=True))),
            has_remark=self.has_remark or line.has_remark,
        )


@dataclass(slots=True)
class PairReports:
    """What is known of one item at one customer.

    ``supplied`` is what it was issued on each basis on which anything moved, in millionths; ``None``: reports tell it.
    """

    store: Store
    item: Item
    lines: list[ReportLine] = field(default_factory=list)
    supplied: Mapping[Basis, int] | None = None


@dataclass(slots=True)
class GroupReports:
    """What one set of values of customers is about: one org unit, one item group, and their pairs with a report."""

    org_unit: OrgUnit
    item_group: ItemGroup
    pairs: list[PairReports] = field(default_factory=list)
    unreadable: list[UnreadableRow] = field(default_factory=list)
