"""The connection to an Open mSupply database, and which tables and columns its release has."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, TableClause, null

from msupply_dhis2.errors import SourceError
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source.connection import Columns
from msupply_dhis2.source.open_msupply.tables import OPTIONAL, REQUIRED
from msupply_dhis2.source.sql import text_of


@dataclass(frozen=True, slots=True)
class Database:
    """The connection, and which columns there are to read."""

    connection: Connection
    columns: Columns

    def check(self, address: DatabaseAddress) -> None:
        """Tell a release that will do from one that is too old."""
        missing = [
            f"{table}.{column}"
            for table, columns in REQUIRED.items()
            for column in columns
            if column not in self.columns.get(table, {})
        ]
        if missing:
            raise SourceError(
                f"mSupply's database ({address.described}) is of a release of Open mSupply that is too old: it lacks {', '.join(missing)}. Update "
                "Open mSupply; releases 2.20 to 3.0 are known to have all that is needed."
            )

    def has(self, table: TableClause) -> bool:
        """Return whether an optional table is there, with all that is read from it."""
        return all(self.has_column(column, of=table) for column in OPTIONAL[table.name])

    def has_column(self, column: str, *, of: TableClause) -> bool:
        """Return whether a table is there and has a column."""
        return column in self.columns.get(of.name, {})

    def text(self, column: ColumnElement[Any], *, of: TableClause) -> ColumnElement[Any]:
        """Select an optional column as text: NULL where the database lacks it."""
        return text_of(column) if self.has_column(str(column.name), of=of) else null()

    def value(self, column: ColumnElement[Any], *, of: TableClause) -> ColumnElement[Any]:
        """Select an optional column as it is: NULL where the database lacks it."""
        return column if self.has_column(str(column.name), of=of) else null()
