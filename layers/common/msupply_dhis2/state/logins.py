"""What is remembered of logins at DHIS2, so that refused credentials are tried once and no account is locked.

Two rows of the stack's DynamoDB table, neither of which holds a password:

* the refused login, for as long as the queue is paused on its account;
* the attempt that is under way: functions that start at the same moment log in one after the other, so that the
  second learns of the first one's refusal.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from msupply_dhis2.aws.dynamodb import Change, change_and_read, change_item, read_item
from msupply_dhis2.dhis2.parsing import ReadsDhis2
from msupply_dhis2.errors import DamagedRowError, Dhis2AuthenticationError
from msupply_dhis2.settings.credentials import Dhis2Credentials

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

ATTEMPT_SECONDS = 60
"""After so long an attempt counts as given up: its function has crashed. Longer than any login takes."""

_LOOK_AGAIN_SECONDS = 0.5

_REFUSED = {"id": "refused-login"}
_ATTEMPT = {"id": "login-attempt"}


@dataclass(frozen=True, slots=True)
class Login:
    """Which login, at which DHIS2.

    Attributes
    ----------
    url
        The address of DHIS2.
    user
        Whose login it is, for messages.
    fingerprint
        Digest of kind and content of the credentials.
    version
        The version of the secret that they were read from. The same credentials entered anew are a new login: an
        account that was unlocked in DHIS2 is tried again by entering its password again.
    """

    url: str
    user: str
    fingerprint: str
    version: str

    @classmethod
    def of(cls, url: str, credentials: Dhis2Credentials) -> Self:
        """Return the login with these credentials."""
        return cls(url, credentials.user, credentials.fingerprint, credentials.version)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A login that DHIS2 refused.

    Attributes
    ----------
    login
        The login.
    since
        Since when values wait on that account: the first refusal after the last success; aware, UTC.
    said
        The sentence that tells of it.
    """

    login: Login
    since: datetime
    said: str


class RefusedBeforeError(Dhis2AuthenticationError):
    """DHIS2 refused this login earlier; it was not asked again."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(
            f"DHIS2 was not asked: it has refused this login since {refusal.since:%Y-%m-%d %H:%M} UTC. {refusal.said}"
        )


def log_in(table: "Table", login: Login, client: ReadsDhis2, clock: Callable[[], datetime]) -> None:
    """Log in with the smallest of all requests, unless DHIS2 refused this login before; never two at a time.

    Parameters
    ----------
    client
        Logs in with that login.
    clock
        Gives the present instant, aware.

    Raises
    ------
    RefusedBeforeError
        DHIS2 refused this login before; it was not asked.
    Dhis2AuthenticationError
        DHIS2 refuses the login, which is remembered.
    Dhis2Error
        Something else is wrong, for now (Dhis2TransientError) or until it is mended.
    AwsError
        The table refused: without it nobody knows whether the login may be tried.
    """
    with one_attempt_at_a_time(table, uuid4().hex):
        refusal = read_refusal(table)
        if refusal is not None and refusal.login == login:
            raise RefusedBeforeError(refusal)
        try:
            client.get("/api/me", {"fields": "id"})
        except Dhis2AuthenticationError as error:
            remember_refusal(table, login, str(error), clock())
            raise


def read_refusal(table: "Table") -> Refusal | None:
    """Return the login that DHIS2 refused and has not taken since, or ``None``. One consistent read.

    Raises
    ------
    AwsError
        The table cannot be read.
    """
    item = read_item(table, _REFUSED, "reading whether DHIS2 refused the login")
    if item is None:
        return None
    try:
        names = ("url", "user", "fingerprint", "version")
        login = Login(*(str(item[name]) for name in names))
        return Refusal(login, datetime.fromisoformat(str(item["since"])), str(item["said"]))
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedRowError(
            f"The table's row {_REFUSED['id']} is damaged. Delete it and test the connection."
        ) from error


def remember_refusal(table: "Table", login: Login, said: str, now: datetime) -> Refusal:
    """Note that DHIS2 refused a login, and give what is noted.

    Values that wait already on account of another login have waited since that one was refused.

    Parameters
    ----------
    said
        The sentence that tells of it; without any secret.
    now
        The clock, aware.

    Raises
    ------
    AwsError
        The table refused.
    """
    change = Change(_REFUSED).set_once({"since": now.astimezone(UTC).isoformat()})
    change.set({"said": said, **asdict(login)})
    item = change_and_read(table, change, "noting that DHIS2 refused the login")
    return Refusal(login, datetime.fromisoformat(str(item["since"])), said)


def forget_refusal(table: "Table", refusal: Refusal) -> None:
    """Forget a refused login, because DHIS2 has let one in; not where another was refused meanwhile.

    Raises
    ------
    AwsError
        The table refused.
    """
    change = Change(_REFUSED).delete()
    for name in ("url", "fingerprint", "version"):
        change.if_equal(name, getattr(refusal.login, name))
    change_item(table, change, "forgetting that DHIS2 refused the login")


@contextmanager
def one_attempt_at_a_time(
    table: "Table",
    holder: str,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Let this function log in while no other does; wait for the other first.

    Parameters
    ----------
    holder
        A name for this attempt that no other has.
    clock, sleep
        Seconds since 1970, and how to wait for some.

    Raises
    ------
    AwsError
        The table refused.
    """
    while not _began(table, holder, clock()):
        sleep(_LOOK_AGAIN_SECONDS)
    try:
        yield
    finally:
        # It may have taken longer than an attempt may: then another function has begun one of its own.
        change_item(
            table, Change(_ATTEMPT).delete().if_equal("holder", holder), "ending a turn at logging in"
        )


def _began(table: "Table", holder: str, now: float) -> bool:
    end = int(now) + ATTEMPT_SECONDS
    change = Change(_ATTEMPT).set({"holder": holder, "given_up_at": end, "expires_at": end})
    return change_item(table, change.if_below("given_up_at", int(now) + 1), "taking turns at logging in")
