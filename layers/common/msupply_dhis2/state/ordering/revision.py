"""How new a value is: first by the instant that it is about, then by the instant at which the database was read."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Self

_DIGITS = 15


class Revision(NamedTuple):
    """Milliseconds since 1970; the larger is the newer.

    ``snapshot`` is the instant at which stock was looked at (``periods.Window.snapshot``), ``read_at`` when compute read
    mSupply's database: of two runs about the same instant the later knows more, since stores synchronise late.
    """

    snapshot: int
    read_at: int

    @classmethod
    def of(cls, snapshot: datetime, read_at: datetime) -> Self:
        """Make a revision of two aware instants."""
        return cls(_milliseconds(snapshot), _milliseconds(read_at))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` wrote."""
        snapshot, _, read_at = text.partition("-")
        return cls(int(snapshot), int(read_at))

    def __str__(self) -> str:
        """Write it so that the order of texts is that of revisions."""
        return f"{self.snapshot:0{_DIGITS}}-{self.read_at:0{_DIGITS}}"

    def sentence(self) -> str:
        """Say it for people, in UTC."""
        snapshot, read_at = (datetime.fromtimestamp(each / 1000, UTC) for each in self)
        return f"about {snapshot:%Y-%m-%d %H:%M}, read {read_at:%Y-%m-%d %H:%M} (UTC)"


LATEST = Revision(10**_DIGITS - 1, 10**_DIGITS - 1)
"""In place of one that cannot be read."""

OLDEST = Revision(0, 0)
"""Of a message that says nothing about it."""


def revisions_of[Kind](snapshots: Mapping[Kind, datetime], read_at: datetime) -> dict[Kind, Revision]:
    """Return the revision of each kind of value."""
    return {kind: Revision.of(snapshot, read_at) for kind, snapshot in snapshots.items()}


def _milliseconds(instant: datetime) -> int:
    # A database that holds nothing before 1970 needs no instant before it.
    return max(0, round(instant.timestamp() * 1000))
