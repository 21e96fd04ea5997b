"""The probe: on schedule, is sending still paused, and may it go on.

A new password must not wait for somebody to test the connection, and a refused one must not be tried again: the
probe logs in only with a login that DHIS2 has not refused.
"""

from contextlib import suppress
from datetime import UTC, datetime

from aws_lambda_powertools import Logger, Metrics

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import TestConnectionEnvironment, read_dhis2_credentials, read_settings
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.errors import Dhis2AuthenticationError, Dhis2TransientError, MsupplyDhis2Error
from msupply_dhis2.handlers.breaker import breaker_table, count_open_minutes
from msupply_dhis2.handlers.log import WARNING, LogEvent, log
from msupply_dhis2.state.breaker import BreakerTable, Login, State, log_in

ANSWER_SECONDS = 20
"""How long DHIS2 may take to let us in."""


def run(*, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Log in once where DHIS2 was down, or the login has changed since it was refused; return the breaker's state."""
    environment = TestConnectionEnvironment.read()
    breakers = breaker_table(environment.table_name, logger)
    if breakers.read().state in {State.LOGIN_REFUSED, State.DHIS2_DOWN}:
        try:
            # Of a refusal or an outage the breaker's own line tells.
            with suppress(Dhis2AuthenticationError, Dhis2TransientError):
                _log_in(environment, breakers)
        except MsupplyDhis2Error as error:
            log(logger, LogEvent.LOGIN_NOT_TRIED, WARNING, f"The login could not be tried: {error}")
    breaker = breakers.read()
    count_open_minutes(breaker, datetime.now(UTC), metrics)
    return {"breaker": breaker.state.value}


def _log_in(environment: TestConnectionEnvironment, breakers: BreakerTable) -> None:
    settings = read_settings(environment.settings_parameter, clients.ssm())
    credentials = read_dhis2_credentials(environment.dhis2_secret, clients.secretsmanager(), settings)
    client = Dhis2Client.of(settings, credentials, read_timeout=ANSWER_SECONDS)
    log_in(breakers, Login.of(str(settings.url), credentials), client, lambda: datetime.now(UTC))
