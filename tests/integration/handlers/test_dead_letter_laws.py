"""Whatever becomes of dead letters, and wherever a process ends meanwhile: nothing is lost or counted twice, and they can be listed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from moto.backends import get_backend

from msupply_dhis2.domain.batch import Message, decode
from msupply_dhis2.errors import BatchError, MsupplyDhis2Error
from msupply_dhis2.handlers import push as push_on_aws
from msupply_dhis2.state.dead_letters import KEPT_FOR
from msupply_dhis2.state.message import delivery_state_of
from msupply_dhis2.state.run import Run
from msupply_dhis2.state.runs import Runs, message_key
from sandbox.dhis2 import FaultKind, ValueKey
from tests.conftest import Aws
from tests.integration.handlers.test_dead_letters import dead_since
from tests.support.breaking_off import BreaksOffError, Harm, harm
from tests.support.functions import delivery, invoke
from tests.support.laws import tried
from tests.support.whole_way import World, whole_way

pytestmark = [
    # A function that breaks off has no metrics to publish.
    pytest.mark.filterwarnings("ignore:No application metrics"),
    # What a process that has ended still tries while it unwinds comes to nothing.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

BATCHES, DEAD = "stack-batches", "stack-failed-batches"

FOREIGN = ["hello", "[]", '{"version": 99}', '{"rows": []}']
"""What somebody may put on a queue."""

WHY = {"reason": "R", "status": "S", "at": "2026-11-01T00:00:00+00:00"}
FOREIGN_ROWS: list[dict[str, Any]] = [
    {"run_id": "by hand", "part": "x"},
    {"run_id": "by hand", "part": "batch#y", "values": 3, "dead_letter": WHY},
    {"run_id": "by hand", "part": "batch#y#1", "values": "three", "dead_letter": WHY},
    {"run_id": "by hand", "part": "batch#by hand-1#1", "values": 3, "dead_letter": WHY | {"reason": 5}},
    {"run_id": "by hand", "part": "batch#by hand-2#1", "values": 3, "dead_letter": WHY, "settled": "all"},
]


INVOKED: dict[str, tuple[str, dict[str, str]]] = {
    "list": ("push", {"dead_letters": "list"}),
    "redrive": ("push", {"dead_letters": "redrive"}),
    "redrive what DHIS2 did not answer": ("push", {"dead_letters": "redrive", "reason": "slow"}),
    "redrive what broke off": ("push", {"dead_letters": "redrive", "reason": "broke"}),
    "redrive another run": ("push", {"dead_letters": "redrive", "run": "another"}),
    "watch": ("watchdog", {}),
}

type Harmed = tuple[Harm, int]
UNHARMED: Harmed = (Harm.DEATH, 0)


class Letters:
    """A run whose messages fail, die, are moved, sent again and lost."""

    def __init__(self, world: World, bodies: dict[str, str], rows: list[dict[str, Any]]) -> None:
        self.world = world
        self.bodies = bodies
        self.rows = rows
        self.right: dict[str, dict[ValueKey, str]] = {}
        """What DHIS2 holds by each message, by its attempt id."""
        self.by_hand: dict[str, str] = {}
        """Copies that lost their attributes, each a message of its own."""
        self.lost: set[str] = set()

    def begin(self) -> None:
        """Put everything as it was when the run was computed."""
        aws = self.world.aws
        for queue in (BATCHES, DEAD):
            messages_of(queue).clear()
        for item in aws.runs.scan()["Items"]:
            aws.runs.delete_item(Key={name: item[name] for name in ("run_id", "part")})
        for item in self.rows:
            aws.runs.put_item(Item=item)
        self.world.dhis2.values.rows.clear()
        self.lost, self.by_hand = set(), {}
        for attempt_id in self.bodies:
            self.put(attempt_id)

    def put(self, attempt_id: str) -> None:
        """Put a message on the queue, as compute does."""
        attributes: Any = {"attempt_id": {"DataType": "String", "StringValue": attempt_id}}
        self.world.aws.sqs.send_message(
            QueueUrl=self.world.aws.queue_url,
            MessageBody=self.bodies[attempt_id],
            MessageAttributes=attributes,
        )

    def invoke(self, function: str, event: object, harmed: Harmed = UNHARMED) -> dict[str, Any] | None:
        """Invoke a function, half an hour after the one before; ``None`` where it broke off or raised."""
        for queue in (BATCHES, DEAD):
            for message in messages_of(queue):
                message.visible_at = 0
        for key in ("in-flight", "breaker"):
            self.world.aws.table.delete_item(Key={"id": key})
        with harm(*harmed) as happened:
            try:
                return invoke(function, event, self.world.capsys).answer
            except (MsupplyDhis2Error, BreaksOffError):
                assert happened.has_happened
        if happened.is_dead:
            push_on_aws.forget_sessions()
        return None

    def push(self, number: int, harmed: Harmed = UNHARMED, *, is_down: bool = False) -> None:
        """Deliver a message of the queue, after ten days and to a DHIS2 that does not answer where it is down."""
        for hidden in messages_of(BATCHES):
            hidden.visible_at = 0
        messages = self.world.aws.messages()
        if not messages:
            return
        message: Any = messages[number % len(messages)]
        sent = datetime.now(UTC)
        if is_down:
            self.world.dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=504)
            sent -= push_on_aws.WAITS_FOR + timedelta(hours=1)
        message["Attributes"]["SentTimestamp"] = str(int(sent.timestamp() * 1000))
        answer = self.invoke("push", delivery([message], self.world.aws.queue_arn), harmed)
        self.world.dhis2.faults.clear()
        if answer == {"batchItemFailures": []}:
            receipt = str(message["ReceiptHandle"])
            self.world.aws.sqs.delete_message(QueueUrl=self.world.aws.queue_url, ReceiptHandle=receipt)

    def move(self, number: int, source: str, target: str) -> None:
        """Do what SQS does with what was received too often, and the console's own redrive: attributes go along."""
        if messages := messages_of(source):
            moved = messages.pop(number % len(messages))
            moved.visible_at = 0
            messages_of(target).append(moved)

    def lose(self, number: int) -> None:
        """Forget a dead letter, as the queue does after 14 days."""
        if messages := messages_of(DEAD):
            messages.pop(number % len(messages))
            left = {attempt_of(each) for queue in (BATCHES, DEAD) for each in messages_of(queue)}
            self.lost |= {
                each for each in self.bodies | self.by_hand if each not in left and self.left_of(each)
            }

    def message(self, attempt_id: str) -> Message:
        batch = decode((self.bodies | self.by_hand)[attempt_id])
        return Message(batch.batch_id, attempt_id, len(batch.values))

    def left_of(self, attempt_id: str) -> int:
        """Return how many values of a message have no outcome, as its row tells."""
        if not self.is_counted(attempt_id):
            return 0
        message = self.message(attempt_id)
        state = delivery_state_of(self.world.aws.runs.get_item(Key=message_key(message))["Item"])
        assert state is not None
        return message.values - len(state.settled)

    def is_counted(self, attempt_id: str) -> bool:
        return "Item" in self.world.aws.runs.get_item(Key=message_key(self.message(attempt_id)))

    def act(self, action: str, number: int, harmed: Harmed) -> None:
        """Do one of all that may happen."""
        match action:
            case "push" | "die":
                self.push(number, harmed, is_down=action == "die")
            case "SQS moves":
                self.move(number, BATCHES, DEAD)
            case "the console moves":
                self.move(number, DEAD, BATCHES)
            case "a letter is lost":
                self.lose(number)
            case "a copy is sent" if alive := sorted(self.bodies.keys() - self.lost):
                self.put(alive[number % len(alive)])
            case "a foreign message comes" | "a copy comes without attributes":
                url = [self.world.aws.queue_url, self.world.aws.dead_letter_queue_url][number % 2]
                bodies = FOREIGN if action == "a foreign message comes" else list(self.bodies.values())
                body = bodies[number // 2 % len(bodies)]
                sent = self.world.aws.sqs.send_message(QueueUrl=url, MessageBody=body)
                self.by_hand |= {} if is_foreign(body) else {sent["MessageId"]: body}
            case "a foreign row is written":
                row = FOREIGN_ROWS[number // 2 % len(FOREIGN_ROWS)]
                since = datetime.now(UTC).isoformat() if number % 2 else "soon"
                self.world.aws.runs.put_item(Item={**row, "kind": "dead letter", "started_at": since})
            case _ if action in INVOKED:
                self.invoke(*INVOKED[action], harmed)

    def list_all(self) -> None:
        """List them, which nothing that lies about keeps from being done."""
        listed = self.invoke("push", {"dead_letters": "list"})
        assert listed is not None
        rows = [each for each in self.world.aws.runs.scan()["Items"] if each["run_id"] == "by hand"]
        for row in rows:
            assert f"The row {row['part']!s} of by hand in the table of runs is damaged" in listed["message"]

    def end(self) -> Run:
        """Do what people do in the end: send all again, until nothing is left that can be sent."""
        for _ in range(3):
            assert self.invoke("watchdog", {}) is not None
            assert self.invoke("push", {"dead_letters": "redrive"}) is not None
            for _ in range(3 * len(messages_of(BATCHES))):
                self.push(0)
        dead_since(self.world, KEPT_FOR + timedelta(hours=1))
        assert self.invoke("watchdog", {}) is not None
        run = Runs(self.world.aws.runs).run(decode(next(iter(self.bodies.values()))).run_id)
        assert run is not None
        return run

    def check(self) -> None:
        """See that each value is in DHIS2 or told to be lost, and counted once."""
        self.list_all()
        counts = self.end().counts
        left = sum(map(self.left_of, self.lost))
        # What is lost before anybody has seen that it was dead is waited for, and the watchdog names its run.
        assert (counts.expired + counts.waiting, counts.dead) == (left, 0)
        counted = [each for each in self.bodies | self.by_hand if self.is_counted(each)]
        assert counts.queued == sum(self.message(each).values for each in counted)
        assert counts.stored + counts.unchanged == counts.queued - left
        there = self.world.values()
        for attempt_id, values in self.right.items():
            assert attempt_id in self.lost or values.items() <= there.items()
        assert all(is_foreign(each.body) for each in messages_of(DEAD))
        self.list_all()


def is_foreign(body: str) -> bool:
    try:
        decode(body)
    except BatchError:
        return True
    return False


def messages_of(queue: str) -> list[Any]:
    """Return all messages of a queue, also those that are hidden, as moto holds them: a queue cannot be told the time."""
    messages: list[Any] = get_backend("sqs")["123456789012"]["us-east-1"].queues[queue]._messages  # noqa: SLF001
    return messages


def attempt_of(message: Any) -> str:  # noqa: ANN401 - moto's own
    return str(message.message_attributes.get("attempt_id", {}).get("StringValue", message.id))


@pytest.fixture
def letters(
    aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Letters]:
    # Nothing is due that the watchdog would miss.
    monkeypatch.setenv("SCHEDULES_STATE", "DISABLED")
    with whole_way(aws, capsys, tmp_path) as world:
        world.use(only_changes=False)
        store = world.sql_value("SELECT code FROM store ORDER BY code LIMIT 1")
        world.compute(stores=[store])
        bodies = {attempt_of(each): str(each.body) for each in messages_of(BATCHES)}
        it = Letters(world, bodies, aws.runs.scan()["Items"])
        for attempt_id in bodies:
            messages_of(BATCHES).clear()
            world.dhis2.values.rows.clear()
            it.put(attempt_id)
            it.push(0)
            it.right[attempt_id] = world.values()
        assert len(bodies) > 1
        assert all(it.right.values())
        yield it


ACTIONS = [
    *("push", "die", "SQS moves", "the console moves", "a copy is sent", "a letter is lost"),
    *("a copy comes without attributes", "a foreign message comes", "a foreign row is written"),
    *INVOKED,
]
harms = st.just(UNHARMED) | st.tuples(st.sampled_from(Harm), st.integers(1, 9))


@pytest.mark.slow
@settings(tried(20), phases=(Phase.reuse, Phase.generate))
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9), harms), min_size=3, max_size=9))
def test_no_value_lost_or_doubled(letters: Letters, steps: list[tuple[str, int, Harmed]]) -> None:
    letters.begin()
    for action, number, harmed in steps:
        letters.act(action, number, harmed)
    letters.check()
