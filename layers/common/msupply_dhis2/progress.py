"""Which values of a batch have a fate already, where a batch takes more than one delivery.

A slow server, or one that goes away halfway, leaves a part of a batch to the next delivery of the same message. What
is settled is kept in the stack's DynamoDB table, so that it is neither sent nor counted again; also after the last
delivery, because a queue may deliver a message once more than it should.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msupply_dhis2.configuration import aws_faults
from msupply_dhis2.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

KEPT_FOR = timedelta(days=15)
"""Longer than a message lives: 14 days, counted from its first day, in the dead-letter queue."""


def read_settled(table: "Table", batch_id: str, sending: str) -> frozenset[int]:
    """Give the places of the values of a batch that have a fate; empty where nothing is noted.

    Parameters
    ----------
    table
        Has the partition key ``id`` and the time-to-live attribute ``expires_at``.
    batch_id, sending
        Which batch, and which time that it was put on the queue: the same run computed again makes the same
        batch, which is then to be sent anew.

    Raises
    ------
    ConfigurationError
        The table cannot be read.
    """
    with aws_faults("reading how far a batch was sent", table.meta.client):
        item = table.get_item(Key=_key(batch_id, sending), ConsistentRead=True).get("Item")
    if item is None:
        return frozenset()
    bitmap = item.get("settled")
    # boto3 gives its own class for binary values, which holds the bytes.
    content = getattr(bitmap, "value", bitmap)
    if not isinstance(content, bytes):
        raise ConfigurationError(
            f"The table's row {_key(batch_id, sending)['id']} is damaged. Delete it: the batch is sent from its beginning."
        )
    return frozenset(
        8 * position + bit for position, byte in enumerate(content) for bit in range(8) if byte >> bit & 1
    )


def note_settled(table: "Table", batch_id: str, sending: str, settled: Iterable[int], now: datetime) -> None:
    """Note which values of a batch have a fate, in place of what was noted before.

    Parameters
    ----------
    settled
        Places of the values in the batch, from 0.
    now
        The clock, aware.

    Raises
    ------
    ConfigurationError
        The table refused.
    """
    places = frozenset(settled)
    bitmap = bytearray(max(places, default=-1) // 8 + 1)
    for place in places:
        bitmap[place // 8] |= 1 << place % 8
    with aws_faults("noting how far a batch was sent", table.meta.client):
        table.update_item(
            Key=_key(batch_id, sending),
            UpdateExpression="SET settled = :settled, expires_at = :end",
            ExpressionAttributeValues={
                ":settled": bytes(bitmap),
                ":end": int((now + KEPT_FOR).timestamp()),
            },
        )


def _key(batch_id: str, sending: str) -> dict[str, str]:
    return {"id": f"batch#{batch_id}#{sending}"}
