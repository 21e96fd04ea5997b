"""The probe: on schedule, is the queue still paused, and may it be resumed.

A new password must not wait for somebody to test the connection, and a refused one must not be tried again: the
probe logs in only with a login that DHIS2 has not refused yet.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import TestConnectionEnvironment, read_dhis2_credentials, read_settings
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.errors import AwsError, MsupplyDhis2Error
from msupply_dhis2.handlers.log import INFO, WARNING, LogEvent, log
from msupply_dhis2.handlers.pause import QueuePause, Reason, pause_for_tests, reason_of_pause, why_paused
from msupply_dhis2.periods import Calendar, parse_time_zone
from msupply_dhis2.state.connections import written_in
from msupply_dhis2.state.logins import Login, RefusedBeforeError, log_in
from msupply_dhis2.state.outages import Outage
from msupply_dhis2.state.resumption import Resumption

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

ANSWER_SECONDS = 20
"""How long DHIS2 may take to let us in."""


def run(context: LambdaContext, *, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Look whether the queue is paused; where the login has changed since, try it once.

    Returns
    -------
    dict
        ``paused``: whether the queue is, now; ``message``: a sentence.
    """
    environment = TestConnectionEnvironment.read()
    table = clients.table(environment.table_name)
    reason = reason_of_pause(table)
    paused, message = False, "The queue is not paused."
    if reason is not None:
        pause = pause_for_tests(environment, context)
        paused, message = _look_after(reason, pause, environment, table)
        event, level = (LogEvent.BREAKER_OPEN, WARNING) if paused else (LogEvent.BREAKER_CHANGED, INFO)
        log(logger, event, level, message)
    metrics.add_metric(name="QueuePaused", unit=MetricUnit.Count, value=int(paused))
    return {"paused": paused, "message": message}


def _look_after(
    reason: Reason, pause: QueuePause, environment: TestConnectionEnvironment, table: "Table"
) -> tuple[bool, str]:
    time_zone = Calendar(parse_time_zone(environment.timezone)).time_zone
    why = why_paused(reason, time_zone)
    if isinstance(reason, Resumption):
        try:
            pause.resume()
        except AwsError as error:
            return True, f"{why} It could not be resumed: {error} That is tried again in 15 minutes."
        return False, f"The queue is resumed. Before: {why}"
    now = datetime.now(UTC)
    if isinstance(reason, Outage) and reason.next_trial is not None and now < reason.next_trial:
        return True, (
            f"{why} DHIS2 let us in before, but took no values when the queue was resumed (the last time at "
            f"{written_in(reason.tried_at or now, time_zone)}): that is tried again at "
            f"{written_in(reason.next_trial, time_zone)}, or at once when the connection is tested (make test-connection)."
        )
    try:
        settings = read_settings(environment.settings_parameter, clients.ssm())
        credentials = read_dhis2_credentials(environment.dhis2_secret, clients.secretsmanager(), settings)
        login = Login.of(str(settings.url), credentials)
        client = Dhis2Client.of(settings, credentials, read_timeout=ANSWER_SECONDS)
        log_in(table, login, client, lambda: datetime.now(UTC))
        if isinstance(reason, Outage):
            pause.try_out(reason, now)
        else:
            pause.end()
    except RefusedBeforeError:
        return True, (
            f"{why} The login is still the same, and is not tried again. Correct the credentials (make "
            "credentials), or mend the account in DHIS2 and test the connection (make test-connection)."
        )
    except MsupplyDhis2Error as error:
        return True, f"{why} It could not be resumed: {error}"
    return (
        False,
        f"The queue is resumed: DHIS2 lets {login.user} in. It was paused for this reason: {reason.said}",
    )
