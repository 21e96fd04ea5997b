"""A dead letter: a message as it was, and why it died."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.text import count

BROKE_OFF = (
    "Push broke off each time it was given this message (it ran out of time or memory), and could not say why. Look at "
    "the log of push for REPORT lines with this run's id before them; a smaller No. of items per payload may help."
)
"""Of a message that the queue itself moved, since push never came to its end with it."""

NOT_UNDERSTOOD = "It was delivered to another version of msupply-dhis2, which did not understand it. This one does: send it again."
"""Of a message that was buried as unreadable, and is not."""

UNREADABLE = "unreadable"
"""In place of the run's id, of a message that is no batch."""

FOLDER = "dead-letters/"


def place_of(run_id: str, batch_id: str, attempt_id: str) -> str:
    """Return the place of a dead letter in the bucket."""
    return f"{FOLDER}{run_id}/{batch_id}-{attempt_id}.json"


class DeadLetter(BaseModel):
    """A message among the dead letters.

    Attributes
    ----------
    body, sending
        The message, and which time that the batch was put on the queue.
    run_id, batch_id
        What it belongs to; of a message that is no batch ``unreadable`` and a hash of its body.
    values
        How many of its values had no fate.
    reason, status
        Why it died: a sentence for people, and the kind of fault.
    died_at
        When; aware.
    """

    model_config = ConfigDict(frozen=True)

    body: str
    attempt_id: str
    run_id: str
    batch_id: str
    values: int
    reason: str
    status: str
    died_at: datetime

    @property
    def key(self) -> str:
        """Its place in the bucket; the same message has but one."""
        return place_of(self.run_id, self.batch_id, self.attempt_id)

    @property
    def can_be_sent(self) -> bool:
        """Whether sending it again can help: what is no batch never will be."""
        return self.run_id != UNREADABLE

    def is_meant(self, run: str | None, reason: str | None) -> bool:
        """Return whether it belongs to a run, and has some words in its reason or status; ``None`` is any."""
        said = f"{self.status} {self.reason}".casefold()
        return (run is None or run == self.run_id) and (reason is None or reason.casefold() in said)


class Listed(BaseModel):
    """Dead letters of one run that died of the same."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    status: str
    reason: str
    messages: int
    values: int
    first_died_at: datetime

    @property
    def can_be_sent(self) -> bool:
        """Whether sending them again can help."""
        return self.run_id != UNREADABLE

    def sentence(self) -> str:
        """Say it in a line."""
        return (
            f"{self.run_id}: {count(self.messages, 'message')} with {count(self.values, 'value')}, since "
            f"{self.first_died_at:%Y-%m-%d %H:%M} (UTC). {self.status}: {self.reason}"
        )


def listed(letters: Iterable[DeadLetter]) -> tuple[Listed, ...]:
    """Group dead letters by run and reason, those with the most values first."""
    held: dict[tuple[str, str, str], list[DeadLetter]] = {}
    for letter in letters:
        held.setdefault((letter.run_id, letter.status, letter.reason), []).append(letter)
    values: Counter[tuple[str, str, str]] = Counter(
        {group: sum(letter.values for letter in of_group) for group, of_group in held.items()}
    )
    return tuple(
        Listed(
            run_id=group[0],
            status=group[1],
            reason=group[2],
            messages=len(held[group]),
            values=number,
            first_died_at=min(letter.died_at for letter in held[group]),
        )
        for group, number in values.most_common()
    )
