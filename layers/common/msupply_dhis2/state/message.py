"""How far a message of the queue is: which of its values have an outcome, and which are in DHIS2.

A slow server, or one that goes away halfway, leaves a part of a batch to the next delivery of the same message. What
is settled is neither sent nor counted again; also after the last delivery, because a queue may deliver a message once
more than it should. Compute reads it as the receipt by which it knows what DHIS2 has acknowledged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

DEAD_LETTER = "dead letter"
"""The kind of a message's row while it is one; ``started_at`` says since when, as the table's index wants it."""


@dataclass(frozen=True, slots=True)
class DeadLetterReason:
    """Why a message is a dead letter: a sentence for people, the name of the error, and since when (aware).

    ``is_expired``: the queue of dead letters no longer has the message.
    """

    reason: str
    status: str
    at: datetime
    is_expired: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """What is known of a message after its deliveries so far.

    Attributes
    ----------
    settled, applied
        The indexes of the values that have an outcome, and of those among them that are in DHIS2 as they were sent, or gone
        from it where they were to be deleted.
    began, ended
        When the first delivery began, and when the last one that was noted ended; aware. ``None`` where nothing is noted.
    version
        Counts what was noted.
    files, failures, broke_off
        How many deliveries left a file of values that DHIS2 refused, failed on the message's own account, or broke off.
    is_stopped
        Somebody has stopped its run: what is left of it is not sent.
    """

    settled: frozenset[int] = frozenset()
    applied: frozenset[int] = frozenset()
    began: datetime | None = None
    ended: datetime | None = None
    version: int = 0
    files: int = 0
    failures: int = 0
    broke_off: int = 0
    dead_letter: DeadLetterReason | None = None
    is_stopped: bool = False

    @property
    def counter(self) -> str:
        """Among which values of the run those that have no outcome yet are counted."""
        if self.dead_letter is None:
            return "waiting"
        return "expired" if self.dead_letter.is_expired else "dead"

    def after(
        self, settled: frozenset[int], applied: frozenset[int], *, began: datetime, ended: datetime
    ) -> Self:
        """Add a delivery."""
        return replace(
            self,
            settled=self.settled | settled,
            applied=self.applied | applied,
            began=min(began, self.began or began),
            ended=max(ended, self.ended or ended),
            version=self.version + 1,
        )


def delivery_state_of(item: Mapping[str, Any]) -> DeliveryState | None:
    """Read a row of the table; ``None`` where it is damaged."""
    try:
        dead_letter = None
        if item.get("kind") == DEAD_LETTER:
            since = datetime.fromisoformat(str(item["started_at"]))
            is_expired = bool(item.get("expired", False))
            dead_letter = DeadLetterReason(str(item["reason"]), str(item["status"]), since, is_expired)
            if not (dead_letter.reason and dead_letter.status and since.tzinfo):
                return None
        return DeliveryState(
            _indexes(item.get("settled", b"")),
            _indexes(item.get("applied", b"")),
            _instant(item.get("began")),
            _instant(item.get("ended")),
            int(item.get("version", 0)),
            int(item.get("files", 0)),
            int(item.get("failures", 0)),
            int(item.get("broke_off", 0)),
            dead_letter,
        )
    except (KeyError, ValueError, TypeError, ArithmeticError, OSError):
        # What is no number, or no instant that there is.
        return None


def bitmap(indexes: frozenset[int]) -> bytes:
    """Write indexes, as a bit each."""
    content = bytearray(max(indexes, default=-1) // 8 + 1)
    for index in indexes:
        content[index // 8] |= 1 << index % 8
    return bytes(content)


def milliseconds(instant: datetime) -> int:
    """Write an instant: the table knows no floats, and milliseconds are enough."""
    return round(instant.timestamp() * 1000)


def _indexes(content: object) -> frozenset[int]:
    # boto3 gives its own class for binary values, which holds the bytes.
    content = getattr(content, "value", content)
    if not isinstance(content, bytes):
        raise TypeError("the indexes are no bytes")
    return frozenset(
        8 * position + bit for position, byte in enumerate(content) for bit in range(8) if byte >> bit & 1
    )


def _instant(milliseconds: Any) -> datetime | None:  # noqa: ANN401 - whatever the table holds
    return None if milliseconds is None else datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
