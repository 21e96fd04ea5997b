"""How far a message of the queue is: which of its values have an outcome, and which are in DHIS2.

A slow server, or one that goes away halfway, leaves a part of a batch to the next delivery of the same message. What
is settled is neither sent nor counted again; also after the last delivery, because a queue may deliver a message once
more than it should. Compute reads it as the receipt by which it knows what DHIS2 has acknowledged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

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

    ``settled`` are the indexes of the values that have an outcome, ``applied`` those among them that are in DHIS2 as they were
    sent, or gone from it where they were to be deleted. The first delivery ``began`` and the last one that was noted
    ``ended`` at these epoch seconds. ``version`` counts what was noted; ``files``, ``failures`` and ``broke_off`` the
    deliveries that left a file of values that DHIS2 refused, failed on the message's own account, or broke off. Of a run that
    somebody ``is_stopped`` the rest is not sent.
    """

    settled: frozenset[int] = frozenset()
    applied: frozenset[int] = frozenset()
    began: float = 0.0
    ended: float = 0.0
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

    def written(self) -> dict[str, object]:
        """Write it as the table holds it; ``None`` is not there."""
        dead = self.dead_letter
        return {
            "settled": _bitmap(self.settled),
            "applied": _bitmap(self.applied),
            # The table knows no floats, and milliseconds are enough.
            "began": round(self.began * 1000),
            "ended": round(self.ended * 1000),
            "version": self.version,
            "files": self.files,
            "failures": self.failures,
            "broke_off": self.broke_off,
            "kind": dead and DEAD_LETTER,
            "started_at": dead and dead.at.astimezone(UTC).isoformat(),
            "reason": dead and dead.reason,
            "status": dead and dead.status,
            "expired": dead and dead.is_expired,
        }


def delivery_state_of(item: Mapping[str, Any]) -> DeliveryState | None:
    """Read a row of the table; ``None`` where it is damaged."""
    try:
        return DeliveryState(
            _indexes(item.get("settled", b"")),
            _indexes(item.get("applied", b"")),
            int(item.get("began", 0)) / 1000,
            int(item.get("ended", 0)) / 1000,
            int(item.get("version", 0)),
            int(item.get("files", 0)),
            int(item.get("failures", 0)),
            int(item.get("broke_off", 0)),
            _dead_letter_of(item) if item.get("kind") == DEAD_LETTER else None,
        )
    except (KeyError, ValueError, TypeError, ArithmeticError):
        return None


def _dead_letter_of(item: Mapping[str, Any]) -> DeadLetterReason:
    reason, status, since = item["reason"], item["status"], datetime.fromisoformat(item["started_at"])
    if not (isinstance(reason, str) and reason and isinstance(status, str) and status and since.tzinfo):
        raise ValueError("it tells no reason, status or instant")
    return DeadLetterReason(reason, status, since, bool(item.get("expired", False)))


def _bitmap(indexes: frozenset[int]) -> bytes:
    bits = sum(1 << index for index in indexes)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _indexes(content: object) -> frozenset[int]:
    # boto3 gives its own class for binary values, which holds the bytes.
    content = getattr(content, "value", content)
    if not isinstance(content, bytes):
        raise TypeError("the indexes are no bytes")
    return frozenset(
        8 * position + bit for position, byte in enumerate(content) for bit in range(8) if byte >> bit & 1
    )
