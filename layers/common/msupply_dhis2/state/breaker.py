"""The breaker between the queue and DHIS2: while it is open, messages wait and DHIS2 is left alone.

:class:`Breaker`, which is pure, tells what may happen to it. :class:`BreakerTable` holds it in one row of the stack's table.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import AwareDatetime

from msupply_dhis2.aws.dynamodb import (
    ATTEMPTS,
    Change,
    Table,
    busy,
    change_item,
    read_item,
    reader_of,
    row_of,
)
from msupply_dhis2.dhis2.models import ReadsDhis2
from msupply_dhis2.errors import DamagedRowError, Dhis2AuthenticationError
from msupply_dhis2.settings.credentials import Dhis2Credentials

FAILURES_TO_OPEN = 3
"""So many in a row, of any messages, open the breaker: one or two may be a restart that is over in a minute."""

TRIAL = timedelta(seconds=300)
"""How long one message is tried in `half-open`: as long as push may run. After that another message is tried."""

LOGIN_ATTEMPT = timedelta(seconds=60)
"""After so long an attempt to log in counts as given up: its function has crashed. Longer than any login takes."""

SHORTEST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)

MOST_REFUSED_LOGINS = 20
"""Refused logins that are remembered. Each is a version of the secret, of which an officer enters a few at most."""

_LOOK_AGAIN_SECONDS = 0.5
_KEY = {"id": "breaker"}


class State(StrEnum):
    """What the breaker does with messages."""

    CLOSED = "closed"
    """They are sent."""

    HALF_OPEN = "half-open"
    """One is tried, because DHIS2 was down; the others wait."""

    LOGIN_REFUSED = "open (login refused)"
    DHIS2_DOWN = "open (DHIS2 down)"
    BY_HAND = "open (by hand)"


@dataclass(frozen=True, slots=True)
class Login:
    """One version of the credentials, at one DHIS2."""

    url: str
    user: str
    fingerprint: str
    version: str
    """Of the secret. The same credentials entered anew are a new login, so that an account that was unlocked is tried again."""

    @classmethod
    def of(cls, url: str, credentials: Dhis2Credentials) -> Self:
        """Return the login with these credentials."""
        return cls(url, credentials.user, credentials.fingerprint, credentials.version)


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker, and what may happen to it. The methods of events return the breaker as it is afterwards."""

    state: State = State.CLOSED
    message: str = ""
    """Why it is not closed, a sentence without secrets."""
    since: AwareDatetime | None = None
    """The first failure after the last answered push; aware, UTC. Waits are counted from it."""
    failures: int = 0
    """How often in a row DHIS2 was down."""
    refused: tuple[Login, ...] = ()
    """The logins that DHIS2 refused and has not accepted since, the last one last."""
    trial_until: AwareDatetime | None = None
    """In `half-open`: until when the message that is tried now keeps all others waiting."""
    login_until: AwareDatetime | None = None
    """Until when the function that logs in now keeps all others from it."""
    version: int = 0
    """How often the row was written."""

    def age(self, now: datetime) -> timedelta:
        """Return for how long values have not flowed; nothing where the breaker is closed."""
        return timedelta() if self.since is None or self.state is State.CLOSED else now - self.since

    def wait(self, now: datetime) -> timedelta:
        """Return how long a message waits for its next delivery: a quarter of the time for which values have not flowed.

        So it is put back about 265 times in ten days, whatever the cause, and values flow again within that quarter.
        """
        return min(LONGEST_WAIT, max(SHORTEST_WAIT, self.age(now) / 4))

    # What push meets

    def tried(self, now: datetime) -> "Breaker":
        """Try a message in `half-open`, unless another is tried: then nothing changes."""
        if self.state is not State.HALF_OPEN or (self.trial_until is not None and now < self.trial_until):
            return self
        return replace(self, trial_until=now + TRIAL)

    def trial_ended(self, trial_until: datetime | None) -> "Breaker":
        """Let the next message be tried: this one has shown nothing of DHIS2, because push failed at something else."""
        return replace(self, trial_until=None) if self.trial_until == trial_until else self

    def failed(self, message: str, now: datetime) -> "Breaker":
        """Note that DHIS2 was down."""
        failed = replace(self, failures=self.failures + 1, since=self.since or now)
        is_enough = self.state is State.CLOSED and failed.failures >= FAILURES_TO_OPEN
        if is_enough or self.state is State.HALF_OPEN:
            return replace(failed, state=State.DHIS2_DOWN, message=message, trial_until=None)
        return failed

    def answered(self) -> "Breaker":
        """Note that DHIS2 has answered a push: it is not down."""
        if self.state in {State.BY_HAND, State.LOGIN_REFUSED}:
            return replace(self, failures=0)
        return self._closed()

    # What push, a connection test and the probe meet

    def logging_in(self, login: Login, now: datetime) -> "Breaker":
        """Begin to log in, unless another function does, or DHIS2 has refused this login: then nothing changes."""
        if login in self.refused or (self.login_until is not None and now < self.login_until):
            return self
        return replace(self, login_until=now + LOGIN_ATTEMPT)

    def login_ended(self, login_until: datetime | None) -> "Breaker":
        """End an attempt to log in; a later one of another function goes on."""
        return replace(self, login_until=None) if self.login_until == login_until else self

    def login_refused(self, login: Login, message: str, now: datetime) -> "Breaker":
        """Note that DHIS2 has refused a login, now or earlier."""
        if self.state is State.LOGIN_REFUSED and login in self.refused:
            return self
        refused = *self._without(login), login
        refusing = replace(self, refused=refused[-MOST_REFUSED_LOGINS:], since=self.since or now)
        if self.state is State.BY_HAND:
            return refusing
        return replace(refusing, state=State.LOGIN_REFUSED, message=message, trial_until=None)

    def login_accepted(self, login: Login) -> "Breaker":
        """Note that DHIS2 has accepted a login: values flow again, or where DHIS2 was down one message is tried."""
        accepted = replace(self, refused=self._without(login))
        return accepted.resumed() if self.state in {State.LOGIN_REFUSED, State.DHIS2_DOWN} else accepted

    # What a person does

    def opened_by_hand(self, reason: str, now: datetime) -> "Breaker":
        """Stop sending."""
        since = self.since or now
        return replace(self, state=State.BY_HAND, message=reason, since=since, trial_until=None)

    def closed_by_hand(self) -> "Breaker":
        """Send again what was stopped by hand, with one message first where DHIS2 was down meanwhile."""
        return self.resumed() if self.state is State.BY_HAND else self

    def resumed(self) -> "Breaker":
        """Let values flow again, or one message where DHIS2 was down."""
        was_down = self.failures >= FAILURES_TO_OPEN
        return replace(self, state=State.HALF_OPEN) if was_down else self._closed()

    def _closed(self) -> "Breaker":
        return Breaker(refused=self.refused, login_until=self.login_until, version=self.version)

    def _without(self, login: Login) -> tuple[Login, ...]:
        return tuple(each for each in self.refused if each != login)


