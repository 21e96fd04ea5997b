"""A push of a country with faults everywhere: table, log and DHIS2 agree to the last value.

Compute and push work as they are deployed, on moto and the stand-in of DHIS2; this test is Lambda and the queue, so that chance
is the same each time. ``tests/e2e/test_load_and_faults.py`` does the like with the deployed stack, at any size.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from msupply_dhis2.handlers import push as push_on_aws
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.state.breaker import State
from msupply_dhis2.state.ordering import in_flight as in_flight_messages
from msupply_dhis2.state.run import COUNTERS, Outcome, Run
from msupply_dhis2.state.runs import Runs
from sandbox.dhis2 import FaultKind, StandIn, User
from sandbox.sample.generate import generate
from sandbox.sample_world import catalogue_of, metadata_for
from tests.conftest import Aws
from tests.support.functions import Invocation, delivery, invoke
from tests.support.whole_way import NOW, OCTOBER, PASSWORD, World, document

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

STORES = 8
ITEMS = 25
PAYLOAD = 40
SEED = 20

FAULTS = (
    {"kind": FaultKind.STATUS, "status": 500},
    {"kind": FaultKind.STATUS, "status": 502},
    {"kind": FaultKind.STATUS, "status": 503},
    {"kind": FaultKind.STATUS, "status": 504},
    {"kind": FaultKind.CUT},
)


class BreaksOffError(BaseException):
    """Lambda ends a function."""


@dataclass
class Lambda:
    """Hands the queue's messages to push as Lambda does: more than once, and again what is given back."""

    world: World
    chance: random.Random
    fault_rate: float = 0.05
    counted: Counter[str] = field(default_factory=Counter)
    broken_off: int = 0
    faults: int = 0
    delivered_twice: int = 0

    def invoke(self, messages: "list[MessageTypeDef]") -> Invocation | None:
        """Invoke push; ``None`` where it breaks off."""
        try:
            pushed = invoke("push", delivery(messages, self.world.aws.queue_arn), self.world.capsys)
        except BreaksOffError:
            self.broken_off += 1
            return None
        for outcome in ("Stored", "Unchanged", "Rejected", "Unaccounted", "Superseded"):
            self.counted[outcome.lower()] += int(pushed.metric(f"Values{outcome}"))
        return pushed

    def work(self, message: "MessageTypeDef") -> None:
        """Deliver a message, now and then with a fault of DHIS2, and now and then twice."""
        if self.chance.random() < self.fault_rate:
            self.faults += 1
            self.world.dhis2.faults.next(times=1, method="POST", **self.chance.choice(FAULTS))
        twice = self.chance.random() < self.fault_rate
        self.delivered_twice += twice
        done = False
        for _ in range(1 + twice):
            pushed = self.invoke([message])
            done = pushed is not None and pushed.answer == {"batchItemFailures": []}
        queue = {"QueueUrl": self.world.aws.queue_url, "ReceiptHandle": message["ReceiptHandle"]}
        if done:
            self.world.aws.sqs.delete_message(**queue)
        else:
            # Its wait is over at once.
            self.world.aws.sqs.change_message_visibility(**queue, VisibilityTimeout=0)

    def run(self, until_left: int) -> None:
        """Deliver until so many messages are left, or the breaker is open."""
        while (
            self.world.aws.breaker().state in {State.CLOSED, State.HALF_OPEN}
            and self.world.waiting() > until_left
        ):
            answer = self.world.aws.sqs.receive_message(
                QueueUrl=self.world.aws.queue_url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
            for message in answer.get("Messages", ()):
                self.work(message)

    def probe(self) -> str:
        """Run the probe, and return the breaker's state afterwards."""
        return str(invoke("test_connection", {"probe": True}, self.world.capsys).answer["breaker"])


@contextmanager
def breaking_off(chance: random.Random) -> Iterator[None]:
    """End one in fifty invocations between DHIS2's answer and the note of it."""
    settle = Runs.settle

    def settle_or_break_off(*arguments: object, **named: object) -> object:
        if chance.random() < 0.02:
            raise BreaksOffError
        return settle(*arguments, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runs, "settle", settle_or_break_off)
        # A push that broke off is in the air for minutes, which this test does not wait.
        patch.setattr(in_flight_messages, "APPLIED_WITHIN_SECONDS", 0)
        yield


@pytest.fixture
def world(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[World]:
    database = tmp_path / "omsupply.sqlite"
    address = f"sqlite:///{database}"
    generate(address, stores=STORES, items=ITEMS, seed=5, as_of=date(2026, 10, 31), edge_cases=False)
    settings = parse_settings(json.dumps(document("https://dhis2.example.org")))
    user = User(username="pusher", password=SecretStr(PASSWORD))
    push_on_aws.forget_sessions()
    with StandIn(
        metadata_for(catalogue_of(address, settings)), version="2.42", users=[user], now=NOW
    ) as dhis2:
        aws.put_database_address(address)
        aws.put_dhis2_credentials("pusher", PASSWORD)
        it = World(aws, capsys, dhis2, database)
        it.use(only_changes=False, items_per_payload=PAYLOAD)
        yield it
    push_on_aws.forget_sessions()


def run_of(world: World, run_id: str) -> Run:
    run = Runs(world.aws.runs).run(run_id)
    assert run is not None
    return run


@pytest.mark.filterwarnings("ignore:No application metrics")
@pytest.mark.slow
def test_all_counts_agree(world: World) -> None:
    chance = random.Random(SEED)  # noqa: S311 - nothing secret
    answer = world.compute(as_of=OCTOBER["as_of"])
    number = world.waiting()
    assert number == answer["batches"]
    it = Lambda(world, chance)

    with breaking_off(chance):
        it.run(until_left=2 * number // 3)
        # DHIS2 is restarted.
        world.dhis2.faults.next(FaultKind.STATUS, times=None, status=503)
        it.run(until_left=0)
        assert it.probe() == State.DHIS2_DOWN
        world.dhis2.faults.clear()
        assert it.probe() == State.HALF_OPEN
        it.run(until_left=number // 3)
        # Somebody enters a wrong password.
        world.aws.put_dhis2_credentials("pusher", "wrong")
        it.run(until_left=0)
        assert it.probe() == State.LOGIN_REFUSED
        world.aws.put_dhis2_credentials("pusher", PASSWORD)
        assert it.probe() == State.CLOSED
        it.run(until_left=0)

    counts = run_of(world, answer["run_id"]).counts
    assert world.waiting() == 0
    assert counts.waiting == counts.dead == 0
    assert counts.queued == counts.stored + counts.unchanged == answer["values"]
    assert len(world.values()) == answer["values"]
    assert {outcome: each for outcome, each in it.counted.items() if each} == {
        outcome: getattr(counts, outcome) for outcome in COUNTERS[2:] if getattr(counts, outcome)
    }
    assert run_of(world, answer["run_id"]).outcome is Outcome.COMPLETE
    assert it.broken_off
    assert it.faults
    assert it.delivered_twice
    # A push without any fault finds every value as it sends it.
    held = world.values()
    again = world.compute(as_of="2026-11-03T12:00")
    Lambda(world, chance, fault_rate=0.0).run(until_left=0)
    assert run_of(world, again["run_id"]).counts.unchanged == again["values"] == len(held)
    assert world.values() == held
