"""Order: claims and messages in flight in DynamoDB, and what DHIS2 holds in the end, whatever the order of messages."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from msupply_dhis2.aws import clients
from msupply_dhis2.aws.queues import BatchQueue
from msupply_dhis2.domain.batch import Age, Batch, Message, decode, encode
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import AwsBusyError, InFlightError, SourceError
from msupply_dhis2.handlers import push_batch
from msupply_dhis2.settings import Scheme
from msupply_dhis2.state.ordering import claims as claims_module
from msupply_dhis2.state.ordering import in_flight as in_flight_messages
from msupply_dhis2.state.ordering.claims import UNKNOWN_RUN, OrderingTable, Revision, revisions_of
from msupply_dhis2.state.ordering.in_flight import (
    APPLIED_WITHIN_SECONDS,
    InFlightMessage,
    InFlightMessages,
    org_units_of,
)
from msupply_dhis2.state.run import Counts
from msupply_dhis2.state.runs import Runs, message_key
from sandbox.dhis2 import FaultKind
from tests.conftest import Aws
from tests.support.batches import settings_of, value_of
from tests.support.functions import delivery, invoke
from tests.support.whole_way import OCTOBER, World, whole_way

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

URL = "https://dhis2.example.org"
NOW = datetime(2026, 2, 5, 1, 3, 20, tzinfo=UTC)
MONTH_END = datetime(2026, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def order(aws: Aws, now: datetime = NOW) -> OrderingTable:
    assert aws.queue_url
    return OrderingTable(boto3.resource("dynamodb").Table("stack-order"), now)


def age(days: float = 0, *, snapshot: datetime = MONTH_END) -> Age:
    return Age(NOW + days * DAY, dict.fromkeys(Metric, snapshot))


def claim(aws: Aws, how_new: Age, *values: DataValue) -> None:
    order(aws).claim(values, revisions_of(how_new.snapshots, how_new.read_at), Scheme.UID, "run")


def batch_of(how_new: Age | None, *values: DataValue) -> Batch:
    settings = settings_of(URL, data_element_id_scheme="uid")
    return encode(values, run_id="run", as_of=NOW, destination=settings.destination, age=how_new)


def left_out(aws: Aws, batch: Batch) -> list[int]:
    return sorted(order(aws).superseded(batch, range(len(batch.values))))


# Claims


def test_unclaimed_is_sent(aws: Aws) -> None:
    one, other = value_of("one"), value_of("other", org_unit="OU_1")
    batch = batch_of(age(), one, other)
    assert left_out(aws, batch) == []
    claim(aws, age(), one, other)
    assert left_out(aws, batch) == []
    claim(aws, age(-1), one)
    assert left_out(aws, batch) == []


def test_claimed_is_skipped(aws: Aws) -> None:
    one, two = value_of("one"), value_of("two")
    elsewhere, last_month = value_of("one", org_unit="OU_1"), value_of("one", period="202512")
    other_combo = value_of("one", category_option_combo="combo")
    everything = (one, two, elsewhere, last_month, other_combo)
    claim(aws, age(), *everything)
    # A run that is limited to one item.
    claim(aws, age(7), one)
    assert left_out(aws, batch_of(age(), *everything)) == [0]
    assert left_out(aws, batch_of(age(7), *everything)) == []
    assert left_out(aws, batch_of(None, *everything)) == [0, 1, 2, 3, 4]


def test_later_snapshot_wins(aws: Aws) -> None:
    value = value_of("one")
    claim(aws, age(0, snapshot=MONTH_END), value)
    assert left_out(aws, batch_of(age(30, snapshot=MONTH_END - DAY), value)) == [0]
    assert left_out(aws, batch_of(age(-3, snapshot=MONTH_END + DAY), value)) == []


def test_one_small_item(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    value = value_of("one")
    claim(aws, age(), value)

    def refuse(*_: object) -> None:
        raise AssertionError("the claims were read")

    monkeypatch.setattr(claims_module, "mark_of", refuse)
    assert left_out(aws, batch_of(age(), value)) == []


def test_concurrent_claims(aws: Aws) -> None:
    first, second = value_of("one"), value_of("two")
    slow = order(aws)
    revisions = revisions_of(age(1).snapshots, age(1).read_at)
    read, hurried = slow._read, False  # noqa: SLF001 - another run comes between reading and writing

    def read_and_be_overtaken(rows: "object") -> object:
        nonlocal hurried
        found = read(rows)  # type: ignore[arg-type]
        if not hurried:
            hurried = True
            claim(aws, age(2), second)
        return found

    slow._read = read_and_be_overtaken  # type: ignore[assignment,method-assign]  # noqa: SLF001 - as above
    slow.claim([first], revisions, Scheme.UID, "run")
    assert left_out(aws, batch_of(age(0), first, second)) == [0, 1]


@pytest.mark.parametrize(
    "damage",
    [
        {"claims": b"12345"},
        {"claims": "text"},
        {"claims": 5},
        {"claims": [{"revision": "1-1", "run_id": "run", "marks": b"12345"}]},
        {"claims": [{"revision": "soon", "run_id": "run", "marks": b""}], "version": "a"},
        {"claims": [{}]},
        {},
    ],
)
def test_unreadable_claims(aws: Aws, damage: dict[str, object]) -> None:
    value, elsewhere = value_of("one"), value_of("one", org_unit="OU_1")
    claim(aws, age(), value, elsewhere)
    boto3.resource("dynamodb").Table("stack-order").put_item(
        Item={"period": "202601", "org_unit": "OU_0", **damage}  # type: ignore[dict-item]  # a case
    )
    claims = order(aws)
    older = claims.superseded(batch_of(age(-1), value, elsewhere), range(2))
    # Nobody knows who has claimed it: it may have been the newest run of the period.
    assert {place: each.run_id for place, each in older.items()} == {0: UNKNOWN_RUN, 1: "run"}
    assert "(period, org unit): 202601, OU_0." in claims.faults()[0]
    assert left_out(aws, batch_of(age(), value, elsewhere)) == []
    # Computed again they can be read: what is older stays left out, whoever had claimed it.
    other = value_of("other")
    claim(aws, age(1), value)
    assert left_out(aws, batch_of(age(), value, other)) == [0, 1]
    assert left_out(aws, batch_of(age(1), value, other)) == []
    healed = order(aws)
    healed.superseded(batch_of(age(), value), [0])
    assert healed.faults() == ()


def test_unreadable_newest_stamp(aws: Aws) -> None:
    value = value_of("one")
    claim(aws, age(), value)
    boto3.resource("dynamodb").Table("stack-order").put_item(
        Item={"period": "newest", "org_unit": "202601", "newest": "text"}
    )
    assert left_out(aws, batch_of(age(-1), value)) == [0]
    assert left_out(aws, batch_of(age(), value)) == []


@pytest.mark.parametrize("damage", ["text", 5, {}, {"until": "soon"}, {"until": 10**12, "periods": []}])
def test_unreadable_flight(
    aws: Aws,
    clock: "Clock",
    damage: Any,  # noqa: ANN401 - whatever the table holds
) -> None:
    aws.table.put_item(Item={"id": "in-flight", "message_damaged": damage})
    told: list[str] = []
    with InFlightMessages(
        aws.table, tell=told.append, broke_off=broke_off, clock=clock, sleep=clock.sleep
    ).in_flight(in_flight(2), 300, 0):
        pass
    assert told == [
        "message_damaged in the row in-flight of the stack's table cannot be read, and is taken away."
    ]
    assert "message_damaged" not in aws.table.get_item(Key={"id": "in-flight"})["Item"]


def test_too_many_values(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "MOST_BYTES", 110)
    claims = order(aws)
    revisions = revisions_of(age().snapshots, age().read_at)
    claims.claim(
        [value_of("one"), value_of("two"), value_of("one", org_unit="OU_1")], revisions, Scheme.UID, "run"
    )
    (fault,) = claims.faults()
    assert "OU_0 in 202601" in fault
    assert "OU_1" not in fault


# Flights


def broke_off(run_id: str, message: str) -> None:
    pytest.fail(f"{message} of {run_id} was taken for one that broke off")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.then: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.then:
            self.then.pop(0)()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def held_period(aws: Aws, clock: Clock) -> None:
    """Have DHIS2 hold the period of the messages in flight."""
    with messages_of(aws, clock).in_flight(in_flight(0), 300, 0) as ending:
        ending.held_periods = frozenset({"202601"})


def messages_of(aws: Aws, clock: Clock) -> InFlightMessages:
    return InFlightMessages(aws.table, tell=pytest.fail, broke_off=broke_off, clock=clock, sleep=clock.sleep)


def in_flight(number: int, message: str = "", org_unit: str = "OU_0") -> InFlightMessage:
    revision = Revision(number, 0)
    return InFlightMessage(
        "run-1", message or f"message-{number}", {"202601": (revision, revision)}, org_units_of([org_unit])
    )


@pytest.mark.usefixtures("held_period")
def test_newer_waits(aws: Aws, clock: Clock) -> None:
    older = messages_of(aws, clock).in_flight(in_flight(1), 300, 60)
    older.__enter__()

    def land() -> None:
        older.__exit__(None, None, None)

    clock.then = [lambda: None, land]
    with messages_of(aws, clock).in_flight(in_flight(2), 300, 60):
        assert clock.then == []
        assert clock.now == 1_000_000 + 2 * in_flight_messages.LOOK_AGAIN_SECONDS
        # An older one that takes off now finds what the newer has claimed: it need not wait.
        with messages_of(aws, clock).in_flight(in_flight(1, "another"), 300, 0):
            pass


@pytest.mark.usefixtures("held_period")
def test_other_org_unit(aws: Aws, clock: Clock) -> None:
    with messages_of(aws, clock).in_flight(in_flight(1), 300, 0):
        with messages_of(aws, clock).in_flight(in_flight(2, org_unit="OU_1"), 300, 0):
            pass
        with (
            pytest.raises(InFlightError, match="Older values"),
            messages_of(aws, clock).in_flight(in_flight(2, org_unit="OU_0"), 300, 0),
        ):
            pytest.fail("it flew")


@pytest.mark.usefixtures("held_period")
def test_waiting_too_long(aws: Aws, clock: Clock) -> None:
    with messages_of(aws, clock).in_flight(in_flight(1), 300, 60):
        with (
            pytest.raises(
                InFlightError, match="Older values for the same periods and org units are still being sent"
            ),
            messages_of(aws, clock).in_flight(in_flight(2), 300, 10),
        ):
            pytest.fail("it flew")
        # Nor is it in anybody's way.
        with messages_of(aws, clock).in_flight(in_flight(0), 300, 0):
            pass


def test_two_deliveries(aws: Aws, clock: Clock) -> None:
    with (
        messages_of(aws, clock).in_flight(in_flight(1), 300, 60),
        pytest.raises(InFlightError, match="Another delivery of the same message"),
        messages_of(aws, clock).in_flight(in_flight(1), 300, 60),
    ):
        pytest.fail("it flew")
    with messages_of(aws, clock).in_flight(in_flight(1), 300, 60):
        pass


OTHER_AGE_AND_ORG_UNIT = [
    flight_of
    for number in (1, 3)
    for org_unit in ("OU_0", "OU_1")
    if (flight_of := (number, org_unit)) != (3, "OU_0")
]
"""What need not follow the flight of number 2 in OU_0 for the sake of order."""


@pytest.mark.parametrize(("number", "org_unit"), OTHER_AGE_AND_ORG_UNIT)
def test_new_period_single_file(aws: Aws, clock: Clock, number: int, org_unit: str) -> None:
    second = in_flight(number, "second", org_unit)
    # DHIS2 has refused all values of the first ones: it does not hold the period yet.
    for held in (frozenset[str](), frozenset({"202601"})):
        with messages_of(aws, clock).in_flight(in_flight(2), 300, 0) as first:
            with (
                pytest.raises(InFlightError, match="The first values of a period are being sent now"),
                messages_of(aws, clock).in_flight(second, 300, 60),
            ):
                pytest.fail("it flew")
            first.held_periods = held
    with (
        messages_of(aws, clock).in_flight(in_flight(2), 300, 0),
        messages_of(aws, clock).in_flight(second, 300, 0),
    ):
        pass


def test_new_period_next(aws: Aws, clock: Clock) -> None:
    first = messages_of(aws, clock).in_flight(in_flight(2), 300, 60)
    first.__enter__()

    def land() -> None:
        first.__exit__(None, None, None)

    clock.then = [lambda: None, land]
    with messages_of(aws, clock).in_flight(in_flight(1, org_unit="OU_1"), 300, 60):
        assert clock.now == 1_000_000 + 2 * in_flight_messages.LOOK_AGAIN_SECONDS


def test_different_new_periods(aws: Aws, clock: Clock) -> None:
    revision = Revision(1, 0)
    other = InFlightMessage("run-1", "other", {"202602": (revision, revision)}, org_units_of(["OU_0"]))
    with (
        messages_of(aws, clock).in_flight(in_flight(1), 300, 0),
        messages_of(aws, clock).in_flight(other, 300, 0),
    ):
        pass


def test_broken_first_message(aws: Aws, clock: Clock) -> None:
    messages_of(aws, clock)._begin("message_broken", in_flight(2), 300)  # noqa: SLF001 - and it never ends
    with messages_of(aws, clock).in_flight(in_flight(1, org_unit="OU_1"), 300, 600):
        assert 300 < clock.now - 1_000_000 < 306


def test_known_periods_bounded(aws: Aws, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def held_after(*periods: str) -> object:
        with messages_of(aws, clock).in_flight(in_flight(1), 300, 0) as ending:
            ending.held_periods = frozenset(periods)
        return aws.table.get_item(Key={"id": "in-flight"})["Item"].get("held_periods")

    monkeypatch.setattr(in_flight_messages, "MOST_HELD_PERIODS", 3)
    assert held_after() is None
    assert held_after("202601", "202602") == {"202601", "202602"}
    assert held_after("202602", "202603") == {"202601", "202602", "202603"}
    assert held_after("202604") == {"202604"}


def test_broken_push(aws: Aws, clock: Clock) -> None:
    messages_of(aws, clock)._begin("message_broken", in_flight(1), 300)  # noqa: SLF001 - and it never ends
    clock.now += 299
    with messages_of(aws, clock).in_flight(in_flight(2), 300, 60):
        assert 300 < clock.now - 1_000_000 < 306
    broken_off: list[tuple[str, str]] = []

    def tell(run_id: str, message: str) -> None:
        broken_off.append((run_id, message))

    finding = InFlightMessages(aws.table, tell=pytest.fail, broke_off=tell, clock=clock, sleep=clock.sleep)
    for _ in range(2):
        with finding.in_flight(in_flight(3), 300, 0):
            item = aws.table.get_item(Key={"id": "in-flight"})["Item"]
            assert "message_broken" not in item
    assert broken_off == [("run-1", "message-1")], "once"


def test_no_answer(aws: Aws, clock: Clock) -> None:
    with messages_of(aws, clock).in_flight(in_flight(1), 300, 60) as ending:
        ending.lingers = True
    with messages_of(aws, clock).in_flight(in_flight(1), 300, 0):
        pass
    before = clock.now
    with messages_of(aws, clock).in_flight(in_flight(2), 300, 600):
        assert APPLIED_WITHIN_SECONDS <= clock.now - before < APPLIED_WITHIN_SECONDS + 5


def test_broken_while_sending(aws: Aws, clock: Clock) -> None:
    with suppress(MemoryError), messages_of(aws, clock).in_flight(in_flight(1), 300, 60) as ending:
        ending.lingers = True
        raise MemoryError
    before = clock.now
    with messages_of(aws, clock).in_flight(in_flight(2), 300, 600):
        assert APPLIED_WITHIN_SECONDS <= clock.now - before < APPLIED_WITHIN_SECONDS + 5


# The whole way


@pytest.fixture
def world(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[World]:
    with whole_way(aws, capsys, tmp_path) as it:
        it.use(only_changes=False)
        yield it


def compute(world: World, **changes: object) -> "tuple[list[MessageTypeDef], str]":
    """Return the messages that a run puts on the queue, taken off it, and its id."""
    answer = world.compute(**changes)
    messages: list[MessageTypeDef] = []
    for message in world.aws.messages():
        messages.append(message)
        world.aws.sqs.delete_message(QueueUrl=world.aws.queue_url, ReceiptHandle=message["ReceiptHandle"])
    return messages, str(answer["run_id"])


def push(world: World, messages: "list[MessageTypeDef]") -> None:
    for message in messages:
        pushed = invoke("push", delivery([message], world.aws.queue_arn), world.capsys)
        assert pushed.answer == {"batchItemFailures": []}


def counts(world: World, run_id: str) -> Counts:
    run = Runs(world.aws.runs).run(run_id)
    assert run is not None
    return run.counts


def test_newer_values_stay(world: World) -> None:
    older, older_run = compute(world)
    world.sql("UPDATE stock_line SET total_number_of_packs = total_number_of_packs + 3")
    # The same month, read later.
    newer, newer_run = compute(world, full=True)
    push(world, newer[::2])
    push(world, older)
    push(world, newer[1::2])
    right = world.values()
    number = len(right)
    assert counts(world, newer_run) == Counts(queued=number, stored=number)
    assert counts(world, older_run) == Counts(queued=number, superseded=number)
    push(world, compute(world, as_of="2026-11-03T09:00")[0])
    assert world.values() == right


def test_other_address_spelling(
    world: World,
) -> None:
    older, older_run = compute(world)
    world.sql("UPDATE stock_line SET total_number_of_packs = total_number_of_packs + 3")
    newer, _ = compute(world, as_of="2026-11-03T02:00:00")
    world.use(only_changes=False, url=world.dhis2.url.replace("127.0.0.1", "localhost"))
    push(world, newer)
    right = world.values()
    push(world, older)
    assert world.values() == right
    assert counts(world, older_run) == Counts(queued=len(right), superseded=len(right))
    rows = boto3.resource("dynamodb").Table("stack-order").scan()["Items"]
    keys = {(str(row["period"]), str(row["org_unit"])) for row in rows}
    assert not any("://" in part or not part.strip() for key in keys for part in key)


def test_limited_run(world: World) -> None:
    older, older_run = compute(world)
    newer, newer_run = compute(world, metrics=["stock_on_hand"])
    push(world, newer)
    push(world, older)
    stock_on_hand = counts(world, newer_run).stored
    assert counts(world, older_run).superseded == stock_on_hand > 0
    assert counts(world, older_run).stored == len(world.values()) - stock_on_hand


@pytest.mark.parametrize("comes_after_all", [True, False])
def test_unqueued_superseder(world: World, monkeypatch: pytest.MonkeyPatch, *, comes_after_all: bool) -> None:
    older, older_run = compute(world)
    event = OCTOBER | {"as_of": "2026-11-03T01:00:00"}
    with monkeypatch.context() as broken:

        def refuse(*_: object) -> None:
            # By hand an invocation is tried again where its fault may pass.
            raise AwsBusyError("No.") if comes_after_all else SourceError("No.")

        broken.setattr(BatchQueue, "flush", refuse)
        if comes_after_all:
            with pytest.raises(AwsBusyError):
                invoke("compute", event, world.capsys, "newer")
        else:
            assert invoke("compute", event, world.capsys, "newer").answer["status"] == "failed"
    push(world, older[:-1])
    last = invoke("push", delivery(older[-1:], world.aws.queue_arn), world.capsys)
    if comes_after_all:
        assert last.said("ended") == []
        again = invoke("compute", event, world.capsys, "newer")
        assert again.said(f"Run {older_run} ended well.")
    else:
        (line,) = last.said(f"Run {older_run} ended incomplete.")
        assert "Compute that run again: make push EVENT='" in line["message"]
        assert json.loads(line["message"].partition("EVENT='")[2].partition("'")[0]) == event
    assert counts(world, older_run).superseded == counts(world, older_run).queued > 0


def test_late_dead_letter(world: World) -> None:
    dead, run_id = compute(world)
    world.sql("UPDATE stock_line SET total_number_of_packs = total_number_of_packs + 1")
    world.run(as_of="2026-11-03T10:00")
    right = world.values()
    push(world, dead)
    assert world.values() == right
    assert counts(world, run_id).superseded == len(right)


def test_expired_claims(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    messages, run_id = compute(world)
    monkeypatch.setattr(push_batch, "SENT_WITHIN", timedelta(seconds=-1))
    pushed = invoke("push", delivery(messages[:1], world.aws.queue_arn), world.capsys)
    assert pushed.said("compute their periods again (202610)")
    assert counts(world, run_id).not_sent == pushed.metric("ValuesNotSent") > 0
    assert world.values() == {}


def test_already_in_flight(world: World) -> None:
    answer = world.compute()
    messages = world.aws.messages()
    batch = decode(str(messages[0]["Body"]))
    attempt_id = str(messages[0]["MessageAttributes"]["attempt_id"]["StringValue"])
    revision = Revision(1, 1)
    row = message_key(Message(batch.batch_id, attempt_id, len(batch.values)))["part"]
    other = InFlightMessage("run-1", row, {"202610": (revision, revision)})
    with InFlightMessages(clients.table("stack"), tell=pytest.fail, broke_off=broke_off).in_flight(
        other, 300, 0
    ):
        pushed = invoke("push", delivery(messages[:1], world.aws.queue_arn), world.capsys)
    assert pushed.answer["batchItemFailures"] == [{"itemIdentifier": messages[0]["MessageId"]}]
    assert pushed.said("Another delivery of the same message is being sent now")
    assert world.posts() == 0
    push(world, list(messages))
    assert counts(world, str(answer["run_id"])).stored == answer["values"]


def test_second_into_new_period(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_batch, "MOST_PATIENCE_SECONDS", 0.0)
    answer = world.compute()
    messages = world.aws.messages()
    revision = Revision(2**41, 1)
    other = InFlightMessage(
        "run-1", "other", {"202610": (revision, revision)}, org_units_of(["OU_elsewhere"])
    )

    def push_beside_the_other() -> list[dict[str, str]]:
        with InFlightMessages(clients.table("stack"), tell=pytest.fail, broke_off=broke_off).in_flight(
            other, 300, 0
        ):
            pushed = invoke("push", delivery(messages[:1], world.aws.queue_arn), world.capsys)
        again: list[dict[str, str]] = pushed.answer["batchItemFailures"]
        return again

    assert push_beside_the_other() == [{"itemIdentifier": messages[0]["MessageId"]}]
    assert world.posts() == 0
    push(world, messages[1:2])
    # The period is there.
    assert push_beside_the_other() == []
    push(world, messages[2:])
    assert counts(world, str(answer["run_id"])).stored == answer["values"]


def test_unanswered_older(world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_clock = partial(InFlightMessages, clock=clock, sleep=clock.sleep)
    monkeypatch.setattr(push_batch, "InFlightMessages", on_this_clock)
    monkeypatch.setattr(in_flight_messages, "APPLIED_WITHIN_SECONDS", 3)
    older, _ = compute(world)
    world.dhis2.faults.next(FaultKind.STATUS, times=1, method="POST", status=504)
    unanswered = invoke("push", delivery(older[:1], world.aws.queue_arn), world.capsys)
    assert len(unanswered.answer["batchItemFailures"]) == 1
    newer, newer_run = compute(world, full=True)

    with monkeypatch.context() as impatient:
        impatient.setattr(push_batch, "MOST_PATIENCE_SECONDS", 0.0)
        too_early = invoke("push", delivery(newer[:1], world.aws.queue_arn), world.capsys)
    assert too_early.said("Older values for the same periods and org units are still being sent")
    assert len(too_early.answer["batchItemFailures"]) == 1
    assert clock.now == 1_000_000

    push(world, newer)
    assert clock.now > 1_000_003
    assert counts(world, newer_run).stored == counts(world, newer_run).queued


def test_rejected_older(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    older, _ = compute(world)
    world.dhis2.faults.next(FaultKind.TOO_MANY_REQUESTS, times=1, method="POST", seconds=60)
    sent_away = invoke("push", delivery(older[:1], world.aws.queue_arn), world.capsys)
    assert len(sent_away.answer["batchItemFailures"]) == 1
    newer, newer_run = compute(world, full=True)
    monkeypatch.setattr(push_batch, "MOST_PATIENCE_SECONDS", 0.0)
    push(world, newer)
    assert counts(world, newer_run).stored == counts(world, newer_run).queued > 0
