"""What is remembered of an outage of DHIS2, so that the queue is paused rather than its messages used up.

One row of the stack's DynamoDB table, from the first time that DHIS2 is down until it answers again.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msupply_dhis2.aws.dynamodb import Change, change_and_read, change_item, read_item
from msupply_dhis2.errors import DamagedRowError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

ENOUGH_FAILURES = 3
"""So many in a row, of any messages, are an outage: one or two may be a restart that is over in a minute."""

FIRST_WAIT = timedelta(minutes=15)
LONGEST_WAIT = timedelta(hours=6)
"""Between one resuming in vain and the next the time doubles. Each costs messages a delivery, of which they have 28, and
three days must not use them up."""

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
    trials
        How often the queue was resumed because DHIS2 let us in, and no values have been taken since.
    tried_at
        When it was resumed so the last time; aware, UTC.
    is_on_trial
        Whether nothing is known yet of that trial: the next failure pauses the queue again.
    """

    failures: int
    since: datetime
    said: str
    trials: int = 0
    tried_at: datetime | None = None
    is_on_trial: bool = False

    @property
    def pauses(self) -> bool:
        """Whether it is enough to pause the queue."""
        return self.failures >= ENOUGH_FAILURES and not self.is_on_trial

    @property
    def next_trial(self) -> datetime | None:
        """When the queue may be resumed by itself; ``None``: at once."""
        if self.tried_at is None:
            return None
        # Bounded first: doubled many times it is more than a time can be.
        return self.tried_at + min(LONGEST_WAIT, FIRST_WAIT * (1 << min(self.trials - 1, 10)))


def read_outage(table: "Table") -> Outage | None:
    """Return the outage that is going on, or ``None``. One consistent read.

    Raises
    ------
    AwsError
        The table cannot be read.
    """
    item = read_item(table, _OUTAGE, "reading whether DHIS2 is down")
    return None if item is None else _outage(item)


def pausing_outage(table: "Table") -> Outage | None:
    """Return the outage on whose account the queue is paused, or ``None``; as ``read_outage``."""
    outage = read_outage(table)
    return outage if outage is not None and outage.pauses else None


def note_outage(table: "Table", said: str, now: datetime) -> Outage:
    """Note that DHIS2 was down once more, and give what is noted.

    Raises
    ------
    AwsError
        The table refused.
    """
    change = Change(_OUTAGE).set_once({"since": now.astimezone(UTC).isoformat()}).set({"said": said})
    change.remove("is_on_trial").add({"failures": 1})
    return _outage(change_and_read(table, change, "noting that DHIS2 is down"))


def begin_trial(table: "Table", outage: Outage, now: datetime) -> None:
    """Note that the queue is resumed because DHIS2 lets us in again; not where it has failed once more meanwhile.

    Raises
    ------
    AwsError
        The table refused.
    """
    change = Change(_OUTAGE).set({"tried_at": now.astimezone(UTC).isoformat(), "is_on_trial": True})
    change.add({"trials": 1}).if_equal("failures", outage.failures)
    change_item(table, change, "noting that the queue is resumed")


def forget_outage(table: "Table", outage: Outage) -> None:
    """Forget an outage, because DHIS2 has answered; not where it has failed once more meanwhile.

    Raises
    ------
    AwsError
        The table refused.
    """
    change = Change(_OUTAGE).delete().if_equal("failures", outage.failures)
    change_item(table, change, "forgetting that DHIS2 was down")


def _outage(item: Any) -> Outage:  # noqa: ANN401 - as boto3 gives it
    try:
        tried_at = item.get("tried_at")
        return Outage(
            int(item["failures"]),
            datetime.fromisoformat(str(item["since"])),
            str(item["said"]),
            int(item.get("trials", 0)),
            None if tried_at is None else datetime.fromisoformat(str(tried_at)),
            bool(item.get("is_on_trial", False)),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedRowError(
            f"The table's row {_OUTAGE['id']} is damaged. Delete it and test the connection."
        ) from error
