"""While DHIS2 is down, refuses the login or is left alone by hand, values wait and none is lost; then they flow again by themselves.

Days pass here in seconds: the functions' clock is moved, and so is that of the queue. Where hours are all alike they are
skipped; how often a message is put back meanwhile, the unit tests of the breaker count.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from moto.backends import get_backend

from msupply_dhis2.errors import EventError
from msupply_dhis2.handlers import invocation, orders, push_batch
from msupply_dhis2.handlers import push as push_on_aws
from msupply_dhis2.handlers import test_connection as test_on_aws
from msupply_dhis2.state.breaker import FAILURES_TO_OPEN, Breaker, State
from msupply_dhis2.state.ordering.in_flight import InFlightMessages
from msupply_dhis2.state.run import Counts, Outcome
from sandbox.dhis2 import FaultKind
from tests.conftest import Aws
from tests.integration.handlers.test_dead_letters import in_queue, the_run
from tests.support.breaking_off import BreaksOffError
from tests.support.functions import Invocation, delivery, invoke
from tests.support.whole_way import PASSWORD, World, whole_way

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

PROBE = {"probe": True}
EACH_PROBE = timedelta(minutes=15)


@dataclass
class Country:
    """A stack whose clock is moved by the test, and what its functions said."""

    world: World
    instant: datetime = field(default_factory=lambda: datetime.now(UTC))
    pushes: list[Invocation] = field(default_factory=list)
    probes: list[Invocation] = field(default_factory=list)

    def now(self, tz: tzinfo) -> datetime:
        """Stand in for the class whose ``now`` is the clock."""
        return self.instant.astimezone(tz)

    @property
    def breaker(self) -> Breaker:
        return self.world.aws.breaker()

    def is_closed(self) -> bool:
        return self.breaker.state is State.CLOSED

    def let_pass(self, duration: timedelta, *, with_probes: bool = True) -> None:
        """Let time pass: what can be seen on the queue is delivered, and the probe looks every quarter of an hour."""
        end, next_probe = self.instant + duration, self.instant + EACH_PROBE
        while True:
            self.deliver()
            due = [self.instant + wait for wait in self._waits()]
            following = min([*due, end, *([next_probe] if with_probes else [])])
            self._move(following - self.instant)
            if following == end:
                return
            if with_probes and following == next_probe:
                self.probes.append(invoke("test_connection", PROBE, self.world.capsys))
                next_probe += EACH_PROBE

    def skip(self, duration: timedelta) -> None:
        """Let time pass in which nothing else would happen than before; what waits can be seen then."""
        self._move(duration)

    def deliver(self) -> None:
        """Deliver what can be seen now, each message once."""
        for message in self.world.aws.messages():
            self.push(message)

    def push(self, message: "MessageTypeDef") -> Invocation:
        pushed = invoke("push", delivery([message], self.world.aws.queue_arn), self.world.capsys)
        self.pushes.append(pushed)
        if not pushed.answer["batchItemFailures"]:
            self.world.aws.sqs.delete_message(
                QueueUrl=self.world.aws.queue_url, ReceiptHandle=message["ReceiptHandle"]
            )
        return pushed

    def ask(self, function: str, event: object) -> Invocation:
        return invoke(function, event, self.world.capsys)

    def said(self, words: str) -> list[dict[str, Any]]:
        return [line for each in (*self.pushes, *self.probes) for line in each.said(words)]

    def received(self) -> list[int]:
        """Return how often each message that is on the queue was received."""
        return [message.approximate_receive_count for message in self._messages()]

    def _messages(self) -> list[Any]:
        queue = get_backend("sqs")["123456789012"]["us-east-1"].queues["stack-batches"]
        return list(queue._messages)  # noqa: SLF001 - a queue cannot be told the time

    def waits_as_told(self) -> bool:
        """Return whether each message waits for no longer than the breaker says, or a tenth more."""
        return max(self._waits()) <= self.breaker.wait(self.instant) * 1.1

    def _waits(self) -> list[timedelta]:
        now = datetime.now(UTC).timestamp() * 1000
        waits = (timedelta(milliseconds=message.visible_at - now) for message in self._messages())
        return [max(wait, timedelta(seconds=1)) for wait in waits]

    def _move(self, duration: timedelta) -> None:
        self.instant += duration
        for message in self._messages():
            message.visible_at -= duration.total_seconds() * 1000


@pytest.fixture
def country(
    aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Country]:
    with whole_way(aws, capsys, tmp_path) as world:
        world.use(only_changes=False, items_per_payload=40)
        it = Country(world)
        for module in (push_on_aws, push_batch, orders, invocation, test_on_aws):
            monkeypatch.setattr(module, "datetime", it)
        yield it


def go_down(country: Country, status: int = 503, method: str | None = None) -> None:
    country.world.dhis2.faults.next(
        FaultKind.STATUS, times=None, status=status, **({"method": method} if method else {})
    )


def check_of_queue(report: Invocation) -> dict[str, Any]:
    (check,) = (check for check in report.answer["checks"] if check["name"] == "queue")
    return dict(check)


def all_is_well(country: Country, answer: dict[str, Any]) -> None:
    """See that every value is in place, and nothing dead."""
    run = the_run(country.world)
    assert run.counts == Counts(queued=answer["values"], stored=answer["values"])
    assert run.outcome is Outcome.COMPLETE
    assert len(country.world.values()) == answer["values"]
    assert in_queue(country.world) == []
    assert country.is_closed()


@pytest.mark.slow
def test_three_day_outage(country: Country) -> None:
    country.world.use(only_changes=False, items_per_payload=40)
    answer = country.world.compute()
    first, *others = country.world.aws.messages()
    country.push(first)
    go_down(country)
    for message in others:
        country.push(message)
    waiting = len(others)
    assert waiting > FAILURES_TO_OPEN
    country.let_pass(timedelta(hours=1))
    assert country.waits_as_told()
    country.skip(timedelta(days=3, hours=-2))
    country.let_pass(timedelta(hours=1))
    assert country.waits_as_told()
    assert country.breaker.state is State.DHIS2_DOWN
    assert all(probe.metric("BreakerOpenMinutes") for probe in country.probes)
    assert country.probes[-1].metric("BreakerOpenMinutes") == pytest.approx(3 * 24 * 60, abs=20)
    # Since DHIS2 lets nobody in nothing is tried; the log tells of it once.
    opened = [line for line in country.said("Sending has been paused") if line["level"] == "ERROR"]
    assert len(opened) == sum(push.metric("BreakerOpened") for push in country.pushes) == 1
    assert "because DHIS2 is down" in opened[0]["message"]
    put_backs = sum(push.metric("BatchesPutBack") for push in country.pushes)
    assert put_backs == pytest.approx(24 * waiting, rel=0.2)
    assert sum(len(push.said("back to the queue")) for push in country.pushes) == FAILURES_TO_OPEN - 1

    country.world.dhis2.faults.clear()
    country.let_pass(EACH_PROBE + timedelta(hours=1.1) * 2)
    all_is_well(country, answer)


@pytest.mark.slow
def test_three_days_of_failing_posts(country: Country) -> None:
    country.world.use(only_changes=False, items_per_payload=150)
    answer = country.world.compute()
    assert answer["batches"] > 1
    go_down(country, method="POST")
    for _ in range(2):
        country.let_pass(timedelta(seconds=35), with_probes=False)
    assert country.breaker.state is State.DHIS2_DOWN
    country.let_pass(timedelta(hours=2))
    country.skip(timedelta(hours=68))
    country.let_pass(timedelta(hours=2))
    posts = country.world.posts()
    # One message at a time is tried, after the probe found that DHIS2 lets us in.
    assert FAILURES_TO_OPEN + 4 <= posts <= FAILURES_TO_OPEN + 4 * 4
    assert country.waits_as_told()
    assert in_queue(country.world) == []

    country.world.dhis2.faults.clear()
    country.let_pass(timedelta(hours=2.5))
    all_is_well(country, answer)


def test_corrected_password(
    country: Country,
) -> None:
    answer = country.world.compute()
    country.world.aws.put_dhis2_credentials("pusher", "wrong")
    country.deliver()
    assert country.breaker.state is State.LOGIN_REFUSED
    refused_at = country.instant
    country.let_pass(timedelta(minutes=20), with_probes=False)
    assert sum(request.status == 401 for request in country.world.dhis2.requests) == 1
    assert country.world.posts() == 0

    country.world.aws.put_dhis2_credentials("pusher", PASSWORD)
    check = check_of_queue(country.ask("test_connection", {}))
    assert check["ok"]
    assert "each is sent within about 5 minutes" in check["message"]
    assert f"{len(country.received())} messages wait" in check["message"]
    assert country.is_closed()
    while not country.world.posts():
        country.let_pass(timedelta(seconds=10), with_probes=False)
    assert country.instant - refused_at <= timedelta(minutes=25)
    country.let_pass(timedelta(minutes=5.5), with_probes=False)
    all_is_well(country, answer)


@pytest.mark.slow
def test_ten_days_then_dead_letter(country: Country) -> None:
    country.world.use(only_changes=False, items_per_payload=500)
    answer = country.world.compute()
    assert answer["batches"] == 1
    country.ask("push", {"breaker": "open", "reason": "DHIS2 is moved"})
    # Neither is needed to wait.
    country.world.aws.ssm.delete_parameter(Name="/stack/settings")
    country.world.aws.secretsmanager.delete_secret(SecretId="stack/dhis2", ForceDeleteWithoutRecovery=True)
    country.let_pass(timedelta(minutes=20), with_probes=False)
    country.skip(timedelta(days=9, hours=22))
    country.let_pass(timedelta(minutes=30), with_probes=False)
    assert in_queue(country.world) == []
    assert country.waits_as_told()
    assert 12 <= country.received()[0] <= 20
    assert country.said("Sending has been paused") == []
    country.let_pass(timedelta(hours=3), with_probes=False)
    assert country.received() == []
    (letter,) = in_queue(country.world)
    reason = str(letter["MessageAttributes"]["reason"]["StringValue"])
    assert "because it was paused by hand: DHIS2 is moved. It waited for 10 days" in reason
    assert the_run(country.world).counts == Counts(queued=answer["values"], dead=answer["values"])


def test_three_failures_open_it(
    country: Country,
) -> None:
    country.world.compute()
    failing, *others = country.world.aws.messages()
    for other in others[:3]:
        go_down(country)
        for _ in range(FAILURES_TO_OPEN - 1):
            country.push(failing)
        country.world.dhis2.faults.clear()
        country.push(other)
        assert country.breaker.failures == 0
    go_down(country)
    for _ in range(FAILURES_TO_OPEN):
        assert country.is_closed()
        country.push(failing)
    assert country.breaker.state is State.DHIS2_DOWN


@pytest.mark.parametrize("status", [500, 504])
def test_message_faults_open_nothing(country: Country, status: int) -> None:
    country.world.compute()
    go_down(country, status, "POST")
    country.deliver()
    assert len(country.pushes) > FAILURES_TO_OPEN
    assert country.breaker == Breaker(version=country.breaker.version)


def half_open(country: Country) -> "list[MessageTypeDef]":
    """Have DHIS2 let us in again after it was down, and return the messages that wait."""
    country.world.compute()
    messages = country.world.aws.messages()
    go_down(country, method="POST")
    for message in messages:
        country.push(message)
    country.ask("test_connection", PROBE)
    assert country.breaker.state is State.HALF_OPEN
    country.world.dhis2.requests.clear()
    return messages


def test_one_trial_closes_it(
    country: Country,
) -> None:
    first, second, *others = half_open(country)
    trial = country.breaker.tried(country.instant)
    country.world.aws.table.update_item(
        Key={"id": "breaker"},
        UpdateExpression="SET trial_until = :until",
        ExpressionAttributeValues={":until": (country.instant + timedelta(seconds=300)).isoformat()},
    )
    assert trial.trial_until == country.breaker.trial_until
    country.push(first)
    assert country.world.dhis2.requests == []
    # Whoever tried it has broken off.
    country.instant += timedelta(seconds=301)
    assert country.push(second).answer["batchItemFailures"]
    assert country.world.posts() == 1
    assert country.breaker.state is State.DHIS2_DOWN
    for message in others:
        country.push(message)
    assert country.world.posts() == 1

    country.world.dhis2.faults.clear()
    country.ask("test_connection", PROBE)
    pushed = country.push(second)
    assert pushed.said("Values are sent again")
    assert country.is_closed()


def test_trial_without_answer(country: Country) -> None:
    first, second, *_ = half_open(country)
    settings = country.world.aws.ssm.get_parameter(Name="/stack/settings")["Parameter"]["Value"]
    country.world.aws.put_settings("use_dhis2: maybe")
    assert country.push(first).said("Use DHIS2 is 'maybe'")
    assert (country.breaker.state, country.breaker.trial_until) == (State.HALF_OPEN, None)
    country.world.aws.put_settings(settings)
    country.world.dhis2.faults.clear()
    country.push(second)
    assert country.is_closed()


def break_off(country: Country, message: "MessageTypeDef") -> None:
    """Have push end while it sends a message; then the time of its mark is over."""

    def end(*_: object, **__: object) -> None:
        raise BreaksOffError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push_batch, "push", end)
        # A process that has ended notes no end.
        patch.setattr(InFlightMessages, "_end", lambda *_: None)
        with pytest.raises(BreaksOffError):
            country.push(message)
    row = country.world.aws.table.get_item(Key={"id": "in-flight"})["Item"]
    marks: Any = {name: {**mark, "until": 0} for name, mark in row.items() if isinstance(mark, dict)}
    assert len(marks) == 1
    country.world.aws.table.put_item(Item=row | marks)


@pytest.mark.filterwarnings("ignore:No application metrics")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_broken_deliveries(
    country: Country,
) -> None:
    answer = country.world.compute()
    message, other, *_ = country.world.aws.messages()
    for _ in range(push_batch.MOST_BROKEN_OFF - 1):
        break_off(country, message)
    # Another message finds the mark as well.
    country.push(other)
    break_off(country, message)
    assert in_queue(country.world) == []
    assert not country.push(message).answer["batchItemFailures"]
    (letter,) = in_queue(country.world)
    assert letter["MessageAttributes"]["status"]["StringValue"] == "BrokeOff"
    assert letter["Body"] == message["Body"]
    # Sent again it has as many as before.
    country.ask("push", {"dead_letters": "redrive"})
    counted = [row["broke_off"] for row in country.world.aws.runs.scan()["Items"] if "broke_off" in row]
    assert counted == [0], "in the row of the message, and nowhere else"
    country.let_pass(timedelta(hours=1))
    all_is_well(country, answer)


# What a person does


def test_paused_by_hand(country: Country) -> None:
    answer = country.world.compute()
    stopped = country.ask("push", {"breaker": "open", "reason": "DHIS2 is moved."})
    assert stopped.answer["breaker"] == "open (by hand)"
    assert (
        "because it was paused by hand: DHIS2 is moved. Send again with: make resume"
        in stopped.answer["message"]
    )
    assert len(stopped.said("Sending has been paused")) == 1
    country.let_pass(timedelta(minutes=20))
    assert country.world.dhis2.requests == []
    (probe,) = country.probes
    assert probe.metric("BreakerOpenMinutes") == pytest.approx(15, abs=1)
    assert probe.said("paused") == []
    # Whether DHIS2 lets us in is another question.
    report = country.ask("test_connection", {})
    assert report.answer["connected"]
    assert not check_of_queue(report)["ok"]
    assert "make resume" in check_of_queue(report)["message"]
    resumed = country.ask("push", {"breaker": "close"})
    assert resumed.answer == {
        "message": "Values are sent again: what waits is delivered within about 5 minutes.",
        "breaker": "closed",
    }
    assert len(resumed.said("Values are sent again")) == 1
    country.let_pass(timedelta(minutes=5.5))
    all_is_well(country, answer)
    assert country.ask("push", {"breaker": "close"}).answer["message"] == "Sending is not paused."


def test_outage_not_closed_by_hand(country: Country) -> None:
    country.world.compute()
    go_down(country)
    country.deliver()
    answered = country.ask("push", {"breaker": "close"})
    assert answered.answer["breaker"] == "open (DHIS2 down)"
    assert "make test-connection" in answered.answer["message"]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"breaker": "ajar"}, "breaker is 'ajar'. It takes one of: open, close."),
        (
            {"breaker": "open", "until": "tomorrow"},
            "until is not a field. The fields are: breaker, reason",
        ),
        ({"Breaker": "opened"}, r"Did you mean open\?"),
        ({"breaker": "open", "reason": "x" * 501}, "reason is longer than 500 characters"),
        ({"breaker": "open", "reason": ""}, "reason is empty"),
    ],
)
def test_unknown_command(country: Country, event: object, words: str) -> None:
    with pytest.raises(EventError, match=words):
        country.ask("push", event)
    assert country.is_closed()
