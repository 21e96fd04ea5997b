"""A country pushed by the deployed stack while everything goes wrong: table, log and DHIS2 agree to the last value.

``make load`` runs it at the size of a nation.
"""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import psutil
import pytest
from pydantic import SecretStr

from msupply_dhis2.compute.event import parse_compute_event
from msupply_dhis2.compute.job import ComputeJob
from msupply_dhis2.compute.sharding import whole_run
from msupply_dhis2.compute.values import OrgUnitValues
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.settings.credentials import parse_database_address
from msupply_dhis2.source import open_source
from msupply_dhis2.state.run import COUNTERS, Outcome, Run
from msupply_dhis2.state.runs import Runs
from sandbox.dhis2 import FaultKind
from sandbox.dhis2.call import Call
from sandbox.dhis2.server import Request
from sandbox.sample_world import TIME_ZONE
from tests.support.waiting import STILL_SECONDS

if TYPE_CHECKING:
    from tests.e2e.conftest import World
else:
    World = Any

IS_LARGE = "LOAD_STORES" in os.environ
PAYLOAD = int(os.environ.get("LOAD_PAYLOAD", "10"))
SEED = int(os.environ.get("LOAD_SEED", "20"))
SHARE = 0.05
"""Of the calls of DHIS2 that fail, and of the messages that are on the queue twice."""
BREAKS_OFF = 0.02 if IS_LARGE else 0.2
"""The share of the calls with values after which push's process is killed before it has the answer."""
MOST_BROKEN_OFF = 1_000 if IS_LARGE else 2
"""Each takes a minute and a half until it comes again."""

FAULTS = (
    {"kind": FaultKind.STATUS, "status": 500},
    {"kind": FaultKind.STATUS, "status": 502},
    {"kind": FaultKind.STATUS, "status": 503},
    {"kind": FaultKind.STATUS, "status": 504, "after_import": True},
    {"kind": FaultKind.CUT},
)

PUSH_TIME_OUT_SECONDS = 90
"""Lambda's limit for push: what was being sent when push broke off may land for so long. 300 in the template."""
HIDDEN_SECONDS = PUSH_TIME_OUT_SECONDS + 5
"""So long the queue hides a message that push broke off with: six times the limit in the template."""
STILL_FOR_SECONDS = 600.0
"""So long nothing may move before the push is given up; a message waits for minutes when it has failed often."""

MONTH = {"manual": True, "basis": "previous_month"}


@dataclass
class Trouble:
    """What goes wrong, while the stack pushes what compute has put on its queue."""

    world: World
    chance: random.Random
    killed: list[int] = field(default_factory=list)
    delivered_twice: int = 0

    def faults(self) -> None:
        """Let DHIS2 fail at a share of all its calls from now on, in each way alike."""
        self.world.dhis2.faults.clear()
        for number, fault in enumerate(FAULTS):
            # Each is asked only about what those before it have let through.
            share = SHARE / len(FAULTS) / (1 - number * SHARE / len(FAULTS))
            self.world.dhis2.faults.next(times=None, share=share, **fault)  # type: ignore[arg-type]

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """End push now and then when DHIS2 has stored its values, and before it learns of that."""

        def break_off(call: Call, noted: Request) -> None:
            if not noted.values or noted.status not in {200, 409} or len(self.killed) >= MOST_BROKEN_OFF:
                return
            if self.chance.random() < BREAKS_OFF:
                process = _process_with_port(call.port)
                if process is not None:
                    process.kill()
                    process.wait()
                    self.killed.append(process.pid)

        self.world.dhis2.before_answer = break_off
        try:
            yield
        finally:
            self.world.dhis2.before_answer = None

    def deliver_twice(self, batches: int) -> None:
        """Put a share of the messages on the queue once more, as they are; the queue is paused meanwhile."""
        sqs = self.world.emulator.stack.client("sqs")
        queue = {"QueueUrl": self.world.emulator.stack.resource("BatchQueue")}
        held: list[str] = []
        for _ in range(batches):
            (message,) = sqs.receive_message(**queue, MessageAttributeNames=["All"])["Messages"]
            held.append(message["ReceiptHandle"])
            if self.chance.random() < SHARE:
                sqs.send_message(
                    **queue,
                    MessageBody=message["Body"],
                    MessageAttributes=message.get("MessageAttributes", {}),
                )
                self.delivered_twice += 1
        for receipt in held:
            sqs.change_message_visibility(**queue, ReceiptHandle=receipt, VisibilityTimeout=0)


