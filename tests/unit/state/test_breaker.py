"""The breaker as a state machine: its table, and laws that hold whatever happens in whatever order."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.aws.queues import by_chance
from msupply_dhis2.settings.credentials import Dhis2Credentials
from msupply_dhis2.state.breaker import (
    FAILURES_TO_OPEN,
    LOGIN_ATTEMPT,
    LONGEST_WAIT,
    MOST_REFUSED_LOGINS,
    SHORTEST_WAIT,
    TRIAL,
    Breaker,
    Login,
    State,
)

NOW = datetime(2026, 2, 5, 1, 3, 20, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
FIRST, SECOND = (Login("https://dhis2.example.org", "pusher", "f", version) for version in ("v1", "v2"))

CLOSED = Breaker()
DOWN = Breaker(State.DHIS2_DOWN, "DHIS2 is away.", NOW, failures=FAILURES_TO_OPEN)
TRYING = replace(DOWN, state=State.HALF_OPEN)
REFUSED = Breaker(State.LOGIN_REFUSED, "Authentication failed.", NOW, refused=(FIRST,))
STOPPED = Breaker(State.BY_HAND, "DHIS2 is moved.", NOW)

type Event = Callable[[Breaker], Breaker]


def fail(breaker: Breaker) -> Breaker:
    return breaker.failed("DHIS2 is away.", LATER)


def answer(breaker: Breaker) -> Breaker:
    return breaker.answered()


def accept(breaker: Breaker) -> Breaker:
    return breaker.login_accepted(FIRST)


def refuse(breaker: Breaker) -> Breaker:
    return breaker.login_refused(SECOND, "Authentication failed.", LATER)


def stop(breaker: Breaker) -> Breaker:
    return breaker.opened_by_hand("DHIS2 is moved.", LATER)


def go_on(breaker: Breaker) -> Breaker:
    return breaker.closed_by_hand()


def try_one(breaker: Breaker) -> Breaker:
    return breaker.tried(LATER)


@pytest.mark.parametrize(
    ("before", "event", "state"),
    [
        (CLOSED, fail, State.CLOSED),
        (replace(CLOSED, failures=FAILURES_TO_OPEN - 1), fail, State.DHIS2_DOWN),
        (CLOSED, refuse, State.LOGIN_REFUSED),
        (CLOSED, stop, State.BY_HAND),
        (CLOSED, answer, State.CLOSED),
        (CLOSED, accept, State.CLOSED),
        (CLOSED, go_on, State.CLOSED),
        (CLOSED, try_one, State.CLOSED),
        (DOWN, fail, State.DHIS2_DOWN),
        (DOWN, accept, State.HALF_OPEN),
        (DOWN, answer, State.CLOSED),
        (DOWN, refuse, State.LOGIN_REFUSED),
        (DOWN, stop, State.BY_HAND),
        (DOWN, go_on, State.DHIS2_DOWN),
        (DOWN, try_one, State.DHIS2_DOWN),
        (TRYING, fail, State.DHIS2_DOWN),
        (TRYING, accept, State.HALF_OPEN),
        (TRYING, answer, State.CLOSED),
        (TRYING, refuse, State.LOGIN_REFUSED),
        (TRYING, stop, State.BY_HAND),
        (TRYING, go_on, State.HALF_OPEN),
        (REFUSED, fail, State.LOGIN_REFUSED),
        (REFUSED, accept, State.CLOSED),
        (replace(REFUSED, failures=FAILURES_TO_OPEN), accept, State.HALF_OPEN),
        # A push that was under way with another login says nothing of this one.
        (REFUSED, answer, State.LOGIN_REFUSED),
        (REFUSED, refuse, State.LOGIN_REFUSED),
        (REFUSED, stop, State.BY_HAND),
        (REFUSED, go_on, State.LOGIN_REFUSED),
        (STOPPED, fail, State.BY_HAND),
        (STOPPED, answer, State.BY_HAND),
        (STOPPED, accept, State.BY_HAND),
        (STOPPED, refuse, State.BY_HAND),
        (STOPPED, go_on, State.CLOSED),
        (replace(STOPPED, failures=FAILURES_TO_OPEN), go_on, State.HALF_OPEN),
    ],
)
def test_states(before: Breaker, event: Event, state: State) -> None:
    assert event(before).state is state


def test_age_from_first_failure() -> None:
    breaker = CLOSED
    for minute in range(FAILURES_TO_OPEN):
        breaker = breaker.failed("DHIS2 is away.", NOW + timedelta(minutes=minute))
    for _ in range(3):
        breaker = breaker.login_accepted(FIRST).tried(LATER).failed("DHIS2 is away.", LATER)
    assert (breaker.state, breaker.since) == (State.DHIS2_DOWN, NOW)
    assert breaker.answered() == CLOSED


def test_success_resets_the_count() -> None:
    breaker = CLOSED
    for _ in range(3):
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker = breaker.failed("DHIS2 is away.", NOW)
        breaker = breaker.answered()
    assert breaker == CLOSED


def test_one_trial_at_a_time() -> None:
    first = TRYING.tried(NOW)
    assert first.trial_until == NOW + TRIAL
    assert first.tried(NOW + TRIAL - timedelta(seconds=1)) == first
    second = first.tried(NOW + TRIAL)
    assert second.trial_until == NOW + 2 * TRIAL
    # The first, which was only slow, does not end the second.
    assert second.trial_ended(first.trial_until) == second
    assert second.trial_ended(second.trial_until) == TRYING


def test_one_login_at_a_time() -> None:
    first = CLOSED.logging_in(FIRST, NOW)
    assert first.logging_in(SECOND, NOW + LOGIN_ATTEMPT - timedelta(seconds=1)) == first
    second = first.logging_in(SECOND, NOW + LOGIN_ATTEMPT)
    assert second.login_ended(first.login_until) == second
    assert second.login_ended(second.login_until) == CLOSED


def test_refused_until_accepted() -> None:
    both = REFUSED.login_refused(SECOND, "Authentication failed.", LATER)
    assert both.refused == (FIRST, SECOND)
    assert both.logging_in(FIRST, LATER) == both
    other = both.login_accepted(SECOND)
    assert (other.state, other.refused) == (State.CLOSED, (FIRST,))
    assert other.login_accepted(FIRST).refused == ()


def test_refused_logins_bounded() -> None:
    breaker = CLOSED
    for version in range(3 * MOST_REFUSED_LOGINS):
        breaker = breaker.login_refused(replace(FIRST, version=str(version)), "Refused.", NOW)
    assert len(breaker.refused) == MOST_REFUSED_LOGINS
    assert breaker.refused[-1].version == str(3 * MOST_REFUSED_LOGINS - 1)


def test_login_identity() -> None:
    def login(url: str = "https://a", content: str = "mark3d", version: str = "v1") -> Login:
        credentials = Dhis2Credentials.model_validate(
            {"username": "pusher", "password": content, "version": version}
        )
        return Login.of(url, credentials)

    assert login() == login()
    assert len({login(), login(url="https://b"), login(content="other"), login(version="v2")}) == 4
    assert "mark3d" not in repr(login())


@pytest.mark.parametrize(
    ("age", "wait"),
    [
        (timedelta(), SHORTEST_WAIT),
        (timedelta(minutes=1), SHORTEST_WAIT),
        (timedelta(minutes=20), timedelta(minutes=5)),
        (timedelta(hours=4), LONGEST_WAIT),
        (timedelta(days=9), LONGEST_WAIT),
    ],
)
def test_wait_is_a_quarter_of_age(age: timedelta, wait: timedelta) -> None:
    assert DOWN.wait(NOW + age) == wait
    assert CLOSED.wait(NOW + age) == SHORTEST_WAIT


def test_wait_jitter() -> None:
    assert [by_chance(300, chance) for chance in (lambda: 0.0, lambda: 0.5, lambda: 1.0)] == [270, 300, 330]


def test_redeliveries_in_ten_days() -> None:
    chance = random.Random(7)  # noqa: S311 - nothing secret
    put_backs, now = 0, NOW
    while now < NOW + timedelta(days=10):
        put_backs += 1
        now += timedelta(seconds=by_chance(DOWN.wait(now).total_seconds(), chance.random))
    assert 255 <= put_backs <= 275


def test_three_days_of_failing_posts() -> None:
    chance = random.Random(7)  # noqa: S311 - nothing secret
    due, received, trials = dict.fromkeys(range(3), NOW), dict.fromkeys(range(3), 0), 0
    breaker, probe = CLOSED, NOW
    while (now := min(probe, *due.values())) < NOW + timedelta(hours=72):
        if now == probe:
            probe += timedelta(minutes=15)
            breaker = breaker.login_accepted(FIRST) if breaker.state is State.DHIS2_DOWN else breaker
            continue
        message = min(due, key=lambda each: due[each])
        received[message] += 1
        tried = breaker.tried(now)
        if tried.state is State.CLOSED or tried != breaker:
            trials += 1
            breaker = tried.failed("DHIS2 is away.", now)
        due[message] = now + timedelta(seconds=by_chance(breaker.wait(now).total_seconds(), chance.random))
    assert breaker.since == NOW
    assert 50 < trials <= FAILURES_TO_OPEN + 72 * 4
    # The queue allows 400.
    assert max(received.values()) < 110


# Laws


@dataclass
class History:
    """A breaker to which things happen, and what must be true of it."""

    breaker: Breaker = CLOSED
    now: datetime = NOW
    trials: list[datetime] = field(default_factory=list)

    def happen(self, event: str, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        before = self.breaker
        events: dict[str, Callable[[], Breaker]] = {
            "fail": lambda: before.failed("DHIS2 is away.", self.now),
            "answer": before.answered,
            "refuse first": lambda: before.login_refused(FIRST, "Refused.", self.now),
            "refuse second": lambda: before.login_refused(SECOND, "Refused.", self.now),
            "accept first": lambda: before.login_accepted(FIRST),
            "accept second": lambda: before.login_accepted(SECOND),
            "stop": lambda: before.opened_by_hand("Moved.", self.now),
            "go on": before.closed_by_hand,
            "try": lambda: before.tried(self.now),
            "end": lambda: before.trial_ended(before.trial_until),
            "log in": lambda: before.logging_in(SECOND, self.now),
        }
        self.breaker = after = events[event]()
        self.check(event, before, after)

    def check(self, event: str, before: Breaker, after: Breaker) -> None:
        # Who has to be asked before values flow again.
        if before.state is State.BY_HAND and after.state is not State.BY_HAND:
            assert event == "go on"
        if before.state is State.DHIS2_DOWN and after.state is State.CLOSED:
            assert event == "answer"
        if before.state is State.LOGIN_REFUSED and after.state in {State.CLOSED, State.HALF_OPEN}:
            assert event in {"accept first", "accept second"}
        if before.state is State.HALF_OPEN and after.state is State.CLOSED:
            assert event == "answer"
        # A refused login is forgotten only when DHIS2 accepts it.
        forgotten = set(before.refused) - set(after.refused)
        assert forgotten <= {{"accept first": FIRST, "accept second": SECOND}.get(event)}
        # Open breakers say since when and why, and no wait is beyond its bounds.
        if after.state is not State.CLOSED:
            assert after.message
            assert after.since is not None
            assert after.since <= self.now
        assert SHORTEST_WAIT <= after.wait(self.now) <= LONGEST_WAIT
        assert after.wait(self.now) <= max(SHORTEST_WAIT, after.age(self.now) / 4)
        # One message at a time.
        assert after.trial_until is None or after.state is State.HALF_OPEN
        if event == "try" and after != before:
            assert not self.trials or before.trial_until is None or self.now >= self.trials[-1]
            self.trials.append(self.now + TRIAL)


EVENTS = [
    "fail",
    "answer",
    "refuse first",
    "refuse second",
    "accept first",
    "accept second",
    "stop",
    "go on",
    "try",
    "end",
    "log in",
]


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 90)), max_size=40))
def test_any_history(happenings: list[tuple[str, int]]) -> None:
    history = History()
    for event, minutes in happenings:
        history.happen(event, minutes)
    # Nothing is stuck: a person, a login and an answer always bring it back.
    over = history.breaker.closed_by_hand().login_accepted(FIRST).answered()
    assert over.state is State.CLOSED
    assert (over.since, over.failures, over.message) == (None, 0, "")
