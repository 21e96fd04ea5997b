"""What push can be asked about dead letters, and its answer."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from msupply_dhis2.domain.event_fields import Event, Words, parse_event
from msupply_dhis2.domain.reading import OneOf
from msupply_dhis2.errors import DamagedRowError
from msupply_dhis2.state.dead_letters import KEPT_FOR, UNREADABLE, DeadLetter, DeadLetters
from msupply_dhis2.state.message import DeadLetterReason
from msupply_dhis2.state.run import how_to_compute_again
from msupply_dhis2.state.runs import Runs
from msupply_dhis2.text import count, listed

EXPIRED_LISTED_FOR = timedelta(days=30)
"""After the queue no longer has them."""

_EXAMPLES = '{"dead_letters": "list"} or {"dead_letters": "redrive"}, with "run": "RUN-ID" or "reason": "WORDS" to choose some'


class DeadLetterOrder(StrEnum):
    """What is to be done about dead letters."""

    LIST = "list"
    REDRIVE = "redrive"


class DeadLetterEvent(Event):
    """What push can be asked: to list dead letters or to send them again, all or those of a run or with some words."""

    dead_letters: Annotated[DeadLetterOrder, BeforeValidator(OneOf(DeadLetterOrder))]
    run: Words | None = None
    reason: Words | None = None

    def chooses(self, run_id: str, reason: DeadLetterReason) -> bool:
        """Return whether dead letters of a run, with a reason, are meant."""
        words = f"{reason.status} {reason.reason}".casefold()
        return self.run in {None, run_id} and (self.reason or "").casefold() in words

    def __str__(self) -> str:
        of_run = f" of the run {self.run}" if self.run else ""
        return f'{of_run} with "{self.reason}" in their reason' if self.reason else of_run


class DeadLetterGroup(BaseModel):
    """Dead letters of one run with the same reason.

    ``compute_again``: of those that are expired, how their values are computed again.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    status: str
    reason: str
    messages: int
    values: int
    since: datetime
    compute_again: str | None = None

    def __str__(self) -> str:
        until, again = f", kept until {self.since + KEPT_FOR:%Y-%m-%d}", ""
        if self.compute_again is not None:
            until, again = ", expired", f" The queue no longer has them. {self.compute_again}"
        return (
            f"{self.run_id}: {count(self.messages, 'message')} with {count(self.values, 'value')}, since "
            f"{self.since:%Y-%m-%d %H:%M} (UTC){until}. {self.status}: {self.reason}{again}"
        )


class DeadLetterAnswer(BaseModel):
    """A text, what is listed or was sent again, and whether that was all: if not, the same event is to be sent again."""

    model_config = ConfigDict(frozen=True)

    message: str
    letters: tuple[DeadLetterGroup, ...] = ()
    is_all: bool = True


def answer_about_dead_letters(
    event: object, dead_letters: DeadLetters, runs: Runs, now: datetime
) -> DeadLetterAnswer:
    """List dead letters, or send them again, as a person asks."""
    asked = parse_event(DeadLetterEvent, event, _EXAMPLES)
    answer = _list if asked.dead_letters is DeadLetterOrder.LIST else _redrive
    return answer(asked, dead_letters, runs, now)


def _list(event: DeadLetterEvent, dead_letters: DeadLetters, runs: Runs, now: datetime) -> DeadLetterAnswer:
    letters, faults = dead_letters.listed(now - KEPT_FOR - EXPIRED_LISTED_FOR)
    groups = grouped((letter for letter in letters if event.chooses(letter.run_id, letter.reason)), runs)
    lines = [f"There are no dead letters{event}."]
    if groups:
        messages, values = (sum(getattr(group, name) for group in groups) for name in ("messages", "values"))
        lines = [f"{count(messages, 'dead letter')} with {count(values, 'value')}{event}:"]
        lines += [f"- {group}" for group in groups]
    kept = [group for group in groups if group.compute_again is None]
    if any(group.run_id != UNREADABLE for group in kept):
        lines.append(
            'Fix the causes, then send them again: invoke push with {"dead_letters": "redrive"} (make redrive).'
        )
    if any(group.run_id == UNREADABLE for group in kept):
        lines.append(_about_unreadable(dead_letters))
    in_queue, in_table = dead_letters.depth(), sum(not letter.reason.is_expired for letter in letters)
    if in_queue != in_table:
        lines.append(
            f"The queue {dead_letters.name} holds {count(in_queue, 'message')}, and the table of runs has "
            f"{in_table:,}. SQS itself moves messages there when push breaks off each time, and people may send or "
            "delete some in the console. The watchdog compares them once a day, or at once: make watchdog"
        )
    if faults:
        lines.append(listed(faults, by="\n"))
    return DeadLetterAnswer(message="\n".join(lines), letters=groups)


def _redrive(
    event: DeadLetterEvent, dead_letters: DeadLetters, runs: Runs, now: datetime
) -> DeadLetterAnswer:
    walk = dead_letters.walk(now, event.chooses)
    groups = grouped(walk.sent, runs)
    lines = [f"There are no dead letters{event} that could be sent again."]
    if walk.sent:
        values = count(sum(letter.values for letter in walk.sent), "value")
        sent = count(len(walk.sent), "dead letter")
        lines = [f"{sent} with {values}{event} sent again: the log of push has their outcome."]
    if walk.unreadable:
        lines.append(f"Not sent: {count(walk.unreadable, 'message')}. {_about_unreadable(dead_letters)}")
    lines += [f"- {group}" for group in grouped(walk.expired, runs)]
    if walk.faults:
        lines.append(listed(walk.faults, by="\n"))
    if not walk.is_all:
        lines.append(
            "That was not all of them: there was no time, or some are hidden for up to 15 minutes. Invoke push with the same "
            "event again."
        )
    return DeadLetterAnswer(message="\n".join(lines), letters=groups, is_all=walk.is_all)


def grouped(letters: Iterable[DeadLetter], runs: Runs) -> tuple[DeadLetterGroup, ...]:
    """Group dead letters by run and reason, those with the most values first."""
    groups: dict[tuple[str, str, str, bool], list[DeadLetter]] = {}
    for letter in letters:
        reason = letter.reason
        groups.setdefault((letter.run_id, reason.status, reason.reason, reason.is_expired), []).append(letter)
    found = [
        DeadLetterGroup(
            run_id=run_id,
            status=status,
            reason=reason,
            messages=len(some),
            values=sum(letter.values for letter in some),
            since=min(letter.reason.at for letter in some),
            compute_again=_compute_again(run_id, runs) if is_expired else None,
        )
        for (run_id, status, reason, is_expired), some in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: -group.values))


def _compute_again(run_id: str, runs: Runs) -> str:
    try:
        return how_to_compute_again(runs.run(run_id))
    except DamagedRowError as error:
        return str(error)


def _about_unreadable(dead_letters: DeadLetters) -> str:
    return (
        "What is unreadable cannot be sent. Deploy the version that wrote it; or compute again what is missing in DHIS2, and "
        f"delete it in the console (SQS → {dead_letters.name} → Send and receive messages)."
    )