class Changed(NamedTuple):
    """The breaker before and after a change, which may have changed nothing."""

    before: Breaker
    after: Breaker

    @property
    def is_written(self) -> bool:
        """Whether anything is different now."""
        return self.after != self.before

    @property
    def may_send(self) -> bool:
        """Whether the message that asked to be tried may be sent."""
        return self.after.state is State.CLOSED or (self.after.state is State.HALF_OPEN and self.is_written)


class BreakerTable:
    """The breaker's row in the stack's table; ``tell`` is given each change of state, once, by the function that made it.

    Every method raises an ``AwsError`` where the table refused, or the row is damaged.
    """

    def __init__(self, table: Table, tell: Callable[[Changed], None]) -> None:
        self._table = table
        self._tell = tell

    def read(self) -> Breaker:
        """Return the breaker as it is now. One consistent read."""
        breaker = row_of(Breaker, read_item(self._table, _KEY) or {})
        if breaker is None:
            raise DamagedRowError(
                f"The row {_KEY['id']} of the stack's table is damaged. Delete it, then test the connection (make "
                "test-connection)."
            )
        return breaker

    def change(self, change: Callable[[Breaker], Breaker]) -> Changed:
        """Change the breaker as it is now, whoever else changes it; nothing is written where nothing changes."""
        for _ in range(ATTEMPTS):
            before = self.read()
            after = change(before)
            if after == before:
                return Changed(before, before)
            changed = Changed(before, replace(after, version=before.version + 1))
            row = Change(_KEY).set(reader_of(Breaker).dump_python(changed.after, mode="json"))
            if change_item(self._table, row.if_equal("version", before.version)):
                if before.state is not after.state:
                    self._tell(changed)
                return changed
        raise busy(self._table)


def log_in(
    breakers: BreakerTable,
    login: Login,
    client: ReadsDhis2,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Log in with the smallest of all requests, unless DHIS2 refused this login before; never two at a time.

    A Dhis2AuthenticationError tells that DHIS2 refuses the login, or did before and was not asked: the breaker is open.
    Without the table nobody knows whether the login may be tried; so what it raises is raised too.
    """
    attempt = _begin(breakers, login, clock, sleep)
    try:
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
    has_waited = False
    text = (
        f"DHIS2 was not asked: it has refused this version of the login of {login.user} before. If the account is "
        "fixed in DHIS2, test the connection (make test-connection)."
    )
    while True:
        claimed = breakers.change(lambda breaker: breaker.logging_in(login, clock()))
        if login in claimed.after.refused:
            if not has_waited:
                # Another function, for which this one waited, has opened the breaker itself. It may be closed again by
                # now, because the credentials were corrected.
                breakers.change(lambda breaker: breaker.login_refused(login, text, clock()))
            raise Dhis2AuthenticationError(text)
        if claimed.is_written:
            return claimed.after.login_until
        sleep(_LOOK_AGAIN_SECONDS)
        has_waited = True
