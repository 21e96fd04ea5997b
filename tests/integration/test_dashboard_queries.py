"""The dashboard's tables and graphs, the saved queries and the alarms' links, over lines that the functions write."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.dashboard.definition import widgets_of
from local.dashboard.insights import Answer, Event, ask, sources_of
from local.dashboard.metrics import series_of, written
from local.dhis2 import FaultKind
from local.dhis2.stock import ROOT_CODE
from local.sample_world import with_unassigned
from local.tools import PROJECT
from msupply_dhis2.aws import clients
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.handlers.push import MOST_FAILURES
from tests.conftest import Aws
from tests.support.dashboard import alarm_links, dashboard_body, saved_queries
from tests.support.functions import ComputeAnswers, Invocation, delivery, invoke, move_to_dead_letters
from tests.support.whole_way import OCTOBER, PASSWORD, World, whole_way

SHARD_QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:stack-shards"


@dataclass
class Stack:
    """The functions, and what they have logged."""

    world: World
    logs: dict[str, list[Event]] = field(default_factory=dict)

    def invoke(self, function: str, event: object, request_id: str = "request-1") -> Invocation:
        invocation = invoke(function, event, self.world.capsys, request_id)
        now, service = datetime.now(UTC), function.replace("_", "-")
        for line in invocation.lines:
            # In tests each invocation is a service of its own; the template names it after the function.
            named = line | {"service": service} if line["service"].startswith(f"{function}-") else line
            self.logs.setdefault(f"/stack/{service}", []).append(Event(now, json.dumps(named)))
        return invocation

    def compute(self, **changes: object) -> dict[str, Any]:
        self.world.runs += 1
        return self.invoke("compute", OCTOBER | changes, f"request-{self.world.runs}").answer

    def push(self, *, delivered: int = 1) -> list[Invocation]:
        """Hand what can be seen on the queue to push, and take what it finishes off the queue."""
        pushes = []
        for message in self.world.aws.messages():
            attributes: Any = message["Attributes"] | {"ApproximateReceiveCount": str(delivered)}
            changed: Any = message | {"Attributes": attributes}
            pushed = self.invoke("push", delivery([changed], self.world.aws.queue_arn))
            pushes.append(pushed)
            handle = message["ReceiptHandle"]
            if pushed.answer == {"batchItemFailures": []}:
                self.world.aws.sqs.delete_message(QueueUrl=self.world.aws.queue_url, ReceiptHandle=handle)
            else:
                self.world.aws.sqs.change_message_visibility(
                    QueueUrl=self.world.aws.queue_url, ReceiptHandle=handle, VisibilityTimeout=0
                )
        return pushes

    def shown(self, title: str) -> list[dict[str, Any]]:
        """Return the rows of a table of the dashboard."""
        (query,) = (
            widget.query for widget in widgets_of(dashboard_body()) if widget.title == title and widget.query
        )
        return self._rows(ask(query, self._of(sources_of(query))))

    def saved(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a saved query."""
        saved = saved_queries()[name]
        return self._rows(ask(saved.query, self._of(saved.log_groups)))

    def documented(self, title: str) -> list[dict[str, Any]]:
        """Return the rows of a query of the runbook, which is asked of push's log."""
        page = (PROJECT / "docs/operating.md").read_text(encoding="utf-8")
        (query,) = re.findall(rf"^# {re.escape(title)}\n((?:[^`\n]+\n)+)", page, re.MULTILINE)
        return self._rows(ask(query, self._of(("/stack/push",))))

    def graph(self, title: str) -> dict[str, float]:
        """Return the sums of a graph's lines by their labels."""
        data = list(written(event for events in self.logs.values() for event in events))
        (metrics,) = (widget.metrics for widget in widgets_of(dashboard_body()) if widget.title == title)
        return {metric.label: sum(value for _, value in series_of(metric, data)) for metric in metrics}

    def found_by_links(self, alarm: str) -> set[str]:
        """Return the log groups in which an alarm's links find a line."""
        return {
            group
            for group, pattern in alarm_links(alarm)
            if any(matches(pattern, event.message) for event in self.logs.get(group, ()))
        }

    def _of(self, groups: tuple[str, ...]) -> list[Event]:
        return [event for group in groups for event in self.logs.get(group, ())]

    def _rows(self, answer: Answer) -> list[dict[str, Any]]:
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def matches(pattern: str, line: str) -> bool:
    """Return whether a filter pattern of terms finds a line: all of them, or any where each has a question mark."""
    terms = re.findall(r'(\??)(?:"([^"]+)"|(\S+))', pattern)
    found = [(phrase or word) in line for _, phrase, word in terms]
    optional = {mark for mark, _, _ in terms}
    assert optional in ({"?"}, {""}), pattern
    return any(found) if optional == {"?"} else all(found)


