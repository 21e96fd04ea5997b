"""The runs of a stack as pages, with the stack's own functions, tables, queues and log."""

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
import pytest

from cli.console.stack_state import StackState
from cli.stack import Stack, StackError
from msupply_dhis2.domain.log_record import LogEvent
from msupply_dhis2.handlers import push as push_function
from sandbox.aws_on_moto import BUCKET, Aws
from sandbox.dhis2 import FaultKind
from sandbox.handlers import Context, delivery, handler_of
from tests.support.console import Browser, Page
from tests.support.functions import deliver, show_again
from tests.support.whole_way import World, document, whole_way

LOG_GROUP = "/stack/push"
FUNCTIONS = {
    "ComputeFunction": "compute",
    "PushFunction": "push",
    "TestConnectionFunction": "test_connection",
}

if TYPE_CHECKING:
    from mypy_boto3_logs.type_defs import InputLogEventTypeDef

type Officer = Browser[StackState]


@pytest.fixture
def world(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[World]:
    with whole_way(aws, capsys, tmp_path) as it:
        it.use(only_changes=False)
        yield it


@pytest.fixture
def officer(world: World, monkeypatch: pytest.MonkeyPatch) -> Officer:
    """Return a browser at the console of the world's stack."""
    aws = world.aws
    names = {
        "RunsTable": aws.runs.name,
        "Table": aws.table.name,
        "ReportBucket": BUCKET,
        "BatchQueue": aws.queue_url,
        "FailedBatchQueue": aws.dead_letter_queue_url,
        "PushLogGroup": LOG_GROUP,
        **FUNCTIONS,
    }
    configuration = {"Environment": {"Variables": {"TIMEZONE": "Pacific/Auckland"}}}
    on_lambda = SimpleNamespace(
        get_function_configuration=lambda **_: configuration,
        invoke=lambda **_: {"Payload": io.BytesIO(b"{}")},
    )
    of_aws = Stack.client

    def resource(_: Stack, name: str) -> str:
        if name not in names:
            raise StackError(f"There is no {name}.")
        return names[name]

    def invoke(_: Stack, function: str, event: object) -> dict[str, object]:
        return handler_of(FUNCTIONS[function])(event, Context(aws_request_id=str(uuid4())))

    monkeypatch.setattr(Stack, "resource", resource)
    monkeypatch.setattr(
        Stack, "client", lambda stack, name: on_lambda if name == "lambda" else of_aws(stack, name)
    )
    monkeypatch.setattr(Stack, "invoke", invoke)
    monkeypatch.setattr("cli.console.stack_state._LOOK_EVERY", 0.01)
    return Browser(StackState("stack"))


def work_shards(world: World) -> None:
    """Hand the queue of shards to compute until it is empty."""
    url = world.aws.shard_queue_url
    while messages := world.aws.messages(url):
        for message in messages:
            event = delivery([message], world.aws.queue_arn.replace("stack-batches", "stack-shards"))
            handler_of("compute")(event, Context(aws_request_id=str(uuid4())))
            world.aws.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def use_wrong_combo(world: World) -> None:
    """Send the quantities issued under an option that DHIS2 does not have."""
    rows = [
        {**row, "category_option_id": "NOWHERE"} if row["metric"] == "issued" else row
        for row in document(world.dhis2.url)["data_elements"]
    ]
    world.use(only_changes=False, data_elements=rows)


def the_run(officer: Officer) -> Page:
    page = officer.open("/runs")
    link = next(link for link in page.links if link.startswith("/runs/2"))
    return officer.open(link)


def test_no_run_yet(officer: Officer) -> None:
    text = officer.open("/runs").text
    assert "There is no run yet. Send one store first" in text
    assert "Sending goes on." in text
    assert "Not delivered : Everything was delivered" in text
    assert officer.open("/runs/nothing").status == 404


def test_run_with_its_sums(officer: Officer, world: World) -> None:
    values = world.run()["values"]
    assert f"complete {values:,} values: {values:,} stored" in officer.open("/runs").text
    page = the_run(officer)
    assert f"complete. {values:,} values: {values:,} stored." in page.text
    assert re.search(rf"stored {values:,} unchanged.* 0 rejected 0 .* all {values:,}", page.text)
    assert "Manual push, previous month, as of 2026-11-03" in page.text


def test_rejections_by_cause(officer: Officer, world: World) -> None:
    use_wrong_combo(world)
    world.run()
    page = the_run(officer)
    found = re.search(r"(\d+) values rejected \((E\d+)\)", page.text)
    assert found, page.text
    csv_link = next(link for link in page.links if link.startswith("/runs/refused.csv?"))
    text = officer.client.get(csv_link).text.removeprefix("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == int(found[1])
    assert {row["metric"] for row in rows} == {"issued"}
    world.use(only_changes=False)
    assert not re.search(r"dead letter|breaker|shard|\(make", page.text)
    form = next(form for form in page.forms if form.values.get("metrics") == "issued")
    officer.client.post("/push/plan", data={**form.values, "asked": "1"})
    page = officer.wait("/push")
    assert f"Send {len(rows)} values of 3 stores for 202610" in page.text
    assert f"Asked for: 1 value. There are {len(rows) - 1} more of the same stores" in page.text


def test_one_value_through_all(officer: Officer, world: World) -> None:
    world.run()
    use_wrong_combo(world)
    world.run(metrics=["issued"])
    world.run(metrics=["received"])
    link = next(link for link in the_run_with_rejections(officer).links if link.startswith("/runs/value?"))
    page = officer.open(link)
    assert page.text.count("rejected (E") == 1
    assert page.text.count("It is not among the values that are not in DHIS2 (the run: complete).") == 1
    assert any(link.startswith("/explain?") for link in page.links)
    assert "None of the last runs" in officer.open(link.replace("202610", "202001")).text
    assert "Name a store and an item" in officer.open("/runs/value").text


def the_run_with_rejections(officer: Officer) -> Page:
    links = [link for link in officer.open("/runs").links if link.startswith("/runs/2")]
    pages = [officer.open(link) for link in links]
    return next(page for page in pages if "values rejected (" in page.text)


def test_last_calls(officer: Officer, world: World) -> None:
    run_id = world.compute()["run_id"]
    lines = [line for pushed in world.deliver() for line in pushed.lines if "message" in line]
    calls = [line for line in lines if line["event"] == LogEvent.DHIS2_CALL]
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName=LOG_GROUP)
    logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName="one")
    events: list[InputLogEventTypeDef] = [
        {"timestamp": int(1_000 * time.time()) + number, "message": json.dumps(line)}
        for number, line in enumerate([*lines, {**calls[0], "run_id": "another", "path": "/api/other"}])
    ]
    logs.put_log_events(logGroupName=LOG_GROUP, logStreamName="one", logEvents=events)
    link = next(link for link in the_run(officer).links if link.startswith("/runs/calls?"))
    page = officer.open(link)
    posts = [call for call in calls if call["method"] == "POST" and call["run_id"] == run_id]
    assert page.text.count("POST /api/dataValueSets 200") == len(posts[-50:])
    assert f"imported {posts[-1]['imported']}" in page.text
    assert "/api/other" not in page.text
    logs.delete_log_group(logGroupName=LOG_GROUP)


