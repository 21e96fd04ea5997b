"""What is remembered of an outage of DHIS2, so that the queue is paused rather than its messages used up.

One row of the stack's DynamoDB table, from the first time that DHIS2 is down until it answers again.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msupply_dhis2.configuration import aws_faults
from msupply_dhis2.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

ENOUGH_FAILURES = 3
"""So many in a row, of any messages, are an outage: one or two may be a restart that is over in a minute."""

_OUTAGE = {"id": "outage"}


@dataclass(frozen=True, slots=True)
class Outage:
    """DHIS2 has been down.

    Attributes
    ----------
    failures
        How often in a row.
    since
        Since when; aware, UTC.
    said
        The sentence that tells of it.
    """

    failures: int
    since: datetime
    said: str

    @property
    def pauses(self) -> bool:
        """Whether it is enough to pause the queue."""
        return self.failures >= ENOUGH_FAILURES


def read_outage(table: "Table") -> Outage | None:
    """Give the outage that is going on, or ``None``. One consistent read.

    Raises
    ------
    ConfigurationError
        The table cannot be read.
    """
    with aws_faults("reading whether DHIS2 is down", table.meta.client):
        item = table.get_item(Key=_OUTAGE, ConsistentRead=True).get("Item")
    return None if item is None else _outage(item)


def pausing_outage(table: "Table") -> Outage | None:
    """Give the outage on whose account the queue is paused, or ``None``; as ``read_outage``."""
    outage = read_outage(table)
    return outage if outage is not None and outage.pauses else None


def note_outage(table: "Table", said: str, now: datetime) -> Outage:
    """Note that DHIS2 was down once more, and give what is noted.

    Raises
    ------
    ConfigurationError
        The table refused.
    """
    with aws_faults("noting that DHIS2 is down", table.meta.client):
        item = table.update_item(
            Key=_OUTAGE,
            UpdateExpression="SET since = if_not_exists(since, :now), said = :said ADD failures :one",
            ExpressionAttributeValues={":now": now.astimezone(UTC).isoformat(), ":said": said, ":one": 1},
            ReturnValues="ALL_NEW",
        )["Attributes"]
    return _outage(item)


def forget_outage(table: "Table") -> None:
    """Forget an outage: DHIS2 has answered.

    Raises
    ------
    ConfigurationError
        The table refused.
    """
    with aws_faults("forgetting that DHIS2 was down", table.meta.client):
        table.delete_item(Key=_OUTAGE)


def _outage(item: Any) -> Outage:  # noqa: ANN401 - as boto3 gives it
    try:
        return Outage(int(item["failures"]), datetime.fromisoformat(str(item["since"])), str(item["said"]))
    except (KeyError, ValueError) as error:
        raise ConfigurationError(
            f"The table's row {_OUTAGE['id']} is damaged. Delete it and test the connection."
        ) from error
