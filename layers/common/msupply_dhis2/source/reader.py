"""The source of mSupply data, whichever kind of database it is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CTE, Connection, Select

from msupply_dhis2.domain.stock import GroupHistory, Store
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source.base import Catalogue, Scope
from msupply_dhis2.source.connection import Columns, faults_as_sentences
from msupply_dhis2.source.data_warnings import DataWarnings
from msupply_dhis2.source.merge import Histories
from msupply_dhis2.source.selection import ItemSelection, StoreSelection
from msupply_dhis2.source.sql import numbered


class Source(ABC):
    """One consistent, read-only state of an mSupply database.

    All that reads raises ``SourceError`` where the database holds what cannot be read or the connection was lost.

    Parameters
    ----------
    connection
        One read-only transaction; nothing else may use it.
    columns
        What tables there are in it.
    calendar
        That of the configured time zone.
    began
        When the transaction began (naive UTC): what is dated later has moved the stock lines already.

    Raises
    ------
    SourceError
        The database lacks what is needed.
    """

    BROKEN_PLACE: str
    """Where items keep the fields that may be broken, in mSupply's words."""

    def __init__(
        self,
        connection: Connection,
        address: DatabaseAddress,
        columns: Columns,
        calendar: Calendar,
        began: datetime,
    ) -> None:
        self._connection = connection
        self._address = address
        self._columns = columns
        self._calendar = calendar
        self._began = began
        self._data_warnings = DataWarnings()
        self._check()

    def catalogue(
        self, *, store_field: str, item_fields: Sequence[str], include_field: str | None
    ) -> Catalogue:
        """Read which stores and items are sent.

        Parameters
        ----------
        store_field
            The custom field of stores that holds the org unit.
        item_fields
            ``universal_code``, user fields (``user_field_1``) or keys of the items' custom data.
        include_field
            The user field or key of the custom data that is ticked on the items to send; ``None``: all are.

        Raises
        ------
        SourceError
            No store or no item is mapped, or the database cannot be read, or what it holds cannot be right.
        """
        stores = StoreSelection(store_field)
        items = ItemSelection(tuple(item_fields), include_field, self.BROKEN_PLACE)
        with faults_as_sentences(self._address):
            return self._read_catalogue(stores, items)

    def lines(self, stores: Sequence[Store]) -> Mapping[str, int]:
        """Count how many lines each store has, by its id: lines of invoices and stock lines, whatever their item.

        About as many: it says how long a store takes, so that work can be divided evenly.
        """
        wanted = numbered("counted_store", {each.id: index for index, each in enumerate(stores)})
        lines = dict.fromkeys((each.id for each in stores), 0)
        with faults_as_sentences(self._address):
            for query in self._line_counts(wanted):
                for store_id, number in self._connection.execute(query):
                    lines[store_id] += number
        return lines

    def histories(self, scope: Scope, floor: datetime) -> Iterator[GroupHistory]:
        """Stream the groups that have any pair, by org unit, then item group, in the order of the scope.

        No more than one group is held in memory, beside the rows that the database sends at a time.

        Parameters
        ----------
        floor
            Movements before this instant (naive UTC) are not read one by one: only their sum is.
        """
        self._data_warnings = DataWarnings()
        with faults_as_sentences(self._address):
            yield from self._histories(scope).read(floor, self._data_warnings)

    def warnings(self) -> tuple[str, ...]:
        """Return sentences about what was odd in the histories; complete once they are exhausted."""
        return tuple(self._data_warnings.warnings())

    @abstractmethod
    def _check(self) -> None:
        """Make sure that the database has what is needed."""

    @abstractmethod
    def _read_catalogue(self, stores: StoreSelection, items: ItemSelection) -> Catalogue:
        """Read which stores and items are sent."""

    @abstractmethod
    def _line_counts(self, stores: CTE) -> Iterable[Select[Any]]:
        """Return what counts lines: rows of ``(store_id, number)``."""

    @abstractmethod
    def _histories(self, scope: Scope) -> Histories:
        """Return what is asked for the histories of a scope."""
