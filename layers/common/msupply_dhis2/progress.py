"""What became of each batch so far: which of its values have a fate, and which are in DHIS2.

A slow server, or one that goes away halfway, leaves a part of a batch to the next delivery of the same message. What
is settled is kept in the stack's DynamoDB table, so that it is neither sent nor counted again; also after the last
delivery, because a queue may deliver a message once more than it should. Compute reads it as the receipt by which it
knows what DHIS2 has acknowledged.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any, Self

from msupply_dhis2.configuration import aws_faults
from msupply_dhis2.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

KEPT_FOR = timedelta(days=15)
"""Longer than a message lives: 14 days, counted from its first day, in the dead-letter queue."""

KEYS_IN_ONE_CALL = 100
"""What DynamoDB's BatchGetItem takes."""

_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a batch after its deliveries so far.

    Attributes
    ----------
    settled
        The places of the values that have a fate.
    landed
        Those among them that are in DHIS2 as they were sent, or gone from it where they were to be deleted.
    began, ended
        When the first delivery began, and when the last one that was noted ended; aware. ``None`` where nothing is noted.
    """

    settled: frozenset[int] = frozenset()
    landed: frozenset[int] = frozenset()
    began: datetime | None = None
    ended: datetime | None = None

    def after(
        self, settled: frozenset[int], landed: frozenset[int], *, began: datetime, ended: datetime
    ) -> Self:
        """Add a delivery."""
        return type(self)(
            self.settled | settled,
            self.landed | landed,
            min(began, self.began or began),
            max(ended, self.ended or ended),
        )


def read_progress(table: "Table", batch_id: str, sending: str) -> Progress:
    """Tell how far a batch is; nothing is settled where nothing is noted.

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
        return Progress()
    progress = _progress(item)
    if progress is None:
        raise ConfigurationError(
            f"The table's row {_key(batch_id, sending)['id']} is damaged. Delete it: the batch is sent from its beginning."
        )
    return progress


def read_receipts(table: "Table", batches: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Progress]:
    """Read what became of batches, each given by its id and its sending; those of which nothing can be read lack.

    Raises
    ------
    ConfigurationError
        The table cannot be read.
    """
    keys = {_key(*batch)["id"]: batch for batch in batches}
    receipts: dict[tuple[str, str], Progress] = {}
    for item in read_items(table, [{"id": key} for key in keys], "reading what DHIS2 has acknowledged"):
        progress = _progress(item)
        if progress is not None:
            receipts[keys[str(item["id"])]] = progress
    return receipts


def read_items(table: "Table", keys: Iterable[Mapping[str, Any]], doing: str) -> Iterator[Mapping[str, Any]]:
    """Read items by their keys, consistently, as many as there are of them.

    Raises
    ------
    ConfigurationError
        The table cannot be read.
    """
    client = table.meta.client
    for part in batched(keys, KEYS_IN_ONE_CALL, strict=False):
        asked: Any = {table.name: {"Keys": list(part), "ConsistentRead": True}}
        for _ in range(_ATTEMPTS):
            with aws_faults(doing, client):
                answer = client.batch_get_item(RequestItems=asked)
            yield from answer["Responses"].get(table.name, ())
            # An answer holds 16 MB at most.
            asked = answer.get("UnprocessedKeys")
            if not asked:
                break
        else:
            raise ConfigurationError(
                f"DynamoDB did not give all that was asked for, while {doing}. Try again later."
            )


def note_progress(
    table: "Table", batch_id: str, sending: str, progress: Progress, keep_until: datetime
) -> None:
    """Note how far a batch is, in place of what was noted before.

    Parameters
    ----------
    keep_until
        When it may be forgotten; aware.

    Raises
    ------
    ConfigurationError
        The table refused.
    """
    values: dict[str, Any] = {
        ":settled": _bitmap(progress.settled),
        ":landed": _bitmap(progress.landed),
        ":end": int(keep_until.timestamp()),
    }
    update = "SET settled = :settled, landed = :landed, expires_at = :end"
    if progress.began is not None and progress.ended is not None:
        # The table knows no floats; milliseconds are enough.
        update += ", began = :began, ended = :ended"
        values |= {":began": _milliseconds(progress.began), ":ended": _milliseconds(progress.ended)}
    with aws_faults("noting how far a batch was sent", table.meta.client):
        table.update_item(
            Key=_key(batch_id, sending), UpdateExpression=update, ExpressionAttributeValues=values
        )


def _progress(item: Mapping[str, Any]) -> Progress | None:
    """Read an item; ``None`` where it is damaged."""
    settled, landed = _places(item.get("settled")), _places(item.get("landed", b""))
    if settled is None or landed is None:
        return None
    return Progress(settled, landed, _instant(item.get("began")), _instant(item.get("ended")))


def _bitmap(places: frozenset[int]) -> bytes:
    bitmap = bytearray(max(places, default=-1) // 8 + 1)
    for place in places:
        bitmap[place // 8] |= 1 << place % 8
    return bytes(bitmap)


def _places(bitmap: object) -> frozenset[int] | None:
    # boto3 gives its own class for binary values, which holds the bytes.
    content = getattr(bitmap, "value", bitmap)
    if not isinstance(content, bytes):
        return None
    return frozenset(
        8 * position + bit for position, byte in enumerate(content) for bit in range(8) if byte >> bit & 1
    )


def _milliseconds(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def _instant(milliseconds: Any) -> datetime | None:  # noqa: ANN401 - whatever the table holds
    return None if milliseconds is None else datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _key(batch_id: str, sending: str) -> dict[str, str]:
    return {"id": f"batch#{batch_id}#{sending}"}
