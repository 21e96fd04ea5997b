"""DynamoDB that refuses for a moment: what it may do later is asked of it again."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.stub import Stubber

from msupply_dhis2.aws import clients, dynamodb
from msupply_dhis2.aws.dynamodb import Change, change_item, change_items, read_items
from msupply_dhis2.domain.batch import Message
from msupply_dhis2.errors import AwsBusyError, AwsError
from msupply_dhis2.state.run import Run
from msupply_dhis2.state.runs import Runs
from tests.conftest import Aws
from tests.support.refusing import refusing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_dynamodb.service_resource import Table

NOW = datetime(2026, 2, 5, 1, 3, 20, tzinfo=UTC)
RUN = "20260205T010000Z-monthly-1f0c2a9b"
ABOUT = Run(RUN, "monthly", NOW, '{"interval":"monthly"}')
THROTTLED = "ProvisionedThroughputExceededException"
CONFLICT = "TransactionConflictException"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb, "_FIRST_WAIT_SECONDS", 0)


@pytest.fixture
def table(aws: Aws) -> "Table":
    return clients.table(aws.table.name)


@pytest.fixture
def runs(aws: Aws) -> Runs:
    return Runs(clients.table(aws.runs.name))


@pytest.fixture
def stubbed(table: "Table") -> "Iterator[tuple[Table, Stubber]]":
    with Stubber(table.meta.client) as stub:
        yield table, stub
        stub.assert_no_pending_responses()


def asking_for(*ids: str) -> dict[str, Any]:
    return {"stack": {"Keys": [{"id": each} for each in ids], "ConsistentRead": True}}


def answer_with(*ids: str, left: tuple[str, ...] = ()) -> dict[str, Any]:
    items = [{"id": {"S": each}} for each in ids]
    unprocessed = {"stack": {"Keys": [{"id": {"S": each}} for each in left], "ConsistentRead": True}}
    return {"Responses": {"stack": items}, "UnprocessedKeys": unprocessed if left else {}}


# ------------------------------------------------------------------------------------------------- a single call


@pytest.mark.parametrize("code", [THROTTLED, "ThrottlingException", "RequestLimitExceeded", CONFLICT])
def test_throttled_write(table: "Table", code: str) -> None:
    with refusing(table.meta.client, "UpdateItem", code, times=9):
        change_item(table, Change({"id": "one"}).add({"times": 1}))
    assert table.get_item(Key={"id": "one"})["Item"]["times"] == 1


def test_throttled_read(table: "Table") -> None:
    table.put_item(Item={"id": "one"})
    with refusing(table.meta.client, "BatchGetItem", THROTTLED, times=9):
        assert list(read_items(table, [{"id": "one"}])) == [{"id": "one"}]


def test_lasting_throttle(table: "Table") -> None:
    with (
        refusing(table.meta.client, "BatchGetItem", THROTTLED, times=1000) as refused,
        pytest.raises(AwsBusyError, match=f"while reading the table stack: {THROTTLED} was said"),
    ):
        list(read_items(table, [{"id": "one"}]))
    assert refused.refusals == 10


def test_hard_errors_fail_early(table: "Table", monkeypatch: pytest.MonkeyPatch) -> None:
    # botocore's own wait between attempts.
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    for code, status, asked in (("InternalServerError", 500, 3), ("ValidationException", 400, 1)):
        with (
            refusing(table.meta.client, "UpdateItem", code, times=1000, status=status) as refused,
            pytest.raises(AwsError),
        ):
            change_item(table, Change({"id": "one"}).add({"times": 1}))
        assert refused.refusals == asked


# -------------------------------------------------------------------------------- rows that transactions change too


def test_row_in_a_transaction(runs: Runs, aws: Aws) -> None:
    client = clients.table(aws.runs.name).meta.client
    with refusing(client, "UpdateItem", CONFLICT, times=5):
        runs.begin(ABOUT, [], NOW)
    with refusing(client, "UpdateItem", CONFLICT, times=5):
        runs.note_fault(RUN, "The database is away.")
    with refusing(client, "UpdateItem", CONFLICT, times=5):
        closed = runs.close(RUN, None, NOW + timedelta(minutes=1))
    assert closed is not None
    run = runs.run(RUN)
    assert run is not None
    assert (run.message, run.ended_at) == ("The database is away.", NOW + timedelta(minutes=1))


def test_failure_counted_once(runs: Runs, aws: Aws) -> None:
    message = Message(f"{RUN}-{1:016x}", "s1", 10)
    client = clients.table(aws.runs.name).meta.client
    with refusing(client, "UpdateItem", CONFLICT, times=5):
        assert runs.note_failure(message, NOW) == 1
    assert runs.note_failure(message, NOW) == 2


# --------------------------------------------------------------------------------------- what is left of an answer


def test_unprocessed_keys(stubbed: "tuple[Table, Stubber]", monkeypatch: pytest.MonkeyPatch) -> None:
    table, stub = stubbed
    monkeypatch.setattr(dynamodb, "_FIRST_WAIT_SECONDS", 1)
    ids = [str(number) for number in range(9)]
    for number, each in enumerate(ids):
        rest = tuple(ids[number + 1 :])
        asked = asking_for(*ids[number:])
        stub.add_response("batch_get_item", answer_with(each, left=rest), {"RequestItems": asked})
    waited: list[float] = []
    monkeypatch.setattr(dynamodb, "sleep", waited.append)
    read = read_items(table, [{"id": each} for each in ids])
    assert [item["id"] for item in read] == ids
    assert len(waited) == 8
    for number, seconds in enumerate(waited):
        # Up to twice as long, by chance: who was refused together does not come back together.
        assert 2**number <= seconds <= 2 * 2**number


def test_never_processed(stubbed: "tuple[Table, Stubber]", monkeypatch: pytest.MonkeyPatch) -> None:
    table, stub = stubbed
    for _ in range(10):
        stub.add_response("batch_get_item", answer_with(left=("one",)), {"RequestItems": asking_for("one")})
    waited: list[float] = []
    monkeypatch.setattr(dynamodb, "sleep", waited.append)
    with pytest.raises(AwsBusyError, match="did not return all rows of the table stack"):
        list(read_items(table, [{"id": "one"}]))
    assert len(waited) == 9, "nothing follows the last attempt"


# ------------------------------------------------------------------------------------------------------- transactions


def cancelled(*codes: str) -> dict[str, Any]:
    return {"CancellationReasons": [{"Code": code} for code in codes]}


CANCELLED = "TransactionCanceledException"
COUNT_BOTH = [Change({"id": each}).add({"times": 1}) for each in ("one", "two")]


def test_transaction_conflict(table: "Table") -> None:
    conflict = cancelled("None", "TransactionConflict")
    with refusing(table.meta.client, "TransactWriteItems", CANCELLED, times=9, body=conflict):
        assert change_items(table, COUNT_BOTH) == frozenset()
    assert table.get_item(Key={"id": "one"})["Item"]["times"] == 1


def test_lasting_transaction_conflict(table: "Table") -> None:
    conflict = cancelled("TransactionConflict", "ConditionalCheckFailed")
    with (
        refusing(table.meta.client, "TransactWriteItems", CANCELLED, times=1000, body=conflict) as refused,
        pytest.raises(AwsBusyError, match="Other functions changed the same rows of the table stack"),
    ):
        change_items(table, COUNT_BOTH)
    assert refused.refusals == 10


def test_unmet_condition(table: "Table") -> None:
    table.put_item(Item={"id": "two"})
    changes = [Change({"id": each}).add({"times": 1}).if_absent("id") for each in ("one", "two")]
    assert change_items(table, changes) == {1}
    assert table.scan()["Items"] == [{"id": "two"}]


# ------------------------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    ("change", "is_made"),
    [
        (Change({"id": "one"}).if_below("times", 3), True),
        (Change({"id": "one"}).if_below("times", 2), False),
        (Change({"id": "one"}).if_below("nothing", 1), True),
        (Change({"id": "one"}).if_equal("times", 2), True),
        (Change({"id": "one"}).if_equal("times", 1), False),
        (Change({"id": "one"}).if_equal("times", None), False),
        (Change({"id": "one"}).if_equal("nothing", None), True),
        (Change({"id": "one"}).if_equal("nothing", 0), True),
        (Change({"id": "one"}).if_absent("times"), False),
    ],
)
def test_met_condition(table: "Table", *, change: Change, is_made: bool) -> None:
    table.put_item(Item={"id": "one", "times": 2})
    assert change_item(table, change.set({"times": 9})) is is_made
    assert table.get_item(Key={"id": "one"})["Item"]["times"] == (9 if is_made else 2)
