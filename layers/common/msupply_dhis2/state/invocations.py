"""When an invocation first arrived.

A manual push without ``as_of`` is about the instant at which it was asked for. AWS repeats an asynchronous
invocation that failed, and a retry must ask for the same numbers: so the first arrival of each request id is
kept for the few days in which a retry can come.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msupply_dhis2.aws.dynamodb import Change, change_and_read
from msupply_dhis2.errors import DamagedRowError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

KEPT_FOR = timedelta(days=7)


def first_arrival(table: "Table", request_id: str, now: datetime) -> datetime:
    """Return when the invocation with this request id was first seen: ``now`` (aware) the first time, and that ever after."""
    change = Change({"id": f"invocation#{request_id}"})
    change.set_once({"arrived": now.isoformat(), "expires_at": int((now + KEPT_FOR).timestamp())})
    arrived = change_and_read(table, change, "noting when the invocation arrived")["arrived"]
    if not isinstance(arrived, str):
        raise DamagedRowError(f"The table's row invocation#{request_id} is damaged. Delete it and try again.")
    return datetime.fromisoformat(arrived)
