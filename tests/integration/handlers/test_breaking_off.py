"""Whatever call of AWS fails, and wherever a process ends: tried again, a run's counts and DHIS2's values are right.

Compute, push, becoming a dead letter, the watchdog's walk and redriving are each let come to harm at their first call of AWS, at their second, and so on to the
last. With ``EVERY_HARM=1`` in the environment each is let come to every harm, which takes three times as long.
"""

import csv
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.handlers import push as push_on_aws
from msupply_dhis2.handlers import push_batch, watchdog
from msupply_dhis2.state.run import COUNTERS, Outcome, Run
from msupply_dhis2.state.runs import Runs
from sandbox.dhis2 import FaultKind, ValueKey
from tests.conftest import BUCKET, Aws
from tests.integration.handlers.test_dead_letters import put, show_dead_letters
from tests.support.breaking_off import BreaksOffError, Harm, harm
from tests.support.functions import delivery, invoke
from tests.support.whole_way import OCTOBER, World, whole_way

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

pytestmark = [
    # A function that breaks off has no metrics to publish.
    pytest.mark.filterwarnings("ignore:No application metrics"),
    # What a process that has ended still tries while it unwinds comes to nothing.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
each_harm = pytest.mark.parametrize("how", Harm, ids=lambda how: how.name.lower())
worst_harm = (
    each_harm if "EVERY_HARM" in os.environ else pytest.mark.parametrize("how", [Harm.DEATH], ids=["death"])
)

MOST_ROUNDS = 8
"""So often a message is delivered at most in these tests before it is finished."""


@dataclass
class Country:
    """A world in which something comes to harm, and what DHIS2 holds when all is sent."""

    world: World
    right: dict[ValueKey, str]
    store: str
    chance: random.Random
    harm: tuple[Harm, int] = (Harm.DEATH, 0)
    has_come_to_harm: bool = False

    def events(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield runs about the same month, with the number of the call that is to come to harm, while there is one."""
        for at in count(1):
            self.has_come_to_harm = False
            yield (
                at,
                OCTOBER
                | {
                    "stores": [self.store],
                    "full": True,
                    "as_of": f"2026-11-03T{at // 60:02}:{at % 60:02}:01",
                },
            )
            if not self.has_come_to_harm:
                return

    def let_come_to_harm(self, how: Harm, at: int) -> None:
        """Let the next invocation come to harm at a call."""
        self.harm = how, at

    def invoke(self, function: str, event: dict[str, Any], name: str = "request") -> dict[str, Any] | None:
        """Invoke a function, and give its answer; ``None`` where it broke off or raised."""
        (how, at), self.harm = self.harm, (Harm.DEATH, 0)
        answer: dict[str, Any] | None = None
        with harm(how, at) as harmed:
            try:
                answer = invoke(function, event, self.world.capsys, name).answer
            except (MsupplyDhis2Error, BreaksOffError):
                assert harmed.has_happened
        self.has_come_to_harm = self.has_come_to_harm or harmed.has_happened
        if harmed.is_dead:
            push_on_aws.forget_sessions()
        return answer

    def compute(self, event: dict[str, Any]) -> bool:
        """Compute, and tell whether it was done."""
        answer = self.invoke("compute", event, str(event["as_of"]))
        assert answer is None or answer["status"] == "sent", answer
        return answer is not None

    def push(self, message: "MessageTypeDef", *, delivered: int = 1, age: timedelta = timedelta()) -> bool:
        """Deliver a message, and tell whether it is finished; then it is taken off the queue."""
        attributes: Any = {
            **message["Attributes"],
            "ApproximateReceiveCount": str(delivered),
            "SentTimestamp": str(int((datetime.now(UTC) - age).timestamp() * 1000)),
        }
        again: Any = {**message, "Attributes": attributes}
        is_done = self.invoke("push", delivery([again], self.world.aws.queue_arn)) == {
            "batchItemFailures": []
        }
        if is_done:
            self.world.aws.sqs.delete_message(
                QueueUrl=self.world.aws.queue_url, ReceiptHandle=message["ReceiptHandle"]
            )
        return is_done

    def take(self) -> "list[MessageTypeDef]":
        """Take what can be seen on the queue, in any order."""
        messages = self.world.aws.messages()
        self.chance.shuffle(messages)
        return messages

    def deliver(self, messages: "list[MessageTypeDef]") -> None:
        """Deliver messages, and what else there is on the queue, until all are finished."""
        messages = messages + self.take()
        for delivered in range(2, MOST_ROUNDS):
            messages = [message for message in messages if not self.push(message, delivered=delivered)]
            if not messages:
                return
        pytest.fail("messages come back again and again")

    def die(self, message: "MessageTypeDef") -> bool:
        """Deliver a message after ten days, to a DHIS2 that does not answer, and tell whether it is finished."""
        self.world.dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=504)
        is_done = self.push(message, age=push_on_aws.WAITS_FOR + timedelta(hours=1))
        self.world.dhis2.faults.clear()
        self.wait()
        return is_done

    def redrive(self) -> None:
        """Send all dead letters again, a quarter of an hour after somebody looked at them: so long they are hidden."""
        show_dead_letters()
        self.invoke("push", {"dead_letters": "redrive"})

    def watch(self) -> None:
        """Let the watchdog look, which tells of what comes to harm."""
        show_dead_letters()
        self.invoke("watchdog", {})

    def wait(self) -> None:
        """Let half an hour pass, after which the message of a push that ended is delivered again."""
        for key in ("in-flight", "breaker"):
            self.world.aws.table.delete_item(Key={"id": key})

    def check(self) -> None:
        """See that the last run's row, its file and DHIS2 tell the same, and the truth."""
        run = self.last_run()
        if run.ended_at is None:
            # Where only its end could not be noted it is the watchdog that notes it.
            assert run.is_done, run
            assert self.invoke("watchdog", {}) is not None
            run = self.last_run()
        counts = run.counts
        assert all(getattr(counts, name) >= 0 for name in COUNTERS), counts
        assert counts.waiting == counts.dead == counts.unaccounted == counts.not_sent == 0
        assert counts.rejected > 0
        assert run.outcome is Outcome.WITH_REJECTIONS
        items = self.world.aws.runs.scan()["Items"]
        messages = [
            item for item in items if item["run_id"] == run.run_id and str(item["part"]).startswith("batch#")
        ]
        assert run.batches == len(messages)
        assert counts.queued == sum(int(str(message["values"])) for message in messages)
        assert run.rejected_file == f"s3://{BUCKET}/runs/{run.run_id}/rejected.csv"
        body = self.world.aws.s3.get_object(Bucket=BUCKET, Key=f"runs/{run.run_id}/rejected.csv")["Body"]
        rows = list(csv.DictReader(StringIO(body.read().decode("utf-8-sig"))))
        assert len(rows) == counts.rejected
        assert self.world.values() == self.right

    def last_run(self) -> Run:
        items = self.world.aws.runs.scan()["Items"]
        run = Runs(self.world.aws.runs).run(max(str(item["run_id"]) for item in items))
        assert run is not None
        return run

    def no_dead_letter_is_left(self) -> bool:
        """Tell it of the queue, and of the table."""
        names: Any = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        attributes: Any = self.world.aws.sqs.get_queue_attributes(
            QueueUrl=self.world.aws.dead_letter_queue_url, AttributeNames=names
        )["Attributes"]
        rows = [item for item in self.world.aws.runs.scan()["Items"] if item.get("kind") == "dead letter"]
        return all(attributes[name] == "0" for name in names) and not rows


@pytest.fixture
def country(
    aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Country]:
    monkeypatch.setattr(watchdog, "BEGINNING", timedelta())
    # Nothing is due that the watchdog would miss.
    monkeypatch.setenv("SCHEDULES_STATE", "DISABLED")
    with whole_way(aws, capsys, tmp_path) as world:
        # One item's data elements are not there in DHIS2.
        world.sql(
            "UPDATE item SET universal_code = 'nowhere' WHERE id = (SELECT min(item_id) FROM item_link)"
        )
        world.run(as_of="2026-11-03")
        store = world.sql_value("SELECT code FROM store ORDER BY code LIMIT 1")
        yield Country(world, world.values(), store, random.Random(7))  # noqa: S311 - nothing secret


@worst_harm
@pytest.mark.slow
def test_compute(country: Country, how: Harm) -> None:
    stock = "UPDATE stock_line SET total_number_of_packs = total_number_of_packs + ?"
    for at, event in country.events():
        country.world.sql(stock, +1)
        country.let_come_to_harm(how, at)
        country.compute(event)
        early = country.take()
        if at % 2:
            # What the first attempt left on the queue is sent before the second.
            country.deliver(early)
            early = []
        country.world.sql(stock, -1)
        assert country.compute(event)
        country.deliver(early)
        country.check()
    assert at > 8


@each_harm
@pytest.mark.slow
def test_push(country: Country, how: Harm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_batch, "SUCCESS_NOTED_EVERY", timedelta())
    for at, event in country.events():
        country.compute(event)
        first, *others = country.take()
        country.let_come_to_harm(how, at)
        is_done = country.push(first)
        country.wait()
        country.deliver(others if is_done else [*others, first])
        country.check()
    assert at > 5


@worst_harm
@pytest.mark.slow
def test_dead_letter(country: Country, how: Harm) -> None:
    for at, event in country.events():
        country.compute(event)
        first, *others = country.take()
        country.let_come_to_harm(how, at)
        is_done = country.die(first)
        if not is_done and at % 2:
            others.append(first)
        elif not is_done:
            # It was its last delivery: the queue moves it.
            put(country.world, first, country.world.aws.dead_letter_queue_url)
        country.deliver(others)
        country.redrive()
        country.deliver([])
        country.redrive()
        country.check()
        assert country.no_dead_letter_is_left()
    assert at > 5


@worst_harm
@pytest.mark.slow
def test_redrive(country: Country, how: Harm) -> None:
    for at, event in country.events():
        country.compute(event)
        first, *others = country.take()
        assert country.die(first)
        country.deliver(others)
        country.let_come_to_harm(how, at)
        country.redrive()
        if at % 2:
            country.deliver([])
        country.redrive()
        country.deliver([])
        country.redrive()
        country.check()
        assert country.no_dead_letter_is_left()
    assert at > 5


@worst_harm
@pytest.mark.slow
def test_watchdog(country: Country, how: Harm) -> None:
    for at, event in country.events():
        country.compute(event)
        first, *others = country.take()
        put(country.world, first, country.world.aws.dead_letter_queue_url)
        country.world.aws.sqs.delete_message(
            QueueUrl=country.world.aws.queue_url, ReceiptHandle=first["ReceiptHandle"]
        )
        country.deliver(others)
        country.let_come_to_harm(how, at)
        country.watch()
        country.redrive()
        country.deliver([])
        country.redrive()
        country.check()
        assert country.no_dead_letter_is_left()
    assert at > 5
