"""Make a sample database: the same rows for the same seed, in either engine and as either kind of mSupply has them."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import partial
from zoneinfo import ZoneInfo

from sandbox.sample import mirror_tables, tables
from sandbox.sample.book import Book, Timeline
from sandbox.sample.clinics import Clinic, clinics, unusual_clinics
from sandbox.sample.customers import Customer, Forms, Months, UnusualCustomers, joins, post, report_a_year
from sandbox.sample.edge_cases import UnusualItem, preferences, unusual_items
from sandbox.sample.history import StoreHistory
from sandbox.sample.medicines import Medicine, medicines
from sandbox.sample.mirror import MirrorWriter
from sandbox.sample.writer import Row, SampleError, Writer, empty_database

DEFAULT_AS_OF = date(2026, 10, 31)

_UTC = ZoneInfo("UTC")

EDGE_CASES_UP_TO = 20_000
"""Pairs of store and item up to which the edge cases are added where nothing is said about them."""

_MOVEMENTS_OF_A_PAIR = 60

# Shares of pairs: of those on the store's master list that were ever handled, and of those off it.
_HANDLED = 0.94
_HANDLED_OFF_LIST = 0.05
_ESSENTIAL = 0.9

# How many movements come of one that is planned, all pairs taken together: some pairs are not handled,
# some receipts fail, stock runs out; on the other hand two batches are used up by one issue.
_YIELD = 0.84
_SPREAD = 0.8

_REPORTING = 2
_POSTS = 20
"""Names that stores issue to."""

_NATIONAL_LIST, _HOSPITAL_LIST, _PROGRAMME_LIST = "NATIONAL", "HOSPITAL", "PROGRAMME"


class SampleKind(StrEnum):
    """Whose database it is to be."""

    OPEN_MSUPPLY = "open-msupply"
    MIRROR = "mirror"


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What was made.

    Attributes
    ----------
    movements
        Invoice lines that are stock in or stock out.
    report_lines
        Lines of what customers that are not stores report.
    inconsistent_pairs
        Ids of store and item whose stock lines are not what the movements sum up to.
    """

    stores: int
    items: int
    stock_lines: int
    invoices: int
    movements: int
    as_of: date
    inconsistent_pairs: tuple[tuple[str, str], ...]
    customers: int = 0
    report_lines: int = 0


def generate(  # noqa: PLR0913 - every one of them is a size or a choice of the sample
    url: str,
    *,
    stores: int = 5,
    items: int = 20,
    movements: int | None = None,
    customers: int | None = None,
    seed: int = 1,
    as_of: date = DEFAULT_AS_OF,
    edge_cases: bool | None = None,
    kind: SampleKind = SampleKind.OPEN_MSUPPLY,
    time_zone: ZoneInfo = _UTC,
    progress: Callable[[int, int], None] | None = None,
) -> SampleSummary:
    """Fill an empty database with the tables of mSupply and believable rows.

    It is written store by store, so that memory does not grow with the number of stores.

    Parameters
    ----------
    url
        ``sqlite:///…`` or ``postgresql://…`` of an empty database.
    stores, items
        How many ordinary ones; the edge cases come on top.
    movements
        About how many movements in all; 60 for each pair of store and item where it is ``None``.
    customers
        How many customers that are not stores report each month; ``None``: two, with the edge cases on top, in samples
        that have any.
    as_of
        The last day on which something happened.
    edge_cases
        Whether to add stores and items with everything that is unusual; ``None``: to small samples only.
    kind
        Whose tables they are. The mirror of the older mSupply is in PostgreSQL only.
    time_zone
        In which the older mSupply keeps its dates and times; Open mSupply keeps UTC.
    progress
        Called with the stores done and their number.

    Raises
    ------
    SampleError
        When the database cannot be opened, is not empty, or is none that a mirror can be in.
    """
    if edge_cases is None:
        edge_cases = stores * items <= EDGE_CASES_UP_TO
    every_clinic = clinics(stores, seed)
    unusual: list[UnusualItem] = []
    if edge_cases:
        every_clinic += unusual_clinics(every_clinic[0], seed)
        unusual = unusual_items(items, seed)
    unusual_customers = UnusualCustomers.of(every_clinic[0], seed) if edge_cases else UnusualCustomers(())
    if customers is None:
        customers = _REPORTING if edge_cases else 0
    catalogue = _Catalogue(
        medicines(items, seed), unusual, every_clinic, seed, reporting=customers, others=unusual_customers
    )
    pair_movements: float = _MOVEMENTS_OF_A_PAIR
    if movements is not None:
        pair_movements = movements / (len(every_clinic) * items * _YIELD)
    timeline = Timeline(as_of)
    stock_lines = invoices = written = 0
    with _opened(url, kind, every_clinic, time_zone) as writer:
        catalogue.write(writer, timeline)
        if isinstance(writer, MirrorWriter) and edge_cases:
            catalogue.hide(writer)
        for number, clinic in enumerate(every_clinic):
            choose = random.Random(f"store {seed} {number}")  # noqa: S311 - sample data, which a seed must repeat
            book = Book(clinic, timeline, choose, catalogue.partners)
            if clinic.has_stock:
                _live(book, catalogue, pair_movements)
            if number == 0:
                _happen(book, unusual)
            writer.write(tables.STOCK_LINE, book.stock_lines)
            writer.write(tables.INVOICE, book.invoices)
            writer.write(tables.INVOICE_LINE, book.invoice_lines)
            stock_lines += len(book.stock_lines)
            invoices += len(book.invoices)
            written += book.movements
            if progress is not None:
                progress(number + 1, len(every_clinic))
        report_lines = _report(writer, catalogue, as_of)
    return SampleSummary(
        stores=len(every_clinic),
        items=items + len(unusual),
        stock_lines=stock_lines,
        invoices=invoices,
        movements=written,
        as_of=as_of,
        inconsistent_pairs=tuple(
            (every_clinic[0].id, item.medicine.id) for item in unusual if not item.adds_up
        ),
        customers=customers + len(unusual_customers.customers),
        report_lines=report_lines,
    )


