"""What is remembered of each DHIS2, a row of the stack's table for each address.

When it last let us in, for each user, what it calls itself and the data set, and how many values a call may hold there; never
a password. The rows have no expiry: the last successful connection is worth most where it lies long ago.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from msupply_dhis2.aws.dynamodb import Change, Table, change_item, read_item


def record_success(
    table: Table, url: str, username: str, instant: datetime, titles: Mapping[str, str | None] | None = None
) -> None:
    """Remember when (aware) DHIS2 answered this user; an older instant never replaces a newer one.

    ``titles``, the ``server``'s, ``data_set_id`` and ``data_set``, are what DHIS2 told; without them what is known stays.
    """
    # So that text order is time order: always UTC, always microseconds.
    written = instant.astimezone(UTC).isoformat(timespec="microseconds")
    of_user = _of_user(username)
    change = Change(_key(url)).set({of_user: written, "last_success": written, "user": username})
    # Another function may have been faster with a newer one, which stands.
    change_item(table, change.set(titles or {}).if_below(of_user, written))


def last_success(table: Table, url: str, username: str) -> datetime | None:
    """Return the instant of the last successful connection of a user, aware and in UTC, or ``None``."""
    instant = read_connection(table, url).get(_of_user(username))
    return datetime.fromisoformat(str(instant)) if instant else None


def read_call_limit(table: Table, url: str) -> int | None:
    """Return how many values a call may hold at this DHIS2, or ``None`` where the setting alone decides."""
    limit = read_connection(table, url).get("values_in_a_call")
    return int(limit) if isinstance(limit, Decimal) and limit >= 1 else None


def remember_call_limit(table: Table, url: str, limit: int | None) -> None:
    """Remember how many values a call may hold at this DHIS2; ``None`` forgets it."""
    change_item(table, Change(_key(url)).set({"values_in_a_call": limit}))


def written_in(instant: datetime, time_zone: ZoneInfo) -> str:
    """Write an instant for people: ``2026-02-05 14:03 (Pacific/Auckland)``."""
    return f"{instant.astimezone(time_zone):%Y-%m-%d %H:%M} ({time_zone.key})"


def read_connection(table: Table, url: str) -> Mapping[str, Any]:
    """Return what is remembered of a DHIS2: ``last_success`` of any ``user``, and its titles as they were told then."""
    return read_item(table, _key(url)) or {}


def _key(url: str) -> dict[str, str]:
    return {"id": f"connection#{url}"}


def _of_user(username: str) -> str:
    """Return the attribute of a user's own instant: a name may hold what no attribute's placeholder can."""
    return f"user_{hashlib.sha256(username.encode()).hexdigest()[:32]}"
