"""Whether what a mirror holds can be right: refused is what would make numbers wrong without a word."""

from collections.abc import Collection, Iterator

from sqlalchemy import Text, column, func, select, table, text

from msupply_dhis2.errors import SourceError
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source.mirror.columns import Database
from msupply_dhis2.source.mirror.tables import STATUSES, TABLES, TYPES, transact
from msupply_dhis2.source.sql import text_of
from msupply_dhis2.text import count, listed

_WITH_UNIQUE_ID = text(
    # Of the id alone and of all rows: others let a row be there twice.
    "SELECT c.relname FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid "
    "JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] "
    "WHERE i.indisunique AND i.indisvalid AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = 'id' "
    "AND pg_catalog.pg_table_is_visible(c.oid)"
)


def check_contents(database: Database, address: DatabaseAddress) -> None:
    """Raise ``SourceError`` where a row is there twice, or no code of transactions means anything: a sentence each."""
    faults = [*_rows_there_twice(database), *_unknown_codes(database)]
    if faults:
        raise SourceError(
            "\n".join(
                (f"mSupply's database ({address.described}) is a mirror that cannot be right.", *faults)
            )
        )


def _rows_there_twice(database: Database) -> Iterator[str]:
    with_unique_id = set(database.connection.execute(_WITH_UNIQUE_ID).scalars())
    for name in TABLES:
        if "id" not in database.columns.get(name, {}) or name in with_unique_id:
            continue
        identifier = column("id", Text)
        rows, different = database.connection.execute(
            select(func.count(), func.count(identifier.distinct())).select_from(table(name, identifier))
        ).one()
        if rows != different:
            yield (
                f"Rows of {name} are there more than once: {rows:,} rows have {count(different, 'value')} of id. What is "
                f"there twice would count twice. Empty {name} and let the older mSupply export it anew; a primary key on "
                "id keeps it from happening again."
            )


def _unknown_codes(database: Database) -> Iterator[str]:
    codes = database.connection.execute(
        select(text_of(transact.c.type), text_of(transact.c.status)).distinct()
    ).all()
    for name, seen, known in (
        ("type", {kind for kind, _ in codes}, TYPES),
        ("status", {status for _, status in codes}, STATUSES),
    ):
        if seen and not seen & set(known):
            yield (
                f"No transaction has a {name} that is known, so that no movement would count: transact.{name} holds "
                f"{_shown(seen)}, and the older mSupply writes {', '.join(known)}. Let it be exported as it is there."
            )


def _shown(codes: Collection[str | None]) -> str:
    """Return codes as they are, blanks and all."""
    return listed(sorted("nothing" if code is None else f"'{code}'" for code in codes))
