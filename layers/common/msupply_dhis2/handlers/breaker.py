"""The breaker as all functions use it: what they tell of it, and what a person asks of it."""

import math
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Annotated
from zoneinfo import ZoneInfo

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from pydantic import BeforeValidator, Field

from msupply_dhis2.aws import clients
from msupply_dhis2.domain.event_fields import Event, Words, parse_event
from msupply_dhis2.domain.reading import OneOf
from msupply_dhis2.handlers.log import ERROR, WARNING, LogEvent, log
from msupply_dhis2.state.breaker import Breaker, BreakerTable, Changed, State
from msupply_dhis2.state.connections import written_in
from msupply_dhis2.text import count

_WHY = {
    State.LOGIN_REFUSED: "DHIS2 refuses the login",
    State.DHIS2_DOWN: "DHIS2 is down",
    State.HALF_OPEN: "DHIS2 was down",
    State.BY_HAND: "it was paused by hand",
}
_CURE = {
    State.LOGIN_REFUSED: (
        "This login is not tried again, because that could lock the account. Correct the credentials (make "
        "credentials) or fix the account in DHIS2, and test the connection (make test-connection). A new version of the "
        "secret is tried within 15 minutes too."
    ),
    State.DHIS2_DOWN: (
        "When DHIS2 accepts the login, one message is tried. A probe asks every 15 minutes, and each connection test "
        "asks too (make test-connection)."
    ),
    State.HALF_OPEN: "One message is tried now. After DHIS2 answers it, the others follow.",
    State.BY_HAND: "Send again with: make resume",
}


class BreakerOrder(StrEnum):
    """What the breaker is to do."""

    OPEN = "open"
    CLOSE = "close"


class BreakerEvent(Event):
    """What a person asks of push: stop sending, with a reason for those who wonder, or send again."""

    breaker: Annotated[BreakerOrder, BeforeValidator(OneOf(BreakerOrder))]
    reason: Words = Field(default="No reason is given.", max_length=500)


def breaker_table(table_name: str, logger: Logger) -> BreakerTable:
    """Return the breaker's row, each of whose changes of state is told in the log."""
    return BreakerTable(clients.table(table_name), partial(_tell, logger))


def _tell(logger: Logger, changed: Changed) -> None:
    before, after = changed.before.state, changed.after.state
    is_refused = after is State.LOGIN_REFUSED
    is_news = is_refused or (after is State.DHIS2_DOWN and before is not State.HALF_OPEN)
    message = (
        f"Values are sent again. {why_paused(changed.before, is_over=True)}"
        if after is State.CLOSED
        else f"{why_paused(changed.after)} {what_to_do(changed.after)}"
    )
    event = LogEvent.LOGIN_REFUSED if is_refused else LogEvent.BREAKER_CHANGED
    log(logger, event, ERROR if is_news else WARNING, message, breaker=after.value, before=before.value)
    if is_news:
        name = "CredentialsRefused" if is_refused else "BreakerOpened"
        # Whichever function says it: an alarm looks at one service.
        dimensions = {"service": "breaker"}
        with single_metric(name=name, unit=MetricUnit.Count, value=1, default_dimensions=dimensions):
            pass


def count_open_minutes(breaker: Breaker, now: datetime, metrics: Metrics) -> None:
    """Count for how long values have not flowed, each time that somebody looks."""
    minutes = breaker.age(now).total_seconds() / 60
    metrics.add_metric(name="BreakerOpenMinutes", unit=MetricUnit.Count, value=minutes)


def why_paused(
    breaker: Breaker, time_zone: ZoneInfo | None = None, *, is_over: bool = False, in_short: bool = False
) -> str:
    """Return since when sending is paused, or was, and why; in short, without what DHIS2 said of the login."""
    since = breaker.since or datetime.now(UTC)
    when = written_in(since, time_zone) if time_zone else f"{since:%Y-%m-%d %H:%M} UTC"
    is_short = in_short and breaker.state is State.LOGIN_REFUSED
    said = "" if is_short else f": {breaker.message.rstrip('. ')}"
    return f"Sending {'was' if is_over else 'is'} paused since {when}, because {_WHY[breaker.state]}{said}."


def what_to_do(breaker: Breaker) -> str:
    """Return what ends the pause, and what somebody can do."""
    return _CURE[breaker.state]


def when_sent(before: Breaker, now: datetime) -> str:
    """Return when what waited until now is delivered again, each message by itself so that they do not come all at once."""
    minutes = math.ceil(before.wait(now).total_seconds() / 60)
    return f"within about {count(minutes, 'minute')}"


def answer_about_breaker(
    event: object, breakers: BreakerTable, now: datetime, metrics: Metrics
) -> dict[str, object]:
    """Stop sending, or send again, as a person asks."""
    asked = parse_event(BreakerEvent, event, '{"breaker": "open", "reason": "WORDS"} or {"breaker": "close"}')
    if asked.breaker is BreakerOrder.OPEN:
        changed = breakers.change(lambda breaker: breaker.opened_by_hand(asked.reason, now))
    else:
        changed = breakers.change(Breaker.closed_by_hand)
    after = changed.after
    count_open_minutes(after, now, metrics)
    if after.state is not State.CLOSED:
        message = f"{why_paused(after)} {what_to_do(after)}"
    elif changed.is_written:
        message = f"Values are sent again: what waits is delivered {when_sent(changed.before, now)}."
    else:
        message = "Sending is not paused."
    return {"message": message, "breaker": after.state.value}
