"""Large runs in shards, months one after the other, by way of the queue of shards; and exports."""

import gzip
import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from cli.__main__ import main as local_main
from msupply_dhis2.aws import clients
from msupply_dhis2.compute.sharding import parse_shard
from msupply_dhis2.domain.batch import decode
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.handlers.compute import DELIVERIES
from msupply_dhis2.state.idempotency import WORKED_FOR, Taken, take
from sandbox.sample.generate import generate
from tests.conftest import Aws
from tests.support.functions import Invocation, delivery, invoke

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

STORES = 6
FULL = {"manual": True, "basis": "previous_month", "as_of": "2026-11-05"}
MONTHS = {"manual": True, "basis": "previous_month", "months": "2026-07..2026-10"}
SHARD_QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:stack-shards"
MANUAL = {"manual": True, "as_of": "2026-10-31T22:30"}
VALUES = {"export": "values", "as_of": "2026-10-31T22:30"}

type Value = tuple[str, ...]


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small mSupply database with every edge case, as a URL."""
    url = f"sqlite:///{tmp_path_factory.mktemp('sample')}/omsupply.sqlite"
    generate(url, stores=STORES, items=8, seed=7, as_of=date(2026, 10, 31), edge_cases=True)
    return url


def document(**changes: object) -> str:
    rows = [
        {
            "active": True,
            "metric": metric.value,
            "interval": "monthly",
            "basis": "previous_month",
            "category_option_id": metric.value.upper(),
            "category_option_combo_id_scheme": "code",
        }
        for metric in Metric
    ]
    settings: dict[str, object] = {
        "use_dhis2": True,
        "basic_authentication": True,
        "url": "https://dhis2.example.org",
        "setup": "category_option_combo",
        "data_elements": rows,
        "data_set_id": "STOCK",
        "data_set_id_scheme": "code",
        "period_format": "YYYYMM",
        "item_field_reference": "universal_code",
        "data_element_id_scheme": "code",
        "org_unit_scheme": "code",
        "items_per_payload": 400,
    }
    return json.dumps({**settings, **changes})


@dataclass
class Stack:
    """Compute with its queues."""

    aws: Aws
    capsys: pytest.CaptureFixture[str]
    environment: pytest.MonkeyPatch
    database: str

    def take_the_database_away(self) -> None:
        self.aws.put_database_address(f"{self.database}.gone")

    def give_the_database_back(self) -> None:
        self.aws.put_database_address(self.database)

    def allow_lines(self, lines: int) -> None:
        """Set how many lines of mSupply one invocation works."""
        self.environment.setenv("LINES_PER_INVOCATION", str(lines))

    def compute(self, event: object, request_id: str = "request-1") -> Invocation:
        return invoke("compute", event, self.capsys, request_id)

    def shards(self) -> "list[MessageTypeDef]":
        """Take the messages of the queue of shards."""
        return self.aws.messages(self.aws.shard_queue_url)

    def work(self, message: "MessageTypeDef") -> Invocation:
        """Hand a message to compute; it goes off the queue if compute does not give it back."""
        invocation = invoke("compute", delivery([message], SHARD_QUEUE_ARN), self.capsys, "by-the-queue")
        if not is_given_back(invocation):
            self.aws.sqs.delete_message(
                QueueUrl=self.aws.shard_queue_url, ReceiptHandle=message["ReceiptHandle"]
            )
        return invocation

    def work_all(self) -> list[Invocation]:
        """Work the queue of shards until it is empty."""
        invocations = []
        while messages := self.shards():
            invocations += [self.work(message) for message in messages]
        return invocations

    def values(self) -> list[Value]:
        """Take the values off the queue of batches, in order; each with its run and instant."""
        return sorted(
            (
                batch.run_id,
                batch.as_of.isoformat(),
                *map(str, value.key),
                value.value,
                value.store,
                value.item,
            )
            for message in self.aws.messages()
            for batch in [decode(message["Body"])]
            for value in batch.values
        )


def is_given_back(invocation: Invocation) -> bool:
    return bool(invocation.answer["batchItemFailures"])


def show_again(stack: Stack, message: "MessageTypeDef") -> "MessageTypeDef":
    """Deliver a message that compute gave back, as if its wait were over."""
    stack.aws.sqs.change_message_visibility(
        QueueUrl=stack.aws.shard_queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
    )
    (again,) = [each for each in stack.shards() if each["MessageId"] == message["MessageId"]]
    return again


@pytest.fixture
def stack(
    aws: Aws, sample: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Stack:
    aws.put_database_address(sample)
    aws.put_settings(document())
    return Stack(aws, capsys, monkeypatch, sample)


# Shards


def test_same_values(stack: Stack) -> None:
    whole = stack.compute(FULL)
    assert (whole.answer["status"], stack.shards()) == ("sent", [])
    in_one_piece = stack.values()

    stack.allow_lines(1_500)
    planned = stack.compute(FULL, "request-2")
    assert planned.answer["status"] == "planned"
    assert stack.values() == []
    worked = stack.work_all()

    assert stack.values() == in_one_piece
    assert len(worked) == planned.answer["shards"] > 2
    assert sum(shard.said("on the way")[0]["values"] for shard in worked) == whole.answer["values"]
    assert planned.metric("ShardsPlanned") == sum(shard.metric("ShardsFinished") for shard in worked)
    assert sum(shard.metric("ShardsFailed") for shard in worked) == 0


@pytest.mark.slow
def test_skipped_told_once(stack: Stack) -> None:
    whole = stack.compute(FULL)
    stack.allow_lines(1_500)
    planned = stack.compute(FULL, "request-2")
    worked = stack.work_all()
    assert planned.answer["skipped"]
    told = [sentence for shard in worked for line in shard.said(" skipped: ") for sentence in line["all"]]
    assert sorted([*planned.answer["skipped"], *told]) == sorted(whole.answer["skipped"])


def test_plan_counts(stack: Stack) -> None:
    stack.allow_lines(1_500)
    planned = stack.compute(FULL)
    message = planned.answer["message"]
    assert planned.answer["run_id"] in planned.answer["see_the_log"]
    shards = [parse_shard(each["Body"]) for each in stack.shards()]
    sizes = [shard.ledger_lines for shard in shards]
    assert message.startswith(
        f"Planned {len(shards)} shards of {min(sizes):,} to {max(sizes):,} ledger lines each"
    )
    assert f"with {sum(sizes):,} ledger lines" in message


def test_dry_run(stack: Stack) -> None:
    whole = stack.compute({**FULL, "dry_run": True})
    stack.allow_lines(1_500)
    stack.compute({**FULL, "dry_run": True}, "request-2")
    counted = [shard.said("Dry run")[0]["values"] for shard in stack.work_all()]
    assert sum(counted) == whole.answer["values"]
    assert stack.values() == []


def test_finished_shard_again(stack: Stack) -> None:
    stack.allow_lines(1_500)
    stack.compute(FULL)
    message = stack.shards()[0]
    stack.work(message)
    assert stack.values()
    again = stack.work(message)
    assert not is_given_back(again)
    assert again.said("was finished at an earlier delivery: nothing is sent")
    assert stack.values() == []


def test_shard_in_work(stack: Stack) -> None:
    stack.allow_lines(1_500)
    stack.compute(FULL)
    message = stack.shards()[0]
    table = clients.table("stack")
    now = datetime.now(UTC)
    assert take(table, parse_shard(message["Body"]).key, now) == Taken()
    waiting = stack.work(message)
    assert is_given_back(waiting)
    assert waiting.said("is being worked by another invocation")
    assert stack.values() == []
    # The other one broke off: its time is over.
    stack.aws.table.update_item(
        Key={"id": f"shard#{parse_shard(message['Body']).key}"},
        UpdateExpression="SET free_at = :then",
        ExpressionAttributeValues={":then": int((now - WORKED_FOR).timestamp())},
    )
    assert not is_given_back(stack.work(show_again(stack, message)))
    assert stack.values()


@pytest.mark.slow
def test_planned_twice(stack: Stack) -> None:
    stack.allow_lines(1_500)
    stack.compute(FULL)
    first = stack.work_all()
    sent = stack.values()
    # AWS repeats an asynchronous invocation with the same request id.
    stack.compute(FULL)
    second = stack.work_all()
    assert len(second) == len(first)
    assert sent
    assert stack.values() == []


@pytest.mark.slow
def test_same_run_again(stack: Stack) -> None:
    stack.allow_lines(1_500)
    stack.compute(FULL, "request-1")
    stack.work_all()
    first = stack.values()
    stack.compute(FULL, "request-2")
    stack.work_all()
    assert stack.values() == first


@pytest.mark.slow
def test_failing_shard(
    stack: Stack,
) -> None:
    stack.compute(FULL)
    in_one_piece = stack.values()
    stack.allow_lines(1_500)
    stack.compute(FULL, "request-2")
    unlucky, *others = stack.shards()
    stack.take_the_database_away()
    failed = stack.work(unlucky)
    stack.give_the_database_back()
    assert is_given_back(failed)
    (line,) = failed.said("failed: ")
    assert "Shard 1 of" in line["message"]
    assert "Attempt 1 of 9" in line["message"]
    assert line["level"] == "ERROR"
    assert failed.metric("ShardsFailed") == 0
    assert not any(is_given_back(stack.work(message)) for message in others)
    assert not is_given_back(stack.work(show_again(stack, unlucky)))
    assert stack.values() == in_one_piece


def test_last_attempt(
    stack: Stack,
) -> None:
    stack.allow_lines(1_500)
    stack.compute(FULL)
    message = stack.shards()[0]
    message["Attributes"]["ApproximateReceiveCount"] = str(DELIVERIES)
    stack.take_the_database_away()
    failed = stack.work(message)
    assert is_given_back(failed)
    (line,) = failed.said("it goes to the dead-letter queue")
    assert "omsupply.sqlite.gone" in line["message"]
    assert failed.metric("ShardsFailed") == 1


def test_not_a_shard(stack: Stack) -> None:
    stack.aws.sqs.send_message(QueueUrl=stack.aws.shard_queue_url, MessageBody='{"manual": true}')
    (message,) = stack.shards()
    assert not is_given_back(stack.work(message))
    (dead,) = stack.aws.messages(stack.aws.failed_shard_queue_url)
    assert dead["Body"] == '{"manual": true}'
    assert "does not understand this shard" in dead["MessageAttributes"]["reason"]["StringValue"]


def test_shard_by_hand(
    stack: Stack,
) -> None:
    stack.allow_lines(1_500)
    stack.compute(FULL)
    message = stack.shards()[0]
    stack.work(message)
    sent = stack.values()
    by_hand = stack.compute(json.loads(message["Body"]), "by-hand")
    assert by_hand.answer["status"] == "sent"
    assert stack.values() == sent


def test_shard_of_the_future(stack: Stack) -> None:
    stack.allow_lines(1_500)
    stack.compute(FULL)
    event = json.loads(stack.shards()[0]["Body"])
    event["shard"]["steps"][0]["as_of"] = "2062-05-01T00:00:00Z"
    by_hand = stack.compute(event, "by-hand")
    assert by_hand.answer["status"] == "failed"
    assert "is in the future" in by_hand.answer["message"]
    assert stack.values() == []


@pytest.mark.slow
def test_unmapped_org_unit(stack: Stack) -> None:
    stack.allow_lines(1_500)
    stack.compute(FULL)
    event = json.loads(stack.shards()[0]["Body"])
    event["shard"]["org_units"].append("OU_GONE")
    by_hand = stack.compute(event, "by-hand")
    assert "No longer mapped in mSupply, and not sent: org units OU_GONE." in by_hand.answer["warnings"]
    assert by_hand.answer["values"] > 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_dhis2": False}, "Use DHIS2 is off"),
        (
            {
                "data_elements": [
                    row | {"basis": "current_day"} for row in json.loads(document())["data_elements"]
                ]
            },
            "current day",
        ),
    ],
)
@pytest.mark.slow
def test_idle_shard_is_kept(stack: Stack, changes: dict[str, Any], reason: str) -> None:
    event = {"manual": True, "months": "2026-07..2026-10"}
    stack.compute(event, "unbroken")
    stack.work_all()
    unbroken = stack.values()
    stack.compute(event)
    first = stack.values()
    stack.aws.put_settings(document(**changes))
    (worked,) = stack.work_all()
    (line,) = worked.said("went to the dead-letter queue")
    assert reason in line["message"]
    assert "Not sent: 2026-08, 2026-09, 2026-10." in line["message"]
    assert worked.metric("ShardsFailed") == 3
    assert stack.values() == []
    (dead,) = stack.aws.messages(stack.aws.failed_shard_queue_url)
    assert reason in dead["MessageAttributes"]["reason"]["StringValue"]
    stack.aws.put_settings(document())
    stack.aws.sqs.send_message(QueueUrl=stack.aws.shard_queue_url, MessageBody=dead["Body"])
    stack.work_all()
    assert [value[1:] for value in sorted(first + stack.values())] == [value[1:] for value in unbroken]


# Months


def sent_on_the_first(stack: Stack, *firsts: str, basis: str = "previous_month") -> list[Value]:
    """Return the values that runs on these days would have sent, without their runs."""
    for number, first in enumerate(firsts):
        stack.compute({"manual": True, "basis": basis, "as_of": first}, f"on-the-first-{number}")
    return sorted(value[1:] for value in stack.values())


@pytest.mark.slow
def test_months(
    stack: Stack,
) -> None:
    expected = sent_on_the_first(stack, "2026-08-01", "2026-09-01", "2026-10-01", "2026-11-01")
    stack.compute(MONTHS)
    stack.work_all()
    assert sorted(value[1:] for value in stack.values()) == expected


@pytest.mark.slow
def test_months_in_order(stack: Stack) -> None:
    first = stack.compute(MONTHS)
    assert first.answer["month"] == "2026-07"
    assert first.answer["message"].endswith("Other invocations follow for: 2026-08, 2026-09, 2026-10.")
    assert {value[3] for value in stack.values()} == {"202607"}
    months = ["2026-08", "2026-09", "2026-10"]
    for month in months:
        (message,) = stack.shards()
        assert parse_shard(message["Body"]).step.month == month
        stack.work(message)
        assert {value[3] for value in stack.values()} == {month.replace("-", "")}
    assert stack.shards() == []


def test_months_resume(
    stack: Stack,
) -> None:
    stack.compute(MONTHS)
    (august,) = stack.shards()
    stack.work(august)
    stack.values()
    (september,) = stack.shards()
    stack.take_the_database_away()
    assert is_given_back(stack.work(september))
    assert stack.values() == []
    stack.give_the_database_back()
    # As a redrive of the dead letters does: the same text in a new message.
    stack.aws.sqs.send_message(QueueUrl=stack.aws.shard_queue_url, MessageBody=september["Body"])
    stack.work_all()
    assert {value[3] for value in stack.values()} == {"202609", "202610"}


@pytest.mark.slow
def test_month_delivered_twice(stack: Stack) -> None:
    stack.compute(MONTHS)
    (august,) = stack.shards()
    stack.work(august)
    stack.work(august)
    assert len(stack.shards()) == 1


@pytest.mark.slow
def test_month_queued_then_fault(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.compute(MONTHS)
    (august,) = stack.shards()
    with monkeypatch.context() as fault:
        fault.setattr("msupply_dhis2.handlers.compute.note_finished", fail)
        assert is_given_back(stack.work(august))
    stack.values()
    again = show_again(stack, august)
    stack.work(again)
    assert {value[3] for value in stack.values()} == {"202608"}
    stack.work_all()
    later = stack.values()
    assert {value[3] for value in later} == {"202609", "202610"}
    assert len(later) == len(set(later))


def fail(*_: object) -> None:
    raise RuntimeError("the function broke off here")


@pytest.mark.slow
def test_months_in_shards(stack: Stack) -> None:
    expected = sent_on_the_first(stack, "2026-08-01", "2026-09-01", "2026-10-01", "2026-11-01")
    stack.allow_lines(1_500)
    planned = stack.compute(MONTHS)
    assert (
        "Each does 4 steps, one after the other: 2026-07, 2026-08, 2026-09, 2026-10."
        in planned.answer["message"]
    )
    worked = stack.work_all()
    assert sorted(value[1:] for value in stack.values()) == expected
    assert planned.metric("ShardsPlanned") == len(worked) == 4 * planned.answer["shards"]
    months: dict[str, list[str]] = {}
    for invocation in worked:
        (line,) = invocation.said("on the way")
        months.setdefault(line["shard"], []).append(line["month"])
    assert set(map(tuple, months.values())) == {("2026-07", "2026-08", "2026-09", "2026-10")}


def test_current_month_refused(stack: Stack) -> None:
    next_month = (datetime.now(UTC) + timedelta(40)).strftime("%Y-%m")
    refused = stack.compute({"manual": True, "months": f"2026-07..{next_month}"})
    assert refused.answer["status"] == "failed"
    assert "is not over yet" in refused.answer["message"]
    assert (stack.shards(), stack.values()) == ([], [])


def test_months_current_day_rows(stack: Stack) -> None:
    settings = json.loads(document())
    for row in settings["data_elements"]:
        row["basis"] = "previous_month" if row["metric"] == "issued" else "current_day"
    stack.aws.put_settings(json.dumps(settings))
    only_issued = stack.compute({"manual": True, "months": "2026-10"})
    assert {value[6] for value in stack.values()} == {"ISSUED"}
    (note,) = [each for each in only_issued.answer["warnings"] if "current day" in each]
    assert 'add "basis": "previous_month" to the event' in note
    assert "stock on hand" in note.lower()
    stack.compute({"manual": True, "months": "2026-10", "basis": "previous_month"}, "request-2")
    assert {value[6] for value in stack.values()} == {metric.value.upper() for metric in Metric}


def test_months_without_rows(stack: Stack) -> None:
    settings = json.loads(document())
    for row in settings["data_elements"]:
        row["basis"] = "current_day"
    stack.aws.put_settings(json.dumps(settings))
    result = stack.compute({"manual": True, "months": "2026-10"})
    assert result.answer["status"] == "nothing to do"
    assert 'add "basis": "previous_month" to the event' in result.answer["message"]


# Restating


MONTHLY = {"interval": "monthly", "scheduled_time": "2026-11-04T15:30:00Z"}


@pytest.mark.slow
def test_earlier_months_again(stack: Stack) -> None:
    expected = sent_on_the_first(stack, "2026-09-01", "2026-10-01")
    stack.aws.put_settings(document(restate_months=2))
    own = stack.compute(MONTHLY)
    assert {value[3] for value in stack.values()} == {"202610"}
    assert own.answer["message"].endswith("Other invocations follow for: 2026-08, 2026-09.")
    stack.work_all()
    restated = stack.values()
    assert [value[1:] for value in restated] == expected
    assert {value[0] for value in restated} == {own.answer["run_id"]}


@pytest.mark.parametrize(
    "event",
    [
        {"interval": "daily", "scheduled_time": "2026-11-04T15:30:00Z"},
        {"manual": True, "basis": "previous_month", "as_of": "2026-11-05"},
        {**MONTHLY, "basis": "current_day"},
    ],
)
@pytest.mark.slow
def test_only_monthly_runs_repeat(stack: Stack, event: dict[str, Any]) -> None:
    settings = json.loads(document(restate_months=2))
    settings["data_elements"][0]["interval"] = "daily"
    stack.aws.put_settings(json.dumps(settings))
    result = stack.compute(event)
    assert result.answer["status"] == "sent"
    assert stack.shards() == []


# Without AWS


def test_preview_of_months(sample: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "settings.json"
    file.write_text(document(), encoding="utf-8")
    arguments = ["preview", "--settings", str(file), "--source", sample, "--format", "json"]
    assert local_main([*arguments, "--months", "2026-09..2026-10"]) == 0
    shown = capsys.readouterr()
    periods = [row["period"] for row in json.loads(shown.out)]
    assert sorted(set(periods)) == ["202609", "202610"]
    assert periods == sorted(periods)
    assert "Dry run: 2026-09, 2026-10: " in shown.err


# Exports


def lines_of(aws: Aws, address: str) -> list[dict[str, Any]]:
    parts = urlsplit(address)
    body = aws.s3.get_object(Bucket=parts.netloc, Key=parts.path.removeprefix("/"))["Body"].read()
    return [json.loads(line) for line in gzip.decompress(body).splitlines()]


def sent(aws: Aws) -> list[dict[str, Any]]:
    """Take the values off the queue, with the fields that a line of an export has."""
    return [
        {
            "store": value.store,
            "item": value.item,
            "metric": value.metric.value,
            "data_element": value.data_element,
            "org_unit": value.org_unit,
            "period": value.period,
            "category_option_combo": value.key.category_option_combo,
            "attribute_option_combo": value.key.attribute_option_combo,
            "value": value.value,
            "kind": "store",
            "document": None,
        }
        for message in aws.messages()
        for value in decode(str(message["Body"])).values
    ]


def in_order(lines: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(line, sort_keys=True) for line in lines)


@pytest.mark.parametrize("limits", [{}, {"metrics": ["issued"]}, {"months": "2026-09", "as_of": None}])
def test_export(
    stack: Stack,
    limits: dict[str, Any],
) -> None:
    def without_nothing(event: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in event.items() if value is not None}

    pushed = stack.compute(without_nothing({**MANUAL, **limits})).answer
    values = sent(stack.aws)
    assert values

    # Whatever the settings say about sending.
    stack.aws.put_settings(document(use_dhis2=False, only_changes=True))
    run = stack.compute(without_nothing({**VALUES, **limits}), "request-2")
    assert run.answer["status"] == "exported"
    assert stack.aws.messages() == []
    assert in_order(lines_of(stack.aws, run.answer["file"])) == in_order(values)
    for same in ("values", "stores", "items", "periods"):
        assert run.answer[same] == pushed[same]
    assert run.answer["file"] in run.answer["message"]
    assert f"/exports/{run.answer['run_id']}/values" in run.answer["file"]
    (line,) = run.said("Export: ")
    assert line["event"] == "values_exported"
    assert run.metric("RunsFailed") == run.metric("ValuesComputed") == 0


@pytest.mark.slow
def test_export_in_shards(stack: Stack) -> None:
    whole = lines_of(stack.aws, stack.compute(VALUES).answer["file"])
    stack.allow_lines(1_500)
    planned = stack.compute({**VALUES, "basis": "current_day"}, "request-2").answer
    assert planned["status"] == "planned"
    files = [shard.said("Export: ")[0]["file"] for shard in stack.work_all()]
    assert len(set(files)) == planned["shards"] > 2
    assert set(planned["files"]) == set(files)
    assert all(f"/exports/{planned['run_id']}/values-" in file for file in files)
    assert in_order([line for file in files for line in lines_of(stack.aws, file)]) == in_order(whole)
    assert stack.aws.messages() == []


def test_export_of_months(stack: Stack) -> None:
    event = {"export": "values", "months": "2026-08..2026-09", "basis": "previous_month"}
    first = stack.compute(event).answer
    (second,) = [run.said("Export: ")[0]["file"] for run in stack.work_all()]
    assert first["files"] == [first["file"], second]
    periods = [{line["period"] for line in lines_of(stack.aws, file)} for file in first["files"]]
    assert sorted(periods) == [{"202608"}, {"202609"}]


def test_mapping(stack: Stack) -> None:
    values = lines_of(stack.aws, stack.compute(VALUES).answer["file"])
    answer = stack.compute({"export": "mapping"}, "request-2").answer
    lines = lines_of(stack.aws, answer["file"])
    kinds = Counter(line["kind"] for line in lines)
    assert (kinds["store"], kinds["item"]) == (answer["stores"], answer["items"])
    skipped = {line["why"] for line in lines if line["kind"] == "skipped"}
    assert skipped > set(answer["skipped"]) > set()
    assert all("has no value" in why for why in skipped - set(answer["skipped"]))
    stores = {line["name"]: line["org_unit"] for line in lines if line["kind"] == "store"}
    items = {line["name"]: line["data_elements"] for line in lines if line["kind"] == "item"}
    for value in values:
        assert {stores[name] for name in value["store"].split("; ")} == {value["org_unit"]}
        assert {items[name][value["metric"]] for name in value["item"].split("; ")} == {value["data_element"]}


def test_failed_export(stack: Stack) -> None:
    stack.aws.put_database_address("postgresql://reader:mark3d-secret@127.0.0.1:1/omsupply")
    for event in (VALUES, {"export": "mapping"}):
        run = stack.compute(event)
        assert run.answer["status"] == "failed"
        assert "127.0.0.1" in run.answer["message"]
        assert "mark3d-secret" not in json.dumps(run.answer) + json.dumps(run.lines)
        assert run.metric("RunsFailed") == 0
