"""Reading mSupply: ``open_source`` gives one consistent, read-only state of its database as a ``Source``."""

from collections.abc import Iterator
from contextlib import contextmanager

from msupply_dhis2.credentials import DatabaseAddress
from msupply_dhis2.periods import Calendar
from msupply_dhis2.source.catalogue import Catalogue, Kind, LeftOut, Scope, Source
from msupply_dhis2.source.database import open_database
from msupply_dhis2.source.open_msupply import OpenMsupply

__all__ = ["Catalogue", "Kind", "LeftOut", "Scope", "Source", "open_source"]


@contextmanager
def open_source(
    address: DatabaseAddress,
    *,
    calendar: Calendar,  # noqa: ARG001 - for sources that keep local time; Open mSupply keeps UTC
    ca_certificate: str | None = None,
) -> Iterator[Source]:
    """Open mSupply's database for as long as a ``with`` block lasts.

    Parameters
    ----------
    address
        SQLite or PostgreSQL.
    ca_certificate
        PEM text to verify a PostgreSQL server with; without it the connection is encrypted, not verified.

    Raises
    ------
    SourceUnreachableError
        The database did not answer; trying again later may help.
    SourceError
        It refused the login, is not Open mSupply's, or of a release that is too old.
    """
    with open_database(address, ca_certificate=ca_certificate) as connection:
        yield OpenMsupply(connection, address)
