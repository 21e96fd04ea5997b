"""Logging in: refused credentials are tried once, also by functions that start together."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from msupply_dhis2.dhis2.models import Query
from msupply_dhis2.errors import (
    AwsError,
    DamagedRowError,
    Dhis2AuthenticationError,
    Dhis2Error,
    Dhis2PermanentError,
    Dhis2TransientError,
)
from msupply_dhis2.state.breaker import (
    LOGIN_ATTEMPT,
    Breaker,
    BreakerTable,
    Changed,
    Login,
    State,
    log_in,
)
from tests.conftest import Aws

LOGIN = Login("https://dhis2.example.org/hmis", "pusher", "f1", "v1")
NEWER = replace(LOGIN, version="v2")
EARLY = datetime(2026, 2, 5, 1, 3, 20, tzinfo=UTC)


class Dhis2:
    """Answers a login as it is told to, and lets others come in between."""

    def __init__(self, error: Dhis2Error | None = None) -> None:
        self.error = error
        self.asked = 0
        self.is_asked = threading.Event()
        self.answers = threading.Event()
        self.answers.set()

    def get(self, path: str, params: Query | None = None) -> object:
        assert (path, params) == ("/api/me", {"fields": "id"})
        self.asked += 1
        self.is_asked.set()
        assert self.answers.wait(10)
        if self.error:
            raise self.error
        return {"id": "M5zQapPyTZI"}


def refusing() -> Dhis2:
    return Dhis2(Dhis2AuthenticationError("Authentication failed."))


@pytest.fixture
def told() -> list[Changed]:
    return []


@pytest.fixture
def breakers(aws: Aws, told: list[Changed]) -> BreakerTable:
    return BreakerTable(aws.table, told.append)


def never(_: float) -> None:
    pytest.fail("it waited")


def test_refusal_opens_the_breaker(breakers: BreakerTable, told: list[Changed]) -> None:
    dhis2 = refusing()
    with pytest.raises(Dhis2AuthenticationError, match="Authentication failed"):
        log_in(breakers, LOGIN, dhis2, lambda: EARLY, never)
    for _ in range(2):
        with pytest.raises(
            Dhis2AuthenticationError, match="refused this version of the login of pusher before"
        ):
            log_in(breakers, LOGIN, dhis2, lambda: EARLY, never)
    assert dhis2.asked == 1
    breaker = breakers.read()
    assert breaker == Breaker(
        State.LOGIN_REFUSED, "Authentication failed.", EARLY, refused=(LOGIN,), version=breaker.version
    )
    assert [change.after.state for change in told] == [State.LOGIN_REFUSED], "once"


def test_new_secret_closes_it(breakers: BreakerTable, told: list[Changed]) -> None:
    with pytest.raises(Dhis2AuthenticationError):
        log_in(breakers, LOGIN, refusing(), lambda: EARLY, never)
    log_in(breakers, NEWER, Dhis2(), lambda: EARLY, never)
    assert [change.after.state for change in told] == [State.LOGIN_REFUSED, State.CLOSED]


def test_restored_secret(breakers: BreakerTable) -> None:
    dhis2 = refusing()
    for login in (LOGIN, NEWER):
        with pytest.raises(Dhis2AuthenticationError):
            log_in(breakers, login, dhis2, lambda: EARLY, never)
    log_in(breakers, replace(LOGIN, version="v3"), Dhis2(), lambda: EARLY, never)
    for login in (LOGIN, NEWER, LOGIN):
        with pytest.raises(Dhis2AuthenticationError, match="was not asked"):
            log_in(breakers, login, dhis2, lambda: EARLY, never)
    assert dhis2.asked == 2
    assert breakers.read().state is State.LOGIN_REFUSED


def test_concurrent_functions(
    breakers: BreakerTable,
) -> None:
    dhis2 = refusing()
    dhis2.answers.clear()
    errors: list[Exception] = []
    waited = threading.Event()

    def wait(_: float) -> None:
        waited.set()
        dhis2.answers.wait(10)

    def start() -> None:
        try:
            log_in(breakers, LOGIN, dhis2, lambda: EARLY, wait)
        except Dhis2AuthenticationError as error:
            errors.append(error)

    together = [threading.Thread(target=start) for _ in range(4)]
    for function in together:
        function.start()
    assert dhis2.is_asked.wait(10)
    assert waited.wait(10)
    dhis2.answers.set()
    for function in together:
        function.join()
    assert dhis2.asked == 1
    assert sorted("was not asked" in str(error) for error in errors) == [False, True, True, True]


def test_corrected_while_waiting(breakers: BreakerTable) -> None:
    breakers.change(lambda breaker: breaker.logging_in(LOGIN, EARLY))

    def wait(_: float) -> None:
        breakers.change(lambda breaker: breaker.login_refused(LOGIN, "Authentication failed.", EARLY))
        breakers.change(lambda breaker: breaker.login_accepted(NEWER))

    with pytest.raises(Dhis2AuthenticationError, match="was not asked"):
        log_in(breakers, LOGIN, refusing(), lambda: EARLY, wait)
    assert breakers.read().state is State.CLOSED


def test_crashed_attempt(breakers: BreakerTable) -> None:
    now, waited = EARLY, 0.0
    breakers.change(lambda breaker: breaker.logging_in(LOGIN, EARLY))

    def wait(seconds: float) -> None:
        nonlocal now, waited
        waited += seconds
        now = EARLY + LOGIN_ATTEMPT * min(1.0, waited / LOGIN_ATTEMPT.total_seconds())

    log_in(breakers, LOGIN, Dhis2(), lambda: now, wait)
    assert waited == LOGIN_ATTEMPT.total_seconds()


@pytest.mark.parametrize(
    "fault",
    [Dhis2TransientError("DHIS2 is away."), Dhis2PermanentError("There is no DHIS2 at this address.")],
)
def test_other_fault(breakers: BreakerTable, fault: Dhis2Error) -> None:
    for _ in range(2):
        with pytest.raises(type(fault), match=str(fault)):
            log_in(breakers, LOGIN, Dhis2(fault), lambda: EARLY, never)
    assert replace(breakers.read(), version=0) == Breaker()


def test_damaged_row(aws: Aws, breakers: BreakerTable) -> None:
    aws.table.put_item(Item={"id": "breaker", "since": "yesterday"})
    with pytest.raises(DamagedRowError, match=r"row breaker .* is damaged.*make\s+test-connection"):
        breakers.read()


def test_missing_table(aws: Aws, breakers: BreakerTable) -> None:
    aws.table.delete()
    with pytest.raises(AwsError, match="while reading the table"):
        breakers.read()


def test_concurrent_change(breakers: BreakerTable) -> None:
    others = 0

    def fail_after_another(breaker: Breaker) -> Breaker:
        nonlocal others
        if others < 2:
            others += 1
            breakers.change(lambda each: each.failed("DHIS2 is away.", EARLY))
        return breaker.failed("DHIS2 is away.", EARLY)

    changed = breakers.change(fail_after_another)
    assert (changed.after.failures, changed.after.version) == (3, 3)
    assert changed.after == breakers.read()
    assert changed.after.state is State.DHIS2_DOWN


def test_write_not_allowed(breakers: BreakerTable) -> None:
    def fail_after_another(breaker: Breaker) -> Breaker:
        breakers.change(lambda each: each.failed("DHIS2 is away.", EARLY))
        return breaker.failed("DHIS2 is away.", EARLY)

    with pytest.raises(AwsError, match="changed the same rows of the table"):
        breakers.change(fail_after_another)
