"""What is remembered of each DHIS2, a row of the stack's table for each address.

When it last let us in, for each user, what it calls itself and the data set, and how many values a call may hold there; never
a password. The rows have no expiry: the last successful connection is worth most where it lies long ago.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from msupply_dhis2.aws.dynamodb import Change, Table, change_item, read_item


@dataclass(frozen=True, slots=True)
class Remembered:
    """The last successful connection to a DHIS2, whose it was, and the titles that DHIS2 told then."""

    instant: datetime
    user: str
    server: str | None = None
    data_set_id: str | None = None
    data_set: str | None = None


def record_success(
    table: Table, url: str, username: str, instant: datetime, titles: Mapping[str, str | None] | None = None
) -> None:
    """Remember when (aware) DHIS2 answered this user; an older instant never replaces a newer one.

    ``titles`` has what ``Remembered`` has besides; without it what is known of them stays.
    """
    # So that text order is time order: always UTC, always microseconds.
    written = instant.astimezone(UTC).isoformat(timespec="microseconds")
    of_user = _of_user(username)
    change = Change(_key(url)).set({of_user: written, "last_success": written, "user": username})
    # Another function may have been faster with a newer one, which stands.
    change_item(table, change.set(titles or {}).if_below(of_user, written))


def last_success(table: Table, url: str, username: str) -> datetime | None:
    """Return the instant of the last successful connection of a user, aware and in UTC, or ``None``."""
    instant = _read(table, url).get(_of_user(username))
    return datetime.fromisoformat(str(instant)) if instant else None


def last_of_any(table: Table, url: str) -> Remembered | None:
    """Return the last successful connection of whichever user, or ``None``."""
    item = _read(table, url)
    if "last_success" not in item:
        return None
    titles = {name: item.get(name) for name in ("server", "data_set_id", "data_set")}
    return Remembered(datetime.fromisoformat(str(item["last_success"])), str(item["user"]), **titles)


def read_call_limit(table: Table, url: str) -> int | None:
    """Return how many values a call may hold at this DHIS2, or ``None`` where the setting alone decides."""
    limit = _read(table, url).get("values_in_a_call")
    return int(limit) if isinstance(limit, Decimal) and limit >= 1 else None


def remember_call_limit(table: Table, url: str, limit: int | None) -> None:
    """Remember how many values a call may hold at this DHIS2; ``None`` forgets it."""
    change_item(table, Change(_key(url)).set({"values_in_a_call": limit}))


def written_in(instant: datetime, time_zone: ZoneInfo) -> str:
    """Write an instant for people: ``2026-02-05 14:03 (Pacific/Auckland)``."""
    return f"{instant.astimezone(time_zone):%Y-%m-%d %H:%M} ({time_zone.key})"


def _read(table: Table, url: str) -> Mapping[str, Any]:
    return read_item(table, _key(url)) or {}


def _key(url: str) -> dict[str, str]:
    return {"id": f"connection#{url}"}


def _of_user(username: str) -> str:
    """Return the attribute of a user's own instant: a name may hold what no attribute's placeholder can."""
    return f"user_{hashlib.sha256(username.encode()).hexdigest()[:32]}"
