"""Filters, alarms' links and queries match on the field event, over lines that the functions write."""

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from msupply_dhis2.aws import clients
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.domain.log_record import LogEvent
from msupply_dhis2.handlers.push import WAITS_FOR
from sandbox.dhis2 import FaultKind
from sandbox.dhis2.stock import ROOT_CODE
from sandbox.sample_world import with_unassigned
from sandbox.tools import PROJECT
from tests.conftest import Aws
from tests.support.functions import ComputeAnswers, Invocation, delivery, invoke
from tests.support.stack_template import alarm_links, dashboard_body, saved_queries, template_resources
from tests.support.whole_way import OCTOBER, PASSWORD, World, whole_way

type Line = dict[str, Any]

LAYER = PROJECT / "layers/common/msupply_dhis2"
ALARMS = [name for name, each in template_resources().items() if each["Type"] == "AWS::CloudWatch::Alarm"]


class Functions:
    """The functions, and what they have logged, by log group."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.logs: dict[str, list[Line]] = {}

    def invoke(self, function: str, event: object, request_id: str = "request-1") -> Invocation:
        invocation = invoke(function, event, self.world.capsys, request_id)
        group = f"/stack/{function.replace('_', '-')}"
        self.logs.setdefault(group, []).extend(line for line in invocation.lines if "_aws" not in line)
        return invocation

    def compute(self) -> Line:
        self.world.runs += 1
        return self.invoke("compute", OCTOBER, f"request-{self.world.runs}").answer

    def push(self, *, waited: timedelta = timedelta()) -> None:
        """Hand what can be seen on the queue to push, and take what it finishes off the queue."""
        sent = str(round((datetime.now(UTC) - waited).timestamp() * 1000))
        for message in self.world.aws.messages():
            changed: Any = message | {"Attributes": message["Attributes"] | {"SentTimestamp": sent}}
            pushed = self.invoke("push", delivery([changed], self.world.aws.queue_arn))
            handle, queue = message["ReceiptHandle"], self.world.aws.queue_url
            if pushed.answer == {"batchItemFailures": []}:
                self.world.aws.sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
            else:
                self.world.aws.sqs.change_message_visibility(
                    QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=0
                )


@pytest.fixture
def functions(aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Functions]:
    with whole_way(aws, capsys, tmp_path) as world:
        world.use(only_changes=False, items_per_payload=1_000)
        yield Functions(world)


def refuse_and_lose_some(functions: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have DHIS2 refuse what is sent about one org unit, and have a value vanish as soon as it is stored."""
    metadata = functions.world.dhis2.metadata
    refused = next(unit.code for unit in metadata.org_units if unit.code not in {None, ROOT_CODE})
    functions.world.dhis2.metadata = with_unassigned(metadata, str(refused))
    post = Dhis2Client.post_data_values

    def post_and_lose(self: Dhis2Client, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - handed on
        answer = post(self, *arguments, **options)
        del functions.world.dhis2.values.rows[max(functions.world.dhis2.values)]
        monkeypatch.setattr(Dhis2Client, "post_data_values", post)
        return answer

    monkeypatch.setattr(Dhis2Client, "post_data_values", post_and_lose)
    functions.world.use(only_changes=False, items_per_payload=1_000, read_back="all")


def have_everything_happen(functions: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let values be stored, refused, lost, given up and left out, and log in with a wrong password and a good one."""
    world = functions.world
    world.untick_an_item()
    refuse_and_lose_some(functions, monkeypatch)
    assert functions.compute()["status"] == "sent"
    functions.push()
    functions.compute()
    world.aws.put_dhis2_credentials("pusher", "expired")
    functions.push()
    functions.invoke("test_connection", {"probe": True})
    world.aws.put_dhis2_credentials("pusher", PASSWORD)
    reached = {"status": "database reached", "message": "mSupply's database answers.", "mapped": None}
    with monkeypatch.context() as lambda_:
        lambda_.setattr(clients, "lambda_", lambda: ComputeAnswers(reached))
        assert functions.invoke("test_connection", {}).answer["connected"] is True
    world.dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=504)
    functions.push()
    functions.push(waited=WAITS_FOR + timedelta(hours=1))
    world.sql("DROP TABLE stock_line")
    assert functions.compute()["status"] == "failed"
    row: Any = {"run_id": "20261103T000000Z-manual-0", "part": "run", "kind": "run", "outcome": 5}
    world.aws.runs.put_item(Item=row | {"started_at": "2026-11-20T00:00:00+00:00"})
    functions.invoke("watchdog", {})


# ------------------------------------------------------------------------------ what CloudWatch does with filters


def terms_of(pattern: str) -> list[list[tuple[str, str, str]]]:
    """Return what a filter pattern of JSON asks for: any of lists, of each of which all must hold."""
    inner = re.fullmatch(r"\{(.+)\}", pattern)
    assert inner is not None, f"no pattern on fields: {pattern}"
    terms = []
    for alternative in inner[1].split("||"):
        found = [re.fullmatch(r'\s*\$\.(\w+)(=|>)("?[^"]+"?)\s*', term) for term in alternative.split("&&")]
        assert all(found), pattern
        terms.append([(match[1], match[2], match[3].strip('"')) for match in found if match])
    return terms


def matches(pattern: str, line: Line) -> bool:
    return any(
        all(
            line.get(field, 0) > float(value) if sign == ">" else fnmatchcase(str(line.get(field)), value)
            for field, sign, value in alternative
        )
        for alternative in terms_of(pattern)
    )


def asked_for(query: str) -> tuple[set[str], set[str]]:
    """Return the events on which a query of Logs Insights matches, and the fields that it shows."""
    first, *others = query.split("|")
    events = re.match(r"\s*filter event (?:= '(\w+)'|in \[([^\]]+)\])", first.replace('"', "'"))
    assert events is not None, f"no query on events: {query}"
    shown = [
        re.sub(r"^(fields|stats .* by)", "", part.strip())
        for part in others
        if re.match(r"\s*(fields|stats)\b", part)
    ]
    fields = {field.strip().partition(".")[0] for part in shown for field in part.split(",")}
    return set(re.findall(r"\w+", events[1] or events[2])), fields - {"@timestamp"}


def queries_of_the_dashboard() -> list[str]:
    widgets = json.loads(dashboard_body())["widgets"]
    return [widget["properties"]["query"] for widget in widgets if widget["type"] == "log"]


def documented_queries() -> list[str]:
    pages = "".join(
        (PROJECT / f"docs/{page}.md").read_text(encoding="utf-8") for page in ("operating", "reference")
    )
    return re.findall(r"^(filter (?:[^`\n]+\n)+)", pages, re.MULTILINE)


# --------------------------------------------------------------------------------------------------------- tests


def test_filter_matches(functions: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    have_everything_happen(functions, monkeypatch)
    for alarm in ALARMS:
        links = alarm_links(alarm)
        assert [
            line for group, pattern in links for line in functions.logs[group] if matches(pattern, line)
        ] or alarm == "FunctionAlarm", alarm
    for name, saved in saved_queries().items():
        events, fields = asked_for(saved.query)
        lines = [line for group in saved.log_groups for line in functions.logs[group]]
        found = [line for line in lines if line["event"] in events]
        assert {line["event"] for line in found} == events, name
        assert fields <= {field for line in found for field in line}, name


def test_filter_ignores_good_runs(functions: Functions) -> None:
    functions.compute()
    functions.push()
    functions.invoke("watchdog", {})
    found = {
        alarm
        for alarm in ALARMS
        for group, pattern in alarm_links(alarm)
        if any(matches(pattern, line) for line in functions.logs.get(group, ()))
    }
    assert found == {"WatchdogSilentAlarm"}, "its link shows when the watchdog last looked"


def test_dashboard_equals_queries() -> None:
    saved = {query.query for query in saved_queries().values()}
    assert {
        query.rpartition("SOURCE ")[2].partition("|")[2].strip() for query in queries_of_the_dashboard()
    } <= saved


def test_documented_queries() -> None:
    documented = documented_queries()
    assert len(documented) >= 2
    for query in documented:
        events, _ = asked_for(query.replace("\n", " "))
        assert events <= set(LogEvent)


def test_events_are_documented() -> None:
    used = {
        node.attr
        for path in LAYER.rglob("*.py")
        if path.name != "log_record.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "LogEvent"
    }
    assert used == set(LogEvent.__members__)
    page = (PROJECT / "docs/reference.md").read_text(encoding="utf-8")
    assert set(
        re.findall(r"^\| `(\w+)` \|", page.partition("## The log")[2].partition("\n## ")[0], re.MULTILINE)
    ) == set(LogEvent)


def test_one_writer_per_line() -> None:
    # Only a line that goes through it is sure to have an event.
    elsewhere = [
        path.name
        for path in [*LAYER.rglob("*.py"), *(PROJECT / "functions").rglob("*.py")]
        if path != LAYER / "handlers/invocation.py"
        and re.search(
            r"logger\.(debug|info|warning|error|exception|critical|log)\b|\bprint\(", path.read_text("utf-8")
        )
    ]
    assert elsewhere == []
