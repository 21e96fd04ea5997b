"""The probe: on schedule, is sending still paused, and may it go on.

A new password must not wait for somebody to test the connection, and a refused one must not be tried again: the
probe logs in only with a login that DHIS2 has not refused.
"""

from datetime import UTC, datetime

from aws_lambda_powertools import Logger, Metrics

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.environment import TestConnectionEnvironment, read_dhis2_credentials, read_settings
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.errors import Dhis2AuthenticationError, MsupplyDhis2Error
from msupply_dhis2.handlers.breaker import breaker_table, count_open_minutes, what_to_do, why_paused
from msupply_dhis2.handlers.log import WARNING, LogEvent, log
from msupply_dhis2.periods import Calendar, parse_time_zone
from msupply_dhis2.state.breaker import BreakerTable, Login, State
from msupply_dhis2.state.logins import log_in

ANSWER_SECONDS = 20
"""How long DHIS2 may take to let us in."""


def run(*, logger: Logger, metrics: Metrics) -> dict[str, object]:
    """Look whether sending is paused; where DHIS2 was down, or the login has changed since, log in once.

    Returns
    -------
    dict
        ``breaker``: its state now; ``message``: a sentence.
    """
    environment = TestConnectionEnvironment.read()
    breakers = breaker_table(environment.table_name, logger, metrics)
    fault = None
    if breakers.read().state in {State.LOGIN_REFUSED, State.DHIS2_DOWN}:
        try:
            _log_in(environment, breakers)
        except Dhis2AuthenticationError:
            # The breaker's own message tells of it.
            pass
        except MsupplyDhis2Error as error:
            fault = f"The login could not be tried: {error}"
    breaker = breakers.read()
    count_open_minutes(breaker, datetime.now(UTC), metrics)
    message = "Sending is not paused."
    if breaker.state is not State.CLOSED:
        time_zone = Calendar(parse_time_zone(environment.timezone)).time_zone
        message = " ".join(filter(None, (why_paused(breaker, time_zone), fault, what_to_do(breaker))))
        log(logger, LogEvent.BREAKER_OPEN, WARNING, message, breaker=breaker.state.value)
    return {"breaker": breaker.state.value, "message": message}


def _log_in(environment: TestConnectionEnvironment, breakers: BreakerTable) -> None:
    settings = read_settings(environment.settings_parameter, clients.ssm())
    credentials = read_dhis2_credentials(environment.dhis2_secret, clients.secretsmanager(), settings)
    client = Dhis2Client.of(settings, credentials, read_timeout=ANSWER_SECONDS)
    log_in(breakers, Login.of(str(settings.url), credentials), client, lambda: datetime.now(UTC))
