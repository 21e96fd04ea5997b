"""How far a message of the queue is: which of its values have an outcome, and which are in DHIS2.

A slow server, or one that goes away halfway, leaves a part of a batch to the next delivery of the same message. What
is settled is neither sent nor counted again. Compute reads it as the receipt of what DHIS2 has acknowledged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, PlainSerializer

from msupply_dhis2.aws.dynamodb import reader_of, row_of

DEAD_LETTER = "dead letter"
"""The kind of a message's row while it is one; ``started_at`` says since when, as the table's index wants it."""


def utc(instant: datetime) -> str:
    """Write an aware instant so that the order of texts is that of instants."""
    return instant.astimezone(UTC).isoformat()


def _bitmap(indexes: frozenset[int]) -> bytes:
    bits = sum(1 << index for index in indexes)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _indexes(content: object) -> frozenset[int]:
    # boto3 gives its own class for binary values, which holds the bytes.
    content = getattr(content, "value", content)
    if not isinstance(content, bytes):
        raise ValueError("the indexes are no bytes")  # noqa: TRY004 - as pydantic wants it
    return frozenset(
        8 * position + bit for position, byte in enumerate(content) for bit in range(8) if byte >> bit & 1
    )


type _Indexes = Annotated[frozenset[int], BeforeValidator(_indexes), PlainSerializer(_bitmap)]


@dataclass(frozen=True, slots=True)
class DeadLetterReason:
    """Why a message is a dead letter: a sentence for people, the name of the error, and since when (aware).

    ``is_expired``: the queue of dead letters no longer has the message.
    """

    reason: str
    status: str
    at: Annotated[AwareDatetime, PlainSerializer(utc)]
    is_expired: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """What is known of a message after its deliveries so far. The methods of events return it as it is afterwards.

    ``settled`` are the indexes of the values that have an outcome, ``applied`` those among them that are in DHIS2 as they were
    sent, or gone from it where they were to be deleted. The first delivery ``began`` and the last one that was noted
    ``ended`` at these epoch seconds. ``version`` counts what was noted; ``files``, ``failures`` and ``broke_off`` the
    deliveries that left a file of values that DHIS2 refused, failed on the message's own account, or broke off. Of a run that
    somebody ``is_stopped`` the rest is not sent, which the row of the run tells.
    """

    settled: _Indexes = frozenset()
    applied: _Indexes = frozenset()
    began: int = 0
    ended: int = 0
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

    def dead(self, reason: DeadLetterReason) -> "DeliveryState":
        """Note that it is a dead letter, and why, unless that was noted before."""
        return self if self.counter == "dead" else replace(self, dead_letter=reason)

    def requeued(self) -> "DeliveryState":
        """Note that a dead letter is on the queue again."""
        alive = replace(self, dead_letter=None, failures=0, broke_off=0)
        return self if self.dead_letter is None else alive

    def expired(self) -> "DeliveryState":
        """Note that the queue of dead letters no longer has it."""
        dead = self.dead_letter
        return self if dead is None else replace(self, dead_letter=replace(dead, is_expired=True))

    def written(self) -> dict[str, Any]:
        """Write it as the table holds it; ``None`` is not there."""
        dead = self.dead_letter
        of_index = {"kind": dead and DEAD_LETTER, "started_at": dead and utc(dead.at)}
        return {**reader_of(DeliveryState).dump_python(self, exclude={"is_stopped"}), **of_index}


def delivery_state_of(item: Mapping[str, Any]) -> DeliveryState | None:
    """Read a row of the table; ``None`` where it is damaged."""
    state, is_dead = row_of(DeliveryState, item), item.get("kind") == DEAD_LETTER
    return state if state is not None and is_dead is (state.dead_letter is not None) else None
