"""What is remembered of each DHIS2 in the stack's DynamoDB table.

When it last let us in, for each address and user, and how many values a call may hold there. The items hold an
address, a user name, an instant, a number, never a password. They have no expiry: the last successful connection
is worth most where it lies long ago.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from msupply_dhis2.aws.dynamodb import Change, change_item, read_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table


def record_success(table: "Table", url: str, username: str, instant: datetime) -> None:
    """Remember when (aware) DHIS2 answered this user; an older instant never replaces a newer one."""
    # So that text order is time order: always UTC, always microseconds.
    written = instant.astimezone(UTC).isoformat(timespec="microseconds")
    change = Change(_key(url, username)).set({"last_success": written})
    # Another function may have been faster with a newer one, which stands.
    change_item(table, change.if_below("last_success", written), "noting the last successful connection")


def last_success(table: "Table", url: str, username: str) -> datetime | None:
    """Return the instant of the last successful connection, aware and in UTC, or ``None``."""
    item = read_item(table, _key(url, username), "reading the last successful connection")
    return datetime.fromisoformat(str(item["last_success"])) if item else None


def read_call_limit(table: "Table", url: str) -> int | None:
    """Return how many values a call may hold at this DHIS2, or ``None`` where the setting alone decides."""
    item = read_item(table, {"id": f"batch-size#{url}"}, "reading how many values DHIS2 takes in a call")
    limit = (item or {}).get("values_in_a_call")
    return int(limit) if isinstance(limit, Decimal) and limit >= 1 else None


def remember_call_limit(table: "Table", url: str, limit: int | None) -> None:
    """Remember how many values a call may hold at this DHIS2; ``None`` forgets it."""
    change = Change({"id": f"batch-size#{url}"})
    change = change.delete() if limit is None else change.set({"values_in_a_call": limit})
    change_item(table, change, "noting how many values DHIS2 takes in a call")


def written_in(instant: datetime, time_zone: ZoneInfo) -> str:
    """Write an instant for people: ``2026-02-05 14:03 (Pacific/Auckland)``."""
    return f"{instant.astimezone(time_zone):%Y-%m-%d %H:%M} ({time_zone.key})"


def _key(url: str, username: str) -> dict[str, str]:
    return {"id": f"connection#{url}#{username}"}
