"""When an invocation first arrived.

A manual push without ``as_of`` is about the instant at which it was asked for. AWS repeats an asynchronous
invocation that failed, and a retry must ask for the same numbers: so the first arrival of each request id is
kept for the few days in which a retry can come.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.errors import DamagedRowError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

KEPT_FOR = timedelta(days=7)


def first_arrival(table: "Table", request_id: str, now: datetime) -> datetime:
    """Return the instant at which the invocation with this request id was first seen.

    Parameters
    ----------
    table
        Has the partition key ``id`` and the time-to-live attribute ``expires_at``.
    request_id
        The same for each retry of one invocation.
    now
        The clock, aware.

    Returns
    -------
    datetime
        ``now`` the first time, and that same instant ever after.
    """
    with aws_faults("noting when the invocation arrived", table.meta.client):
        item = table.update_item(
            Key={"id": f"invocation#{request_id}"},
            UpdateExpression=(
                "SET arrived = if_not_exists(arrived, :now), expires_at = if_not_exists(expires_at, :end)"
            ),
            ExpressionAttributeValues={":now": now.isoformat(), ":end": int((now + KEPT_FOR).timestamp())},
            ReturnValues="ALL_NEW",
        )["Attributes"]
    arrived = item["arrived"]
    if not isinstance(arrived, str):
        raise DamagedRowError(f"The table's row invocation#{request_id} is damaged. Delete it and try again.")
    return datetime.fromisoformat(arrived)
