"""Reading mSupply: ``open_source`` gives one consistent, read-only state of its database as a ``Source``."""

from collections.abc import Iterator
from contextlib import contextmanager

from msupply_dhis2.domain.choices import DatabaseTrust
from msupply_dhis2.errors import SourceError
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.connection import UNVERIFIED_CERTIFICATE, open_database, read_columns, reading_began
from msupply_dhis2.source.mirror.reader import Mirror
from msupply_dhis2.source.open_msupply.reader import OpenMsupply
from msupply_dhis2.source.sql import Columns

_SIGNS_OF_OPEN_MSUPPLY = ("invoice", "invoice_line", "stock_line", "item_link", "name_link")
_SIGNS_OF_MIRROR = ("transact", "trans_line", "item_line")
"""Tables by which each kind of database is known; the other kind has none of them."""


@contextmanager
def open_source(
    address: DatabaseAddress,
    *,
    calendar: Calendar,
    trust: DatabaseTrust = UNVERIFIED_CERTIFICATE,
) -> Iterator[Source]:
    """Open mSupply's database, or the older mSupply's mirror, for as long as a ``with`` block lasts.

    Which of the two it is shows in its tables. The calendar is that of the time zone in which the older mSupply keeps its
    dates and times; Open mSupply keeps UTC. ``SourceUnreachableError``: it did not answer, and trying again later may
    help; ``SourceError``: it refused the login, is neither or both of the two, or lacks what is needed.
    """
    with open_database(address, trust) as connection:
        began, columns = reading_began(connection), read_columns(connection)
        yield _kind_of(address, columns)(connection, address, columns, calendar, began)


def _kind_of(address: DatabaseAddress, columns: Columns) -> type[Source]:
    of_open = [table for table in _SIGNS_OF_OPEN_MSUPPLY if table in columns.types]
    of_mirror = [table for table in _SIGNS_OF_MIRROR if table in columns.types]
    if of_open and of_mirror:
        raise SourceError(
            f"mSupply's database ({address.described}) holds both Open mSupply's tables (such as {of_open[0]}) and those of "
            f"the older mSupply's mirror (such as {of_mirror[0]}). Keep each in a database of its own, or let the user that "
            "reads it see the schema of one only (search_path)."
        )
    if of_open or of_mirror:
        return OpenMsupply if of_open else Mirror
    raise SourceError(
        f"mSupply's database ({address.described}) is not mSupply's: it has none of Open mSupply's tables "
        f"{', '.join(_SIGNS_OF_OPEN_MSUPPLY)}, and none of the tables {', '.join(_SIGNS_OF_MIRROR)} of the older mSupply's "
        "mirror. Check the name of the database, and that it is the central server's."
    )
