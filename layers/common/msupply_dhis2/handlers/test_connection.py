"""Test connection on AWS: as somebody asks for it; and on schedule the probe, whether sending may go on."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import TestConnectionEnvironment
from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.aws.queues import depth
from msupply_dhis2.dhis2.client import Deadline, Dhis2Client
from msupply_dhis2.domain.mapped import DatabaseAnswer
from msupply_dhis2.domain.reading import Event, Text, parse_event
from msupply_dhis2.errors import (
    AwsError,
    Dhis2AuthenticationError,
    Dhis2TransientError,
    MsupplyDhis2Error,
    SourceError,
)
from msupply_dhis2.handlers.invocation import (
    INFO,
    WARNING,
    WHAT_TO_DO,
    Invocation,
    LogEvent,
    read_login,
    when_sent,
    why_paused,
)
from msupply_dhis2.periods import Calendar, parse_time_zone
from msupply_dhis2.preflight.check import Check
from msupply_dhis2.preflight.job import test_connection
from msupply_dhis2.settings import Settings, parse_settings
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.state.breaker import Breaker, Login, State, log_in
from msupply_dhis2.text import count

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

ANSWER_SECONDS = 30
"""How long DHIS2 may be silent over one question: the metadata of a whole country may take so long."""

_PROBE_SECONDS = 20
"""How long DHIS2 may take to let the probe in."""

TIME_LIMIT = 45
"""Seconds for all questions together, less than the function's time-out of 55: what is known by then is told."""


class Typed(Event):
    """What somebody has typed and not saved yet: a settings document, and the version of the secret that holds the login.

    Without one of them what is in force is tried.
    """

    settings: Text | None = None
    secret_version: Text | None = None


class TypedEvent(Event):
    """The event that asks to try it."""

    typed: Typed


_EXAMPLE = '{"typed": {"settings": "…", "secret_version": "…"}}'