def _process_with_port(port: int) -> psutil.Process | None:
    """Find the process, of those that the emulator runs functions in, which has this end of a connection."""
    for process in psutil.Process().children(recursive=True):
        try:
            if any(connection.laddr.port == port for connection in process.net_connections("tcp")):
                return process
        except psutil.NoSuchProcess:
            continue
    return None


@dataclass
class Load:
    """A run on its way through the deployed stack."""

    world: World
    run_id: str
    as_of: str

    @property
    def run(self) -> Run:
        """The run as the table holds it."""
        run = Runs(self.world.emulator.stack.table("RunsTable")).run(self.run_id)
        assert run is not None
        return run

    def probe(self) -> bool:
        """Run the probe; tell whether the breaker is open afterwards."""
        answer = self.world.emulator.stack.invoke("TestConnectionFunction", {"probe": True})
        return str(answer["breaker"]).startswith("open")

    def look_after(self) -> bool:
        """Run the probe, and where it leaves the breaker open test the connection; tell whether it still is."""
        if self.probe():
            self.world.emulator.stack.invoke("TestConnectionFunction", {})
        return self.world.is_paused

    def resume(self) -> None:
        """Have values sent again now that DHIS2 is back; a fault may strike that too."""
        self.until(lambda: not self.look_after(), "the breaker was not closed")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait as long as anything moves."""
        before, since = None, time.monotonic()
        while not condition():
            now = self.run.counts, len(self.world.dhis2.requests)
            if now != before:
                before, since = now, time.monotonic()
            assert time.monotonic() < since + STILL_FOR_SECONDS, f"in vain: {what}; {now[0].sentence()}"
            time.sleep(0.2)

    def until_waiting(self, share: float) -> None:
        """Wait until so large a share of the values is left on the queue."""

        def is_done() -> bool:
            if self.world.is_paused:
                # Three faults in a row are an outage, as far as push can tell.
                self.look_after()
            return self.run.counts.waiting <= share * self.run.counts.queued

        self.until(is_done, f"more than {share:.0%} are waiting")

    def until_ended(self) -> Run:
        """Wait until the run's last line is written and nothing is left on the queue."""
        self.until_waiting(0)
        depth = self.world.emulator.stack.depth
        self.until(
            lambda: self.run.outcome is not None and depth("BatchQueue").is_empty, "the run did not end"
        )
        return self.run


def compute_with(world: World) -> Load:
    """Have the stack compute, in shards where it is much."""
    answer = world.emulator.stack.invoke("ComputeFunction", MONTH)
    assert answer["status"] in {"sent", "planned"}, answer["message"]
    load = Load(world, answer["run_id"], answer["as_of"])
    load.until(lambda: load.run.parts_open == 0, "not everything was computed")
    assert load.run.parts_failed == 0
    return load


def computed(world: World, as_of: str) -> list[DataValue]:
    """Compute the same values here, from the same database."""
    settings = parse_settings(world.settings)
    calendar = Calendar(ZoneInfo(TIME_ZONE))
    values: list[DataValue] = []

    def keep(computed: OrgUnitValues, _: int) -> None:
        values.extend(computed.values)

    ComputeJob(
        settings=settings,
        calendar=calendar,
        open_database=lambda: open_source(
            parse_database_address(world.database.address),
            calendar=calendar,
            trust=settings.database_trust,
        ),
        watch=keep,
    ).run(whole_run(parse_compute_event({**MONTH, "dry_run": True}), datetime.fromisoformat(as_of)))
    return values


def counted_in_the_log(world: World, since: datetime) -> dict[str, int]:
    """Add up push's metrics of single values, which are lines of its log."""
    total: Counter[str] = Counter()
    pages = world.emulator.stack.client("logs").get_paginator("filter_log_events")
    group = world.emulator.stack.resource("PushLogGroup")
    for page in pages.paginate(logGroupName=group, startTime=int(since.timestamp() * 1000)):
        for event in page["events"]:
            if '"_aws"' in event["message"]:
                line = json.loads(event["message"])
                for outcome in COUNTERS[2:]:
                    name = f"Values{outcome.title().replace('_', '')}"
                    total[outcome] += int(sum(line.get(name, ())))
    return {outcome: number for outcome, number in total.items() if number}


def outcomes_in_the_table(run: Run) -> dict[str, int]:
    return {outcome: getattr(run.counts, outcome) for outcome in COUNTERS[2:] if getattr(run.counts, outcome)}


