"""The breaker as all functions use it: what they tell of it, in log, metrics and sentences, and what a person asks of it."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal
from zoneinfo import ZoneInfo

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msupply_dhis2.aws import clients
from msupply_dhis2.errors import EventError
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
        "As soon as DHIS2 accepts the login, one message is tried. That is looked at every 15 minutes, or at once where the "
        "connection is tested (make test-connection)."
    ),
    State.HALF_OPEN: "One message is tried. When DHIS2 has answered it the others follow.",
    State.BY_HAND: "Send again with: make resume",
}


class BreakerEvent(BaseModel):
    """What a person asks of push: stop sending, or send again.

    Attributes
    ----------
    reason
        Why sending is paused, for those who wonder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    breaker: Literal["open", "close"]
    reason: str = Field(default="No reason is given.", min_length=1, max_length=500)


def breaker_table(table_name: str, logger: Logger, metrics: Metrics) -> BreakerTable:
    """Return the breaker's row, each of whose changes of state is told in the log."""
    return BreakerTable(clients.table(table_name), partial(_tell, logger, metrics))


def _tell(logger: Logger, metrics: Metrics, changed: Changed) -> None:
    before, after = changed.before, changed.after
    is_news = after.state is State.LOGIN_REFUSED or (
        after.state is State.DHIS2_DOWN and before.state is not State.HALF_OPEN
    )
    message = (
        f"Values are sent again. {why_paused(before, is_over=True)}"
        if after.state is State.CLOSED
        else f"{why_paused(after)} {what_to_do(after)}"
    )
    event = LogEvent.LOGIN_REFUSED if after.state is State.LOGIN_REFUSED else LogEvent.BREAKER_CHANGED
    level = ERROR if is_news else WARNING
    log(logger, event, level, message, breaker=after.state.value, before=before.state.value)
    if is_news:
        name = "CredentialsRefused" if after.state is State.LOGIN_REFUSED else "BreakerOpened"
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=1)


def count_open_minutes(breaker: Breaker, now: datetime, metrics: Metrics) -> None:
    """Count for how long values have not flowed, each time that somebody looks."""
    minutes = breaker.age(now).total_seconds() / 60
    metrics.add_metric(name="BreakerOpenMinutes", unit=MetricUnit.Count, value=minutes)


def why_paused(breaker: Breaker, time_zone: ZoneInfo | None = None, *, is_over: bool = False) -> str:
    """Say since when sending is paused, or was, and why."""
    since = breaker.since or datetime.now(UTC)
    when = written_in(since, time_zone) if time_zone else f"{since:%Y-%m-%d %H:%M} UTC"
    message = breaker.message.rstrip(". ")
    return (
        f"Sending {'was' if is_over else 'is'} paused since {when}, because {_WHY[breaker.state]}: {message}."
    )


def what_to_do(breaker: Breaker) -> str:
    """Say what ends the pause, and what somebody can do."""
    return _CURE[breaker.state]


def when_sent(before: Breaker, now: datetime) -> str:
    """Say when what waited until now is delivered again; each message by itself, so that they do not come all at once."""
    minutes = math.ceil(before.wait(now).total_seconds() / 60)
    return f"within about {count(minutes, 'minute')}"


def answer(
    event: Mapping[Any, Any], breakers: BreakerTable, now: datetime, metrics: Metrics
) -> dict[str, object]:
    """Stop sending, or send again, as a person asks.

    Raises
    ------
    EventError
        The event cannot be understood.
    AwsError
        The table refused.
    """
    asked = _parse(event)
    if asked.breaker == "open":
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


def _parse(event: Mapping[Any, Any]) -> BreakerEvent:
    try:
        return BreakerEvent.model_validate(event)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    # Outside the except clause: pydantic's error shows what the event holds.
    raise EventError(
        f'Push cannot do what the event asks for: {faults}. It may be {{"breaker": "open", "reason": "WORDS"}} or '
        '{"breaker": "close"}.'
    )