def _opened(
    url: str, kind: SampleKind, every_clinic: Sequence[Clinic], time_zone: ZoneInfo
) -> AbstractContextManager[Writer]:
    if kind is SampleKind.OPEN_MSUPPLY:
        return empty_database(url, tables.METADATA, Writer)
    if not url.startswith("postgresql"):
        raise SampleError(f"{url} cannot hold the mirror of the older mSupply: give postgresql://….")
    writer = partial(MirrorWriter, clinics=every_clinic, time_zone=time_zone)
    return empty_database(url, mirror_tables.METADATA, writer)


def _report(writer: Writer, catalogue: "_Catalogue", as_of: date) -> int:
    """Write what customers report, one customer after the other; return how many lines."""
    choose = random.Random(f"reports {catalogue.seed}")  # noqa: S311 - sample data, which a seed must repeat
    forms = Forms(catalogue.first_store.id, choose, Months(as_of))
    lines = 0
    for customer in catalogue.reporting:
        report_a_year(forms, customer, catalogue.medicines)
        lines += len(forms.lines)
        forms.write(writer)
    if catalogue.others.customers:
        catalogue.others.report(forms, catalogue.medicines, catalogue.unusual)
        lines += len(forms.lines)
        forms.write(writer)
    forms.write_periods(writer)
    return lines


def _happen(book: Book, unusual: Sequence[UnusualItem]) -> None:
    """Write what is unusual into the book of the store in which it happens."""
    for item in unusual:
        if item.happenings is not None:
            item.happenings(book, item.medicine)


def _live(book: Book, catalogue: "_Catalogue", pair_movements: float) -> None:
    """Write the history of every ordinary medicine that the store handles."""
    choose = book.choose
    history = StoreHistory(book)
    for number, medicine in enumerate(catalogue.medicines):
        is_listed = catalogue.is_essential(number) or book.clinic.is_hospital
        if choose.random() < (_HANDLED if is_listed else _HANDLED_OFF_LIST):
            factor = choose.lognormvariate(-(_SPREAD**2) / 2, _SPREAD)
            history.add(medicine, max(1, round(pair_movements * factor)))
    history.write()


