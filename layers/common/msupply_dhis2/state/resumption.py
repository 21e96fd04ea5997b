"""What is remembered of a queue that is to be resumed, while nothing else is remembered for which it is paused.

One row of the stack's DynamoDB table, from before Lambda is asked until it has done it: whoever asked may not live to see
that, because Lambda refuses a change for as long as it is at the last one. Without the row the queue would pass for one that
somebody has paused by hand, and nobody would resume it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msupply_dhis2.aws.dynamodb import Change, change_item, read_item
from msupply_dhis2.errors import DamagedRowError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

_RESUMPTION = {"id": "queue-to-be-resumed"}


@dataclass(frozen=True, slots=True)
class Resumption:
    """The queue is to be resumed.

    Attributes
    ----------
    since
        Since when nothing is in the way of it; aware, UTC.
    """

    since: datetime


def read_resumption(table: "Table") -> Resumption | None:
    """Return the resumption of the queue that is to come, or ``None``. One consistent read.

    Raises
    ------
    AwsError
        The table cannot be read.
    """
    item = read_item(table, _RESUMPTION, "reading whether the queue is to be resumed")
    if item is None:
        return None
    try:
        return Resumption(datetime.fromisoformat(str(item["since"])))
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedRowError(
            f"The table's row {_RESUMPTION['id']} is damaged. Delete it, and enable push's trigger in Lambda if it is "
            "disabled."
        ) from error


def note_resumption(table: "Table", now: datetime) -> None:
    """Note that the queue is to be resumed; once more does no harm.

    Raises
    ------
    AwsError
        The table refused.
    """
    change = Change(_RESUMPTION).set_once({"since": now.astimezone(UTC).isoformat()})
    change_item(table, change, "noting that the queue is to be resumed")


def forget_resumption(table: "Table") -> None:
    """Forget that the queue is to be resumed: it is, or it is paused anew.

    Raises
    ------
    AwsError
        The table refused.
    """
    change_item(table, Change(_RESUMPTION).delete(), "forgetting that the queue is to be resumed")