def run(event: Mapping[Any, Any], *, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Test the connection; send again what waits where sending is paused and DHIS2 lets us in. Return the report as JSON.

    Somebody asks for it, so it logs in even where DHIS2 refused the same login before. What is only typed is tried, and
    neither opens nor closes the breaker: it is not what the stack sends with.
    """
    is_typed = "typed" in event
    typed = parse_event(TypedEvent, event, _EXAMPLE).typed if is_typed else Typed()
    document = typed.settings
    test = Invocation(TestConnectionEnvironment.read(), logger, metrics)
    calendar = Calendar(parse_time_zone(test.environment.timezone))
    asked: list[tuple[Login, Dhis2Client]] = []

    def client_of(settings: Settings, credentials: Dhis2Credentials) -> Dhis2Client:
        client = Dhis2Client.of(settings, credentials, read_timeout=ANSWER_SECONDS)
        asked.append((Login.of(settings.url, credentials), client))
        return client

    report = test_connection(
        settings_reader=lambda: parse_settings(document) if document else test.read_settings(),
        credentials_reader=lambda settings: read_login(test, settings, typed.secret_version)[0],
        client_factory=client_of,
        database_check=partial(ask_compute, clients.lambda_(), test.environment.compute_function, document),
        table=test.table,
        calendar=calendar,
        clock=lambda: datetime.now(UTC),
        as_of=None,
        time_limit=TIME_LIMIT,
    )
    login, client = asked[0] if asked else (None, None)
    accepted = login if report.connected else None
    refused = client.refused_login if client else None
    if not is_typed and (check := _check_queue(login, accepted, refused, test, calendar)):
        report = report.summed_up(check)
    if accepted is not None:
        # A line of its own: of one as long as the report CloudWatch finds the first 200 fields only.
        user, url = accepted.user, accepted.url
        said = f"DHIS2 authenticates {user}."
        test.log(LogEvent.LOGIN_ACCEPTED, INFO, said, authenticated=True, user=user, dhis2=url)
    level = INFO if report.all_well else WARNING
    told = report.model_dump(mode="json", exclude={"offers"})
    test.log(LogEvent.CONNECTION_TESTED, level, report.message, report=told)
    test.count("ConnectionTestsSucceeded", int(report.connected))
    return report.model_dump(mode="json")


def _check_queue(
    login: Login | None,
    accepted: Login | None,
    refused: Dhis2AuthenticationError | None,
    test: Invocation[TestConnectionEnvironment],
    calendar: Calendar,
) -> Check | None:
    """Open or close the breaker as DHIS2 answered, and say so; ``None`` where there is nothing to say."""
    now = datetime.now(UTC)

    def after_test(breaker: Breaker) -> Breaker:
        # Refused for one call only, as where something is posted, so will it be with what waits on the queue.
        if login is not None and refused is not None:
            return breaker.login_refused(login, str(refused), now)
        return breaker if accepted is None else breaker.login_accepted(accepted)

    try:
        changed = test.breakers.change(after_test)
        before, after = changed.before, changed.after
        if before.state is after.state is State.CLOSED:
            return None
        waiting = depth(clients.sqs(), test.environment.queue_url)
    except AwsError as error:
        return Check(name="queue", ok=False, message=str(error))
    messages = f"{count(waiting, 'message')} {'waits' if waiting == 1 else 'wait'}"
    if after.state is State.CLOSED:
        why = why_paused(before, calendar.time_zone, is_over=True, in_short=True)
        when = f", and each is sent {when_sent(before, now)}" if waiting else ""
        return Check(name="queue", ok=True, message=f"{why} Values are sent again: {messages}{when}.")
    # Of a login that is refused just now another check says all.
    why = why_paused(after, calendar.time_zone, in_short=refused is not None)
    said = WHAT_TO_DO[after.state]
    if after.state is State.HALF_OPEN:
        said = f"The first one is tried {when_sent(after, now)}. After DHIS2 answers it, the others follow."
    return Check(name="queue", ok=after.state is State.HALF_OPEN, message=f"{why} {messages}. {said}")


def ask_compute(client: "LambdaClient", function: str, settings: str | None = None) -> DatabaseAnswer:
    """Ask compute, which may sit in another network, what is mapped in mSupply's database by its settings, or by others.

    It is asked in a thread of its own, and boto3 cannot make clients in two threads at once: the client is made before.
    """
    event = {"check_database": True, **({"settings": settings} if settings else {})}
    with aws_faults("asking compute about mSupply's database", client):
        answer = client.invoke(FunctionName=function, Payload=json.dumps(event))
    result = json.loads(answer["Payload"].read())
    message = str(result.get("message") or result.get("errorMessage") or "no reason given")
    if answer.get("FunctionError"):
        raise SourceError(f"Compute failed when asked about mSupply's database: {message}")
    if result.get("status") == "failed":
        raise SourceError(message)
    return DatabaseAnswer.model_validate({**result, "message": message})


def probe(*, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Log in once where DHIS2 was down, or the login has changed since it was refused; return the breaker's state.

    A new password must not wait for somebody to test the connection, and a refused one must not be tried again.
    """
    test = Invocation(TestConnectionEnvironment.read(), logger, metrics)
    if test.breakers.read().state in {State.LOGIN_REFUSED, State.DHIS2_DOWN}:
        try:
            settings = test.read_settings()
            credentials, login = read_login(test, settings)
            client = Dhis2Client.of(settings, credentials, read_timeout=_PROBE_SECONDS)
            client.deadline = Deadline.within(TIME_LIMIT)
            # Of a refusal or an outage the breaker's own line tells.
            with suppress(Dhis2AuthenticationError, Dhis2TransientError):
                log_in(test.breakers, login, client, lambda: datetime.now(UTC))
        except MsupplyDhis2Error as error:
            test.log(LogEvent.LOGIN_NOT_TRIED, WARNING, f"The login could not be tried: {error}")
    breaker = test.breakers.read()
    test.count_open_minutes(breaker, datetime.now(UTC))
    return {"breaker": breaker.state.value}