@pytest.fixture
def soon_again(world: World) -> Iterator[None]:
    """Have what push broke off with come again in a minute and a half, not in half an hour."""
    sqs, functions = world.emulator.stack.client("sqs"), world.emulator.stack.client("lambda")
    queue = {"QueueUrl": world.emulator.stack.resource("BatchQueue")}
    function = {"FunctionName": world.emulator.stack.resource("PushFunction")}
    hidden = sqs.get_queue_attributes(**queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    limit = functions.get_function_configuration(**function)["Timeout"]
    sqs.set_queue_attributes(**queue, Attributes={"VisibilityTimeout": str(HIDDEN_SECONDS)})
    functions.update_function_configuration(**function, Timeout=PUSH_TIME_OUT_SECONDS)
    yield
    functions.update_function_configuration(**function, Timeout=limit)
    sqs.set_queue_attributes(**queue, Attributes=hidden)


@pytest.mark.usefixtures("soon_again")
def test_all_counts_agree(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    began = datetime.now(UTC)
    small = parse_settings(world.settings).model_copy(update={"items_per_payload": PAYLOAD})
    world.emulator.put_settings(small.compact())
    trouble = Trouble(world, random.Random(SEED))  # noqa: S311 - nothing secret
    world.dhis2.faults.chance.seed(SEED)
    # Nothing is pushed before some messages are on the queue twice.
    world.switch(on=False)
    load = compute_with(world)
    queued = load.run
    trouble.deliver_twice(queued.batches)
    trouble.faults()

    with trouble.breaking_off():
        world.switch(on=True)
        load.until_waiting(2 / 3)
        # DHIS2 is restarted.
        world.dhis2.faults.next(FaultKind.RESTART, times=None)
        load.until(lambda: world.is_paused, "the breaker did not open while DHIS2 was down")
        assert load.probe()
        trouble.faults()
        load.resume()
        load.until_waiting(1 / 3)
        # Somebody enters a wrong password.
        world.emulator.put_secret("Dhis2Secret", world.login_with(SecretStr("mistyped")))
        load.until(
            lambda: world.failed_logins > 0 and world.is_paused, "the breaker did not open for the password"
        )
        # Nobody fixes it while push still has it in its hands.
        time.sleep(STILL_SECONDS)
        assert load.probe()
        world.emulator.put_secret("Dhis2Secret", world.login)
        load.resume()
        run = load.until_ended()

    assert run.outcome is Outcome.COMPLETE
    assert run.counts.queued == run.counts.stored + run.counts.unchanged == queued.counts.queued
    assert counted_in_the_log(world, began) == outcomes_in_the_table(run)
    values = computed(world, load.as_of)
    assert len(values) == len(world.dhis2.values) == run.counts.queued
    assert [value for value in values if value.value != held_by_dhis2(world, value)] == []
    assert world.failed_logins == 1
    assert trouble.killed
    assert trouble.delivered_twice
    failed = [request for request in world.dhis2.requests if request.status is None or request.status >= 500]
    assert failed
    calls = len(world.dhis2.requests)

    # A push without any fault finds every value as it sends it.
    world.dhis2.faults.clear()
    quiet = datetime.now(UTC)
    undisturbed = compute_with(world).until_ended()
    assert undisturbed.counts.unchanged == undisturbed.counts.queued == len(values)
    assert counted_in_the_log(world, quiet) == outcomes_in_the_table(undisturbed)
    with capsys.disabled():
        if IS_LARGE:
            print(  # noqa: T201 - for whoever runs make load
                f"\n{len(values):,} values in {queued.batches:,} messages, {trouble.delivered_twice} of them "
                f"delivered twice; {calls:,} calls to DHIS2, {len(failed):,} of them failed; push killed "
                f"{len(trouble.killed)} times after DHIS2 had stored its values; a restart, a wrong password "
                f"({world.failed_logins} failed login): {run.counts.sentence()}. Table, log and DHIS2 agree. "
                f"{(quiet - began).total_seconds() / 60:.0f} minutes; undisturbed "
                f"{(datetime.now(UTC) - quiet).total_seconds() / 60:.0f}: {undisturbed.counts.sentence()}."
            )


def held_by_dhis2(world: World, value: DataValue) -> str | None:
    """Return what DHIS2 holds; yes and no as mSupply's 1 and 0."""
    held = world.dhis2.value(
        value.data_element,
        value.org_unit,
        value.period,
        value.key.category_option_combo,
        value.key.attribute_option_combo,
    )
    return {"true": "1", "false": "0"}.get(held or "", held)
