"""Logging in at DHIS2 so that refused credentials are tried once, and no account is locked.

The breaker's row remembers which logins DHIS2 refused, and which function logs in just now: functions that start at
the same moment log in one after the other, so that the second learns of the first one's refusal.
"""

import time
from collections.abc import Callable
from datetime import datetime

from msupply_dhis2.dhis2.parsing import ReadsDhis2
from msupply_dhis2.errors import Dhis2AuthenticationError
from msupply_dhis2.state.breaker import BreakerTable, Login

_LOOK_AGAIN_SECONDS = 0.5


class RefusedBeforeError(Dhis2AuthenticationError):
    """DHIS2 refused this login earlier; it was not asked again."""

    def __init__(self, login: Login) -> None:
        super().__init__(
            f"DHIS2 was not asked: it has refused this version of the login of {login.user} before. If the account is "
            "fixed in DHIS2, test the connection (make test-connection)."
        )


def log_in(
    breakers: BreakerTable,
    login: Login,
    client: ReadsDhis2,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Log in with the smallest of all requests, unless DHIS2 refused this login before; never two at a time.

    Raises
    ------
    Dhis2AuthenticationError
        DHIS2 refuses the login, or has refused it before and was not asked (RefusedBeforeError). The breaker is open.
    Dhis2Error
        Something else is wrong, for now (Dhis2TransientError) or until it is fixed.
    AwsError
        The table refused: without it nobody knows whether the login may be tried.
    """
    attempt: datetime | None = None
    try:
        attempt = _begin(breakers, login, clock, sleep)
        client.get("/api/me", {"fields": "id"})
    except Dhis2AuthenticationError as error:
        message, now = str(error), clock()
        breakers.change(lambda breaker: breaker.login_ended(attempt).login_refused(login, message, now))
        raise
    except BaseException:
        breakers.change(lambda breaker: breaker.login_ended(attempt))
        raise
    breakers.change(lambda breaker: breaker.login_ended(attempt).login_accepted(login))


def _begin(
    breakers: BreakerTable, login: Login, clock: Callable[[], datetime], sleep: Callable[[float], None]
) -> datetime | None:
    """Return until when this function alone may log in."""
    while True:
        claimed = breakers.change(lambda breaker: breaker.logging_in(login, clock()))
        if login in claimed.after.refused:
            raise RefusedBeforeError(login)
        if claimed.is_written:
            return claimed.after.login_until
        sleep(_LOOK_AGAIN_SECONDS)
