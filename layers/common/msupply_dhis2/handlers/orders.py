"""What a person asks of push, and its answers: to pause sending, to stop a run, to list dead letters or send them again."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from msupply_dhis2.aws.environment import PushEnvironment
from msupply_dhis2.domain.reading import Event, Words, parse_event
from msupply_dhis2.errors import DamagedRowError, EventError
from msupply_dhis2.handlers.invocation import (
    INFO,
    WHAT_TO_DO,
    LogEvent,
    RunsInvocation,
    dead_letters_of,
    when_sent,
    why_paused,
)
from msupply_dhis2.state.breaker import Breaker, State
from msupply_dhis2.state.dead_letters import KEPT_FOR, UNREADABLE, DeadLetter, DeadLetters
from msupply_dhis2.state.message import DeadLetterReason
from msupply_dhis2.state.run import Run, event_of, how_to_compute_again
from msupply_dhis2.state.runs import Runs
from msupply_dhis2.text import Choice, count, listed

type _Push = RunsInvocation[PushEnvironment]

EXPIRED_LISTED_FOR = timedelta(days=30)
"""After the queue no longer has them."""


def carry_out(event: Mapping[Any, Any], push: _Push) -> dict[str, object]:
    """Do what a person asks; an EventError where that is not understood, or there is no such run."""
    if "breaker" in event:
        return _pause_or_resume(event, push)
    if "stop" in event:
        return _stop(event, push)
    if "dead_letters" in event:
        return _list_or_redrive(event, push)
    raise EventError(
        'The queue invokes push. To push by hand, invoke compute with {"manual": true}. Push takes {"dead_letters": "list"} or '
        '{"dead_letters": "redrive"}, {"breaker": "open"} or {"breaker": "close"}, and {"stop": "…"} with the id of a run.'
    )


class BreakerOrder(Choice):
    """What the breaker is to do."""

    OPEN = "open"
    CLOSE = "close"


class BreakerEvent(Event):
    """Stop sending, with a reason for those who wonder, or send again."""

    breaker: BreakerOrder
    reason: Words = Field(default="No reason is given.", max_length=500)


def _pause_or_resume(event: Mapping[Any, Any], push: _Push) -> dict[str, object]:
    asked = parse_event(BreakerEvent, event, '{"breaker": "open", "reason": "WORDS"} or {"breaker": "close"}')
    now = datetime.now(UTC)
    if asked.breaker is BreakerOrder.CLOSE:
        changed = push.breakers.change(Breaker.closed_by_hand)
    else:
        changed = push.breakers.change(lambda breaker: breaker.opened_by_hand(asked.reason, now))
    after = changed.after
    push.count_open_minutes(after, now)
    if after.state is not State.CLOSED:
        message = f"{why_paused(after)} {WHAT_TO_DO[after.state]}"
    elif changed.is_written:
        message = f"Values are sent again: what waits is delivered {when_sent(changed.before, now)}."
    else:
        message = "Sending is not paused."
    return {"message": message, "breaker": after.state.value}


class StopEvent(Event):
    """Stop a run, named by its id."""

    stop: Words


def _stop(event: Mapping[Any, Any], push: _Push) -> dict[str, object]:
    """Mark a run's row: what is not sent yet is not sent any more, and what DHIS2 has stays there.

    Push reads the mark with the row of each message, and compute before each shard.
    """
    example = '{"stop": "20260205T153000Z-monthly-1f0c2a9b"}, with the id of a run'
    run_id = parse_event(StopEvent, event, example).stop
    run = push.runs.stop(run_id, datetime.now(UTC))
    if run is None:
        raise EventError(f"There is no run {run_id}. Compute's answer and the log name each run (run_id).")
    message = _about_stopped(run)
    push.log(LogEvent.RUN_STOPPED, INFO, message, run_id=run_id)
    push.count("RunsStopped", 1)
    return {"message": message, "run_id": run_id, "waiting": run.counts.waiting, "parts_open": run.parts_open}


def _about_stopped(run: Run) -> str:
    if run.outcome is not None:
        return f"The run {run.run_id} has ended already ({run.outcome}): there is nothing to stop."
    counts, parts = run.counts, ""
    if run.parts_open:
        parts = f" {count(run.parts_open, 'part')} of it will not be computed, except those that are being computed now."
    return (
        f"The run {run.run_id} is stopped. {count(counts.waiting, 'value')} of it on the queue will not be sent.{parts} "
        f"DHIS2 keeps the {count(counts.stored + counts.unchanged, 'value')} that it has. The run ends when push has taken "
        f"its last message. To send the rest, compute the run again: make push EVENT='{event_of(run)}'."
    )


class DeadLetterOrder(Choice):
    """What is to be done about dead letters."""

    LIST = "list"
    REDRIVE = "redrive"


class DeadLetterEvent(Event):
    """List dead letters or send them again, all or those of a run or with some words."""

    dead_letters: DeadLetterOrder
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


def _list_or_redrive(event: Mapping[Any, Any], push: _Push) -> dict[str, object]:
    example = '{"dead_letters": "list"} or {"dead_letters": "redrive"}, with "run": "RUN-ID" or "reason": "WORDS" to choose some'
    asked = parse_event(DeadLetterEvent, event, example)
    if asked.dead_letters is DeadLetterOrder.LIST:
        answer, told, metric = _list(asked, push), LogEvent.DEAD_LETTERS_LISTED, "DeadLettersListed"
    else:
        answer, told, metric = _redrive(asked, push), LogEvent.DEAD_LETTERS_REDRIVEN, "DeadLettersSentAgain"
    push.log(told, INFO, answer.message)
    push.count(metric, sum(group.messages for group in answer.letters))
    return answer.model_dump(mode="json")


def _list(event: DeadLetterEvent, push: _Push) -> DeadLetterAnswer:
    dead_letters = dead_letters_of(push)
    letters, faults = dead_letters.listed(datetime.now(UTC) - KEPT_FOR - EXPIRED_LISTED_FOR)
    groups = grouped([each for each in letters if event.chooses(each.run_id, each.reason)], push.runs)
    lines = [f"There are no dead letters{event}."]
    if groups:
        messages, values = sum(group.messages for group in groups), sum(group.values for group in groups)
        lines = [f"{count(messages, 'dead letter')} with {count(values, 'value')}{event}:"]
        lines += [f"- {group}" for group in groups]
    kept = {group.run_id for group in groups if group.compute_again is None}
    if kept - {UNREADABLE}:
        redrive = 'invoke push with {"dead_letters": "redrive"} (make redrive)'
        lines.append(f"Fix the causes, then send them again: {redrive}.")
    if UNREADABLE in kept:
        lines.append(_about_unreadable(dead_letters))
    in_queue, in_table = dead_letters.depth(), sum(not letter.reason.is_expired for letter in letters)
    if in_queue != in_table:
        lines.append(
            f"The queue {dead_letters.name} holds {count(in_queue, 'message')}, and the table of runs has {in_table:,}. SQS, or "
            "people in the console, moved some. The watchdog compares them once a day, or at once: make watchdog"
        )
    if faults:
        lines.append(listed(faults, by="\n"))
    return DeadLetterAnswer(message="\n".join(lines), letters=groups)


def _redrive(event: DeadLetterEvent, push: _Push) -> DeadLetterAnswer:
    dead_letters = dead_letters_of(push)
    walk = dead_letters.walk(datetime.now(UTC), event.chooses)
    lines = [f"There are no dead letters{event} that could be sent again."]
    if walk.sent:
        values = count(sum(letter.values for letter in walk.sent), "value")
        sent = count(len(walk.sent), "dead letter")
        lines = [f"{sent} with {values}{event} sent again: the log of push has their outcome."]
    if walk.unreadable:
        lines.append(f"Not sent: {count(walk.unreadable, 'message')}. {_about_unreadable(dead_letters)}")
    lines += [f"- {group}" for group in grouped(walk.expired, push.runs)]
    if walk.faults:
        lines.append(listed(walk.faults, by="\n"))
    if not walk.is_all:
        lines.append(
            "That was not all of them: time is over, or some are hidden for 15 minutes. Invoke push with the same event again."
        )
    letters = grouped(walk.sent, push.runs)
    return DeadLetterAnswer(message="\n".join(lines), letters=letters, is_all=walk.is_all)


def grouped(letters: Iterable[DeadLetter], runs: Runs) -> tuple[DeadLetterGroup, ...]:
    """Group dead letters by run and reason, those with the most values first."""
    groups: dict[tuple[str, str, str, bool], list[DeadLetter]] = defaultdict(list)
    for letter in letters:
        reason = letter.reason
        groups[letter.run_id, reason.status, reason.reason, reason.is_expired].append(letter)
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
        "An unreadable message cannot be sent. Deploy the version that wrote it. Or compute again what is missing in "
        f"DHIS2, and delete the message in the console (SQS → {dead_letters.name} → Send and receive messages)."
    )