@pytest.fixture
def stack(
    aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "stack")
    with whole_way(aws, capsys, tmp_path) as world:
        world.use(only_changes=False)
        yield Stack(world)


def refuse_some(stack: Stack) -> str:
    """Have DHIS2 refuse what is sent about one org unit, and give its store."""
    metadata = stack.world.dhis2.metadata
    (code, name) = next(
        (unit.code, unit.name) for unit in metadata.org_units if unit.code not in {None, ROOT_CODE}
    )
    stack.world.dhis2.metadata = with_unassigned(metadata, str(code))
    return name


def lose_one(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    """Have a value vanish from DHIS2 as soon as it is stored."""
    post = Dhis2Client.post_data_values

    def post_and_lose(self: Dhis2Client, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - handed on
        answer = post(self, *arguments, **options)
        del stack.world.dhis2.values.rows[max(stack.world.dhis2.values)]
        monkeypatch.setattr(Dhis2Client, "post_data_values", post)
        return answer

    monkeypatch.setattr(Dhis2Client, "post_data_values", post_and_lose)


# ------------------------------------------------------------------------------------------------- runs and fates


def test_runs_are_shown_with_their_outcome_and_counts_the_last_one_first(stack: Stack) -> None:
    first = stack.compute()
    stack.push()
    refuse_some(stack)
    second = stack.compute()
    stack.push()
    shown = stack.shown("How the last runs ended")
    assert [(row["run_id"], row["outcome"]) for row in shown] == [
        (second["run_id"], "with rejections"),
        (first["run_id"], "complete"),
    ]
    assert (shown[1]["queued"], shown[1]["stored"], shown[1]["rejected"]) == (
        first["values"],
        first["values"],
        0,
    )
    assert shown[0]["rejected"] > 0
    assert shown[0]["rejected_file"].endswith(f"/{second['run_id']}/rejected.csv")
    assert shown[1]["rejected_file"] is None
    assert stack.saved("LastRunsQuery") == shown
    documented = stack.documented("how the last runs ended")
    assert [row.items() <= whole.items() for row, whole in zip(documented, shown, strict=True)] == [True] * 2


def test_a_run_that_compute_ends_is_shown_too(stack: Stack) -> None:
    stack.world.sql("DROP TABLE stock_line")
    assert stack.compute()["status"] == "failed"
    (row,) = stack.shown("How the last runs ended")
    assert row["outcome"] == "failed"
    assert stack.shown("When each interval was last sent") == []


def test_an_interval_is_shown_with_the_last_run_that_was_sent_and_not_with_one_that_failed(
    stack: Stack,
) -> None:
    monthly: dict[str, object] = {"interval": "monthly", "scheduled_time": "2026-11-03T01:00:00Z"}
    manual = stack.compute()
    stack.push()
    for day in ("01", "02"):
        answer = stack.invoke("compute", monthly | {"scheduled_time": f"2026-11-{day}T01:00:00Z"}, day).answer
        assert answer["status"] == "sent"
        stack.push()
    stack.world.sql("DROP TABLE stock_line")
    assert stack.compute()["status"] == "failed"
    shown = stack.shown("When each interval was last sent")
    assert [(row["started_by"], row["as_of"][:10], row["outcome"]) for row in shown] == [
        ("monthly", "2026-11-02", "complete"),
        ("manual", "2026-11-03", "complete"),
    ]
    assert shown[1]["queued"] == manual["values"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", row["@timestamp"]) for row in shown)
    assert stack.saved("FreshnessQuery") == shown


def test_reasons_are_counted_by_store_and_by_item_and_each_fate_by_itself(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.world.use(only_changes=False, read_back="all")
    store = refuse_some(stack)
    lose_one(monkeypatch, stack)
    stack.compute()
    stack.push()
    (run,) = stack.shown("How the last runs ended")
    assert run["unaccounted"] == 1
    assert run["rejected"] > 1
    by_store, by_item = (stack.shown(f"The most frequent reasons by {of}") for of in ("store", "item"))
    counts = {(row["store"], row["fate"], row["code"]): row["number"] for row in by_store}
    assert counts.pop((store, "rejected", "E7636")) == run["rejected"]
    ((_, fate, code),) = counts
    assert (fate, code, *counts.values()) == ("unaccounted", "vanished", 1)
    assert [row["number"] for row in by_store] == sorted((row["number"] for row in by_store), reverse=True)
    for fate in ("rejected", "unaccounted"):
        listed = [row for row in stack.saved("RejectedQuery") if row["fate"] == fate]
        assert len(listed) == run[fate]
        assert (
            len([row for row in stack.documented("which values are not in DHIS2") if row["fate"] == fate])
            == run[fate]
        )
        assert {(row["item"], row["metric"]) for row in by_item if row["fate"] == fate} <= {
            (row["item"], row["metric"]) for row in listed
        }
    assert stack.saved("ReasonsByStoreQuery") == by_store
    assert stack.saved("ReasonsByItemQuery") == by_item
    assert [(row["store"], row["number"]) for row in stack.documented("the most frequent reasons")] == [
        (row["store"], row["number"]) for row in by_store
    ]


def test_values_are_drawn_as_often_as_they_have_a_fate(stack: Stack) -> None:
    refuse_some(stack)
    stack.compute()
    stack.push()
    (run,) = stack.shown("How the last runs ended")
    drawn = stack.graph("Values")
    assert drawn == {
        "stored": run["stored"],
        "unchanged": 0,
        "rejected": run["rejected"],
        "unaccounted": 0,
        "superseded": 0,
    }
    assert all(seconds > 0 for seconds in stack.graph("Seconds of DHIS2 for a batch").values())


# ------------------------------------------------------------------------------------------------- the connection


def connect(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    reached = ComputeAnswers(
        {"status": "database reached", "message": "mSupply's database answers.", "mapped": None}
    )
    with monkeypatch.context() as lambda_:
        lambda_.setattr(clients, "lambda_", lambda: reached)
        return stack.invoke("test_connection", {}).answer


def test_who_was_let_in_where_and_when_is_shown_by_the_test_and_by_each_push(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    title = "Last successful connection"
    stack.world.aws.put_dhis2_credentials("pusher", "mistyped")
    assert connect(stack, monkeypatch)["connected"] is False
    assert stack.shown(title) == []
    stack.world.aws.put_dhis2_credentials("pusher", PASSWORD)
    assert connect(stack, monkeypatch)["connected"] is True
    (tested,) = stack.shown(title)
    assert (tested["user"], tested["dhis2"], tested["service"]) == (
        "pusher",
        stack.world.dhis2.url,
        "test-connection",
    )
    stack.compute()
    stack.push()
    (pushed,) = stack.shown(title)
    assert pushed == tested | {"service": "push", "@timestamp": pushed["@timestamp"]}
    assert pushed["@timestamp"] > tested["@timestamp"]
    assert stack.saved("ConnectionQuery") == [pushed]
    drawn = stack.graph("Connection tests that succeeded, the queue paused")
    assert drawn["tests that succeeded"] == 1


def test_a_push_that_dhis2_did_not_answer_is_no_successful_connection(stack: Stack) -> None:
    stack.world.dhis2.faults.next(FaultKind.CUT, times=None)
    stack.compute()
    stack.push()
    assert stack.shown("Last successful connection") == []


# ------------------------------------------------------------------------- what waits, what is dead, what is left out


def test_what_waits_and_what_died_is_listed_with_the_reason(stack: Stack) -> None:
    stack.world.use(only_changes=False, items_per_payload=1_000)
    stack.world.dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=504)
    answer = stack.compute()
    for number in range(1, MOST_FAILURES + 1):
        stack.push(delivered=number)
    waited = stack.saved("WaitingQuery")
    assert len(waited) == MOST_FAILURES - 1
    assert {(row["run_id"], row["error"]) for row in waited} == {(answer["run_id"], "Dhis2SlowError")}
    (dead,) = stack.saved("DeadLettersQuery")
    assert f"It failed {MOST_FAILURES} times." in dead["message"]
    (run,) = stack.shown("How the last runs ended")
    assert (run["outcome"], run["dead"]) == ("incomplete", answer["values"])
    assert stack.found_by_links("RunIncompleteAlarm") == {"/stack/push"}
    assert stack.found_by_links("FailedBatchesAlarm") == {"/stack/push"}
    assert "/stack/push" in stack.found_by_links("OldestMessageAlarm")


def test_stores_and_items_that_were_left_out_are_listed(stack: Stack) -> None:
    item = stack.world.untick_an_item()
    answer = stack.compute()
    assert any(item in sentence for sentence in answer["left_out"])
    (row,) = stack.saved("LeftOutQuery")
    assert (row["run_id"], row["all.0"]) == (answer["run_id"], answer["left_out"][0])


# --------------------------------------------------------------------------------------------------------- alarms


def test_the_links_about_a_run_that_cannot_be_computed_find_its_line_in_compute_s_log(stack: Stack) -> None:
    stack.world.sql("DROP TABLE stock_line")
    assert stack.compute()["status"] == "failed"
    for alarm in ("RunFailedAlarm", "FailedRunsAlarm", "RunIncompleteAlarm"):
        assert stack.found_by_links(alarm) == {"/stack/compute"}, alarm


def test_the_links_about_a_shard_that_failed_find_it_and_how_its_run_ended(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES_PER_INVOCATION", "60")
    assert stack.compute()["status"] == "planned"
    first, *others = stack.world.aws.messages(stack.world.aws.shard_queue_url)
    stack.invoke("compute", delivery([first], SHARD_QUEUE_ARN))
    stack.push()
    stack.world.use(use_dhis2=False)
    for message in others:
        stack.invoke("compute", delivery([message], SHARD_QUEUE_ARN))
    (run,) = stack.shown("How the last runs ended")
    assert run["outcome"] == "incomplete"
    assert stack.found_by_links("FailedShardsAlarm") == {"/stack/compute"}
    assert stack.found_by_links("RunIncompleteAlarm") == {"/stack/compute"}
    assert len(stack.saved("DeadLettersQuery")) == len(others)


def test_the_links_about_a_run_that_the_watchdog_ended_find_its_last_line_there(stack: Stack) -> None:
    answer = stack.compute()
    move_to_dead_letters(stack.world.aws)
    stack.world.aws.runs.update_item(
        Key={"run_id": answer["run_id"], "part": "run"},
        UpdateExpression="SET started_at = :then",
        ExpressionAttributeValues={":then": (datetime.now(UTC) - timedelta(days=2)).isoformat()},
    )
    stack.invoke("watchdog", {})
    (run,) = stack.shown("How the last runs ended")
    assert (run["outcome"], run["dead"]) == ("incomplete", answer["values"])
    assert stack.found_by_links("RunIncompleteAlarm") == {"/stack/watchdog"}


def test_the_links_about_rejections_find_the_line_that_names_the_file_and_no_other(stack: Stack) -> None:
    stack.compute()
    stack.push()
    assert stack.found_by_links("RejectionsAlarm") == set()
    refuse_some(stack)
    stack.compute()
    stack.push()
    assert stack.found_by_links("RejectionsAlarm") == {"/stack/push"}


def test_the_links_about_a_refused_login_and_the_pause_that_follows_find_why(stack: Stack) -> None:
    stack.world.aws.put_dhis2_credentials("pusher", "expired")
    stack.compute()
    stack.push()
    assert stack.found_by_links("CredentialsRefusedAlarm") == {"/stack/push"}
    assert stack.found_by_links("QueuePausedAlarm") == set()
    assert stack.invoke("test_connection", {"probe": True}).answer["paused"] is True
    assert stack.found_by_links("QueuePausedAlarm") == {"/stack/test-connection"}
    assert stack.found_by_links("OldestMessageAlarm") == {"/stack/push", "/stack/test-connection"}
    drawn = stack.graph("Connection tests that succeeded, the queue paused")
    assert (drawn["queue paused"], drawn["logins refused"]) == (1, 1)


def test_the_link_about_a_silent_watchdog_finds_when_it_last_looked(stack: Stack) -> None:
    stack.invoke("watchdog", {})
    assert stack.found_by_links("WatchdogSilentAlarm") == {"/stack/watchdog"}


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-05T04:45:00.000Z 8f5 Task timed out after 900.00 seconds",
        "RequestId: 8f5 Error: Runtime exited with error: signal: killed",
        "[ERROR] KeyError: 'it is not there'",
    ],
)
@pytest.mark.parametrize(
    "alarm", ["ComputeErrorsAlarm", "PushErrorsAlarm", "TestConnectionErrorsAlarm", "WatchdogErrorsAlarm"]
)
def test_the_link_about_a_function_that_ended_with_an_error_finds_what_lambda_says_of_it(
    alarm: str, line: str
) -> None:
    ((_, pattern),) = alarm_links(alarm)
    assert matches(pattern, line)
    assert not matches(pattern, "REPORT RequestId: 8f5 Duration: 13.37 ms")