def test_pause_and_resume(officer: Officer, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.console.stack_state._PATIENCE", 0.0)
    officer.submit(officer.open("/runs"), "/runs/pause", reason="DHIS2 is upgraded")
    page = officer.open("/runs?done=pause")
    assert "Sending has been paused since" in page.text
    assert "because somebody paused it (DHIS2 is upgraded). Nothing is lost." in page.text
    assert world.aws.breaker().state == "open (by hand)"
    officer.submit(officer.open("/push"), "/push/plan", basis="previous_month", as_of="2026-11-03")
    officer.submit(officer.wait("/push"), "/push/send")
    told = officer.wait("/push").text
    assert re.search(r"The push of \d+ values goes on\. Values of it still wait\.", told)
    assert "Sending has been paused since" in told
    officer.submit(page, "/runs/resume")
    assert world.aws.breaker().state == "closed"
    assert "Sending goes on." in officer.open("/runs").text


def test_not_delivered_sent_again(officer: Officer, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    values = world.compute()["values"]
    monkeypatch.setattr(push_function, "MOST_FAILURES", 1)
    world.dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=504)
    while world.waiting():
        show_again(world.aws, deliver(world.aws, world.capsys))
    world.dhis2.faults.clear()
    page = officer.open("/runs")
    assert f"{values:,} values could not be delivered to DHIS2." in page.text
    assert f"incomplete {values:,} values: {values:,} not delivered" in page.text
    page = officer.open("/not-delivered")
    assert f"{values:,} values, since" in page.text
    assert "504" in page.text
    assert not re.search("dead letter|breaker|shard", page.text)
    officer.submit(page, "/runs/send-again")
    page = officer.wait("/not-delivered")
    assert f"{values:,} values are on their way again." in page.text
    assert "Everything was delivered, or still waits." in page.text
    world.deliver()
    assert f"complete. {values:,} values: {values:,} stored" in the_run(officer).text


def test_stopped_and_the_rest_sent(officer: Officer, world: World) -> None:
    values = world.compute()["values"]
    page = the_run(officer)
    assert f"goes on. {values:,} values: {values:,} waiting" in page.text
    officer.submit(page, "/runs/stop")
    world.deliver()
    page = the_run(officer)
    assert f"incomplete. {values:,} values: {values:,} not sent" in page.text
    assert "The run was stopped. DHIS2 keeps what it has." in page.text
    assert f"Send the {values:,} values that were not sent" in page.text
    officer.submit(page, "/push/plan")
    page = officer.wait("/push")
    assert f"Send {values:,} values of 3 stores for 202610" in page.text
    assert f": {values:,} new." in page.text


@pytest.mark.slow
def test_run_of_a_schedule_again(officer: Officer, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = {"manual": False, "interval": "monthly", "basis": None, "as_of": None}
    values = world.compute(**run, scheduled_time="2026-11-05T00:00:00Z")["values"]
    officer.submit(the_run(officer), "/runs/stop")
    world.deliver()
    page = the_run(officer)
    assert "monthly" in page.text
    asks = Stack.invoke

    def invoke_and_deliver(stack: Stack, function: str, event: object) -> dict[str, object]:
        answer = asks(stack, function, event)
        world.deliver()
        return answer

    monkeypatch.setattr(Stack, "invoke", invoke_and_deliver)
    officer.submit(page, "/runs/again")
    page = officer.wait("/push")
    assert f"stored {values:,}" in page.text
    assert "The push of" in page.text


@pytest.mark.slow
def test_earlier_months(officer: Officer, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.use(only_changes=True)
    months = {"months": "2026-08..2026-09", "all_stores": "true", "metrics": "closing_stock"}
    asks = Stack.invoke

    def invoke_and_deliver(stack: Stack, function: str, event: object) -> dict[str, object]:
        answer = asks(stack, function, event)
        work_shards(world)
        world.deliver()
        return answer

    monkeypatch.setattr(Stack, "invoke", invoke_and_deliver)
    for became in ("stored", "values were not sent, because DHIS2 has them already"):
        officer.submit(officer.open("/push"), "/push/plan", **months)
        page = officer.wait("/push")
        told = re.search(r"Send (\d+) values of .+ for 202608, 202609 to", page.text)
        assert told, page.text
        officer.submit(page, "/push/send")
        page = officer.wait("/push")
        assert became in page.text
        assert told[1] in page.text
