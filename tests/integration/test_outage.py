"""While DHIS2 is down the queue is paused, by itself resumed, and no message is used up."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from msupply_dhis2.aws import clients
from msupply_dhis2.handlers import probe as probe_on_aws
from msupply_dhis2.handlers import push as push_on_aws
from msupply_dhis2.state.connections import written_in
from msupply_dhis2.state.logins import Refusal, read_refusal
from msupply_dhis2.state.outages import ENOUGH_FAILURES, note_outage, read_outage
from msupply_dhis2.state.run import Counts, Outcome
from msupply_dhis2.state.runs import Runs
from sandbox.dhis2 import FaultKind
from tests.conftest import Aws
from tests.integration.test_dead_letters import buried, deliver, is_done, kept, take, the_run
from tests.support.functions import Invocation, delivery, invoke
from tests.support.whole_way import PASSWORD, World, whole_way

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table
    from mypy_boto3_sqs.type_defs import MessageTypeDef


@pytest.fixture
def world(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[World]:
    with whole_way(aws, capsys, tmp_path) as it:
        it.use(only_changes=False, items_per_payload=10)
        yield it


@dataclass
class Clock:
    """Stands in for the class whose ``now`` is the clock."""

    instant: datetime

    def now(self, tz: tzinfo) -> datetime:
        return self.instant.astimezone(tz)


def go_down(world: World, status: int = 503, method: str | None = None) -> None:
    world.dhis2.faults.next(
        FaultKind.STATUS, times=None, status=status, **({"method": method} if method else {})
    )


def push(world: World, message: "MessageTypeDef") -> Invocation:
    return invoke("push", delivery([message], world.aws.queue_arn), world.capsys)


def probe(world: World) -> Invocation:
    return invoke("test_connection", {"probe": True}, world.capsys)


def test_a_three_day_outage_ends_with_every_value_in_place_and_no_message_dead(world: World) -> None:
    answer = world.compute()
    messages = take(world)
    assert len(messages) > 10
    for message in messages[:5]:
        assert is_done(push(world, message))
    go_down(world)
    tried = 0
    for message in messages[5:]:
        # A paused queue gives push no messages.
        if not world.aws.is_paused():
            tried += 1
            assert not is_done(push(world, message))
    assert tried == ENOUGH_FAILURES
    for _ in range(3 * 24 * 4):
        assert world.aws.is_paused()
        probed = probe(world)
        assert probed.answer["paused"]
    assert probed.metric("QueuePaused") == 1
    assert "DHIS2 is down" in probed.answer["message"]

    world.dhis2.faults.clear()
    resumed = probe(world)
    assert not resumed.answer["paused"]
    assert not world.aws.is_paused()
    for message in messages[5:]:
        assert is_done(deliver(world, message, delivered=2, age=timedelta(days=3)))
        assert read_outage(world.aws.table) is None

    run = the_run(world)
    assert run.counts == Counts(queued=answer["values"], stored=answer["values"])
    assert run.outcome is Outcome.COMPLETE
    assert len(world.values()) == answer["values"]
    assert (buried(world), kept(world)) == ([], [])


def test_the_pause_is_told_once_with_since_when_why_and_what_comes(world: World) -> None:
    world.compute()
    messages = take(world)
    go_down(world)
    pushes = [push(world, message) for message in messages[:ENOUGH_FAILURES]]
    lines = [line for each in pushes for line in each.said("the queue is paused and the values wait")]
    assert len(lines) == sum(each.metric("OutagesNoted") for each in pushes) == 1
    assert lines[0]["level"] == "ERROR"
    assert "within 15 minutes after DHIS2 answers again" in lines[0]["message"]
    report = invoke("test_connection", {}, world.capsys).answer
    (check,) = (check for check in report["checks"] if check["name"] == "queue")
    assert not check["ok"]
    assert "DHIS2 is down" in check["message"]
    world.dhis2.faults.clear()
    report = invoke("test_connection", {}, world.capsys).answer
    (check,) = (check for check in report["checks"] if check["name"] == "queue")
    assert check["ok"]
    assert not world.aws.is_paused()


@pytest.mark.parametrize("status", [500, 504])
def test_what_the_message_itself_may_be_the_cause_of_pauses_nothing(world: World, status: int) -> None:
    world.compute()
    messages = take(world)
    go_down(world, status, "POST")
    for message in messages[:5]:
        assert not is_done(push(world, message))
    assert not world.aws.is_paused()


def test_one_success_in_between_begins_the_count_anew(world: World) -> None:
    world.compute()
    failing, *others = take(world)
    for other in others[:3]:
        go_down(world)
        for _ in range(ENOUGH_FAILURES - 1):
            push(world, failing)
        world.dhis2.faults.clear()
        assert is_done(push(world, other))
        assert read_outage(world.aws.table) is None
    assert not world.aws.is_paused()


def test_a_push_that_gets_through_after_a_deployment_has_resumed_the_queue_ends_the_pause(
    world: World,
) -> None:
    world.compute()
    messages = take(world)
    go_down(world)
    for message in messages[:ENOUGH_FAILURES]:
        push(world, message)
    world.aws.lambda_.update_event_source_mapping(UUID=world.aws.mapping, Enabled=True)
    push(world, messages[3])
    assert world.aws.is_paused(), "it is still down"
    world.aws.lambda_.update_event_source_mapping(UUID=world.aws.mapping, Enabled=True)
    world.dhis2.faults.clear()
    assert is_done(push(world, messages[3]))
    assert read_outage(world.aws.table) is None
    assert not world.aws.is_paused()


def test_where_another_push_gets_through_while_the_queue_is_being_paused_it_is_not_left_paused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.compute()
    messages = take(world)
    go_down(world)
    for message in messages[: ENOUGH_FAILURES - 1]:
        push(world, message)

    def note_and_be_overtaken(*arguments: object) -> object:
        noted = note_outage(*arguments)  # type: ignore[arg-type]
        clients.table("stack").delete_item(Key={"id": "outage"})
        return noted

    monkeypatch.setattr(push_on_aws, "note_outage", note_and_be_overtaken)
    push(world, messages[5])
    assert not world.aws.is_paused()


def test_three_days_in_which_dhis2_lets_us_in_but_takes_no_values_use_no_message_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.compute()
    message, *others = take(world)
    go_down(world, method="POST")
    clock = Clock(datetime.now(UTC))
    monkeypatch.setattr(probe_on_aws, "datetime", clock)
    deliveries = 0
    for _ in range(ENOUGH_FAILURES):
        deliveries += 1
        assert not is_done(deliver(world, message, delivered=deliveries))
    assert world.aws.is_paused()
    for _ in range(3 * 24 * 4):
        clock.instant += timedelta(minutes=15)
        probed = probe(world)
        if not probed.answer["paused"]:
            # All that waits is one message: it is delivered as often as the queue is resumed.
            deliveries += 1
            assert not is_done(deliver(world, message, delivered=deliveries))
            assert world.aws.is_paused(), "one failure is enough now"
    assert "took no values" in probed.answer["message"]
    assert ENOUGH_FAILURES + 5 < deliveries < push_on_aws.LAST_DELIVERY
    assert buried(world) == []

    # Whoever has mended it need not wait so long.
    world.dhis2.faults.clear()
    assert invoke("test_connection", {}, world.capsys).answer["connected"]
    assert not world.aws.is_paused()
    for each in (message, *others):
        assert is_done(deliver(world, each, delivered=deliveries))
    assert read_outage(world.aws.table) is None


def test_after_a_trial_in_vain_it_is_said_when_the_next_one_is(world: World) -> None:
    world.compute()
    messages = take(world)
    go_down(world, method="POST")
    for message in messages[:ENOUGH_FAILURES]:
        push(world, message)
    assert not probe(world).answer["paused"]
    (line,) = push(world, messages[0]).said("the queue is paused and the values wait")
    outage = read_outage(world.aws.table)
    assert outage is not None
    assert outage.next_trial is not None
    assert f"on trial at {outage.next_trial:%Y-%m-%d %H:%M} UTC" in line["message"]
    assert "after DHIS2 answers again" not in line["message"]
    go_down(world)
    report = invoke("test_connection", {}, world.capsys).answer
    (check,) = (check for check in report["checks"] if check["name"] == "queue")
    assert f"on trial at {written_in(outage.next_trial, ZoneInfo('Pacific/Auckland'))}" in check["message"]
    assert "after DHIS2 answers again" not in check["message"]


def test_the_first_outage_after_a_trial_that_went_well_is_noticed_like_any_other(world: World) -> None:
    world.compute()
    messages = take(world)
    go_down(world, method="POST")
    for message in messages[:ENOUGH_FAILURES]:
        push(world, message)
    world.dhis2.faults.clear()
    assert not probe(world).answer["paused"]
    assert is_done(push(world, messages[0]))
    go_down(world, method="POST")
    for message in messages[1:ENOUGH_FAILURES]:
        push(world, message)
    assert not world.aws.is_paused()
    push(world, messages[1])
    assert world.aws.is_paused()
    assert not probe(world).answer["paused"], "it is tried at once"


def test_a_push_that_was_held_up_does_not_pause_the_queue_again_after_the_probe_has_resumed_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.compute()
    first, second, *_ = take(world)
    world.aws.put_dhis2_credentials("pusher", "wrong")
    assert not is_done(push(world, first))
    assert world.aws.is_paused()

    def read_and_be_overtaken(table: "Table") -> Refusal | None:
        refusal = read_refusal(table)
        monkeypatch.setattr(push_on_aws, "read_refusal", read_refusal)
        # Meanwhile the password is corrected.
        world.aws.put_dhis2_credentials("pusher", PASSWORD)
        assert not probe(world).answer["paused"]
        return refusal

    monkeypatch.setattr(push_on_aws, "read_refusal", read_and_be_overtaken)
    assert not is_done(push(world, second))
    # Nobody would resume it: nothing is remembered for which it is paused.
    assert not world.aws.is_paused()
    assert is_done(push(world, second))


def test_a_message_that_brings_the_server_down_each_time_is_buried_in_the_end(world: World) -> None:
    world.compute()
    (message, *_) = take(world)
    go_down(world)
    for delivered in range(1, push_on_aws.LAST_DELIVERY + 1):
        done = is_done(deliver(world, message, delivered=delivered))
        assert done == (delivered == push_on_aws.LAST_DELIVERY)
    assert Runs(world.aws.runs).run(the_run(world).run_id) is not None
    assert the_run(world).counts.dead > 0
    assert len(buried(world)) == 1