class _Catalogue:
    """What is entered once: units, items, names, stores, master lists and preferences."""

    def __init__(
        self,
        ordinary: Sequence[Medicine],
        unusual: Sequence[UnusualItem],
        every_clinic: Sequence[Clinic],
        seed: int,
        *,
        reporting: int,
        others: UnusualCustomers,
    ) -> None:
        self.medicines = ordinary
        self.unusual = unusual
        self.others = others
        self._clinics = every_clinic
        self.seed = seed
        choose = random.Random(f"catalogue {seed}")  # noqa: S311 - sample data, which a seed must repeat
        self._choose = choose
        self._supplier = self._id()
        self._posts = [
            post(number, self._id(), is_mapped=number <= reporting)
            for number in range(1, max(reporting, _POSTS) + 1)
        ]
        self.reporting = self._posts[:reporting]
        self.partners = [self._supplier, *(customer.id for customer in self._posts[:_POSTS])]

    @property
    def first_store(self) -> Clinic:
        """The one in which everything unusual happens."""
        return self._clinics[0]

    @property
    def _customers(self) -> list[Customer]:
        return [*self._posts, *self.others.customers]

    def is_essential(self, number: int) -> bool:
        """Whether an ordinary medicine is on the list of every store, or on that of hospitals."""
        return number % 10 < _ESSENTIAL * 10

    def write(self, writer: Writer, timeline: Timeline) -> None:
        """Write all of it."""
        units = sorted(
            {medicine.unit for medicine in (*self.medicines, *(item.medicine for item in self.unusual))}
        )
        unit_ids = {unit: self._id() for unit in units}
        writer.write(tables.UNIT, [(unit_ids[unit], unit, None, 0, True) for unit in units])
        writer.write(tables.ITEM, self._items(unit_ids))
        writer.write(tables.ITEM_LINK, self._item_links())
        writer.write(tables.NAME, self._names())
        links = [
            (name_id, name_id) for name_id in (self._supplier, *(each.name_id for each in self._clinics))
        ]
        links += [link for customer in self._customers for link in customer.links()]
        writer.write(tables.NAME_LINK, links)
        if self.others.customers:
            writer.write(tables.NAME_STORE_JOIN, joins(self.others, self.first_store))
        writer.write(tables.STORE, [clinic.store_row(site) for site, clinic in enumerate(self._clinics, 1)])
        received = timeline.at(0, "00:00:00")
        writer.write(tables.SYNC_BUFFER, [clinic.sync_buffer_row(received) for clinic in self._clinics])
        lists = (_NATIONAL_LIST, _HOSPITAL_LIST, _PROGRAMME_LIST)
        writer.write(
            tables.MASTER_LIST,
            [(name, f"{name.title()} list", name, "", name != _PROGRAMME_LIST) for name in lists],
        )
        writer.write(tables.MASTER_LIST_LINE, self._list_lines())
        writer.write(tables.MASTER_LIST_NAME_JOIN, self._list_joins())
        writer.write(
            tables.STORE_PREFERENCE,
            [
                (clinic.id, "STORE_PREFERENCES", False, clinic.look_back_months, 6.0, 3.0)
                for clinic in self._clinics
                if clinic.look_back_months is not None
            ],
        )
        if self.unusual:
            writer.write(tables.PREFERENCE, preferences(self._clinics[0].id, self.seed))

    def hide(self, writer: MirrorWriter) -> None:
        """Put a store on one more list, of which it hides every item."""
        store = next(clinic for clinic in self._clinics if not clinic.is_hospital)
        writer.hide(
            store,
            _HOSPITAL_LIST,
            [medicine.id for number, medicine in enumerate(self.medicines) if not self.is_essential(number)],
        )

    def _id(self) -> str:
        return f"{self._choose.getrandbits(128):032X}"

    def _items(self, unit_ids: dict[str, str]) -> Iterator[Row]:
        every = [(item, item.legacy_record, item.universal_code) for item in self.medicines]
        every += [(item.medicine, item.legacy_record, item.universal_code) for item in self.unusual]
        for medicine, legacy_record, universal_code in every:
            yield (
                medicine.id,
                medicine.name,
                medicine.code,
                unit_ids[medicine.unit],
                medicine.type,
                legacy_record,
                medicine.is_active,
                medicine.pack_sizes[0],
                "vaccine" in medicine.name,
                universal_code,
            )

    def _item_links(self) -> Iterator[Row]:
        for medicine in self.medicines:
            yield (medicine.id, medicine.id)
        for item in self.unusual:
            for link in item.links:
                yield (link, item.medicine.id)

    def _names(self) -> Iterator[Row]:
        yield (self._supplier, "Central Medical Store", "CMS", "FACILITY", False, True, *[None] * 4)
        for customer in self._customers:
            yield customer.name_row()
        for clinic in self._clinics:
            yield clinic.name_row()

    def _list_lines(self) -> Iterator[Row]:
        for number, medicine in enumerate(self.medicines):
            yield (self._id(), medicine.id, _NATIONAL_LIST if self.is_essential(number) else _HOSPITAL_LIST)
        for item in self.unusual:
            if item.links:
                yield (self._id(), item.medicine.id, _PROGRAMME_LIST)

    def _list_joins(self) -> Iterator[Row]:
        for clinic in self._clinics:
            yield (self._id(), _NATIONAL_LIST, clinic.name_id)
            if clinic.is_hospital:
                yield (self._id(), _HOSPITAL_LIST, clinic.name_id)
        if self.unusual:
            yield (self._id(), _PROGRAMME_LIST, self._clinics[0].name_id)
