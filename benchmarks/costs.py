"""What a country costs on AWS in a month, worked out from measured invocations.

    uv run python benchmarks/costs.py [--sizes 10 200 1289] [--measured 4 16] [--items 500]

A month is: stock on hand of the day every day (month to date: label YYYYMM), the other eleven metrics of last month once, the
probe every 15 minutes, the watchdog every day, one connection test. The functions' handlers work it as they are deployed,
against moto and the stand-in of DHIS2, once with and once without ``only_changes``. Every call of AWS is counted with the units
that it is charged by, and every byte that they log. Of the daily runs the first ``--days`` are worked; the others of the month
are taken to be like the mean of those after the first. One item in a hundred has no data element in DHIS2, so its values are
refused each time.

Two samples are worked (``--measured``). A size that is not one of them lies on the straight line through both, count by count;
where it has more lines than one invocation works, what a shard adds is measured too. Counts are the same each time (to within
a thousandth with ``only_changes``). Seconds are not: the processor's are this machine's, divided by the function's share of a
core; AWS answers in 10 thousandths of a second, and DHIS2 imports 1,500 values a second, instead of moto and the stand-in.
"""

import argparse
import io
import json
import math
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from pydantic import SecretStr
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import cold_start, prices  # noqa: E402 - after the path is set
from benchmarks.aws_calls import Meter, message_bytes  # noqa: E402 - as above
from benchmarks.compute import LAST_DAY  # noqa: E402 - as above
from benchmarks.fan_out import (  # noqa: E402 - as above
    NATION_STORES,
    PUSHES_AT_ONCE,
    SECONDS_OF_A_LINE_OF_ALL,
    SECONDS_TO_COUNT_A_LINE,
)
from benchmarks.measure import Table, in_a_process  # noqa: E402 - as above
from msupply_dhis2.domain.metric import Metric  # noqa: E402 - as above
from msupply_dhis2.handlers.watchdog import LOOKED_BACK  # noqa: E402 - as above
from msupply_dhis2.settings import Settings, parse_settings  # noqa: E402 - as above
from msupply_dhis2.state.run import RUNS_KEPT_FOR, Part, Run  # noqa: E402 - as above
from msupply_dhis2.state.runs import MESSAGES_KEPT_FOR, Runs  # noqa: E402 - as above
from sandbox.aws_on_moto import Aws, MotoStack, moto  # noqa: E402 - as above
from sandbox.dhis2 import StandIn, User  # noqa: E402 - as above
from sandbox.handlers import Context, Handler, delivery, handler_of  # noqa: E402 - as above
from sandbox.sample import generate  # noqa: E402 - as above
from sandbox.sample_world import catalogue_of, metadata_for  # noqa: E402 - as above

FUNCTIONS = {
    "compute": "ComputeFunction",
    "push": "PushFunction",
    "test_connection": "TestConnectionFunction",
    "watchdog": "WatchdogFunction",
}
FIRST_USE = {**cold_start.FIRST_USE, "watchdog": cold_start.FIRST_USE["push"]}

MONTH_DAYS = 30
MONTHLY, FIRST_DAILY, DAILY = "the monthly run", "the first daily run", "a later daily run"
PROBE, WATCHDOG, TEST, SHARD = "a probe", "the watchdog", "a connection test", "a shard"
TIMES = {
    MONTHLY: 1,
    FIRST_DAILY: 1,
    DAILY: MONTH_DAYS - 1,
    PROBE: MONTH_DAYS * 24 * 4,
    WATCHDOG: MONTH_DAYS,
    TEST: 1,
}
"""What a month is made of, and how often."""

# The movements of a store and item in 14 months, as docs/performance.md's nation has them.
MOVEMENTS_OF_A_PAIR = 10_000_000 / (1_289 * 500)
LINES_PER_INVOCATION = 2_000_000
SHARDS_MEASURED = 4
EARLIER_RUNS = 5
WHOLE_CORE_MEGABYTES = 1_769
AWS_SECONDS = 0.01
DHIS2_CALL_SECONDS = 0.1
BYTES_OF_A_VALUE = 4.4
"""On their way to DHIS2, as benchmarks/push.py measures them."""

# Lambda's own lines of an invocation: INIT_START, START, END and REPORT.
LAMBDA_S_LOG_BYTES = 450
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
BYTES_OF_A_LOG_EVENT = 26
# https://aws.amazon.com/cloudwatch/pricing/ reckons with this.
LOGS_COMPRESSED = 0.15
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html: five at a time, however little there is to do, where
# the maximum concurrency is set; each waits for 20 seconds.
POLLS = 5 * 3 * 60 * prices.MONTH_HOURS
# DynamoDB asks KMS for a table's key for each role, and remembers it so long.
KEY_REMEMBERED_SECONDS = 300
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
BYTES_OF_AN_ITEM = 100
LOOKS_AT_THE_DASHBOARD = 30
LOOKING = "looking at the dashboard every day"
COLUMNS = ("all sent", "dollars, all sent", "only changes", "dollars, only changes")
GROWING = 10
"""The lines of a bill before this one cost (nearly) the same in every country."""

PASSWORD = "mark3d-secret"  # noqa: S105 - the stand-in's
NOW = date(2026, 11, 3)

NOT_ADDED_UP = (": tables", ": metrics")
"""The ends of the names of what several invocations have in common."""

type Units = defaultdict[str, float]
"""How much there is of each thing that is charged for, or that something charged for is worked out from."""


@cache
def template() -> Mapping[str, Any]:
    """Read the stack's template."""
    read: Mapping[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return read


def megabytes(function: str) -> int:
    """Return the memory that the template gives a function."""
    return int(template()["Resources"][FUNCTIONS[function]]["Properties"]["MemorySize"])


def resources(kind: str) -> list[Mapping[str, Any]]:
    """Return the template's resources of one type."""
    return [each for each in template()["Resources"].values() if each["Type"] == kind]


@dataclass
class Log(io.TextIOBase):
    """Standard output of the functions."""

    lines: list[str] = field(default_factory=list)
    _held: str = ""

    def write(self, text: str) -> int:
        """Take what is printed."""
        *whole, self._held = (self._held + text).split("\n")
        self.lines += whole
        return len(text)

    def taken(self) -> list[str]:
        """Return the lines since last time."""
        taken, self.lines = self.lines, []
        return [line for line in taken if line]


class Stack:
    """A stack that works the events of a month, and counts.

    Attributes
    ----------
    units
        What was counted since it was last taken.
    """

    def __init__(self, aws: Aws, dhis2: StandIn, rate: float) -> None:
        self.aws = aws
        self.units: Units = defaultdict(float)
        self._dhis2 = dhis2
        self._rate = rate
        self._log = Log()
        self._handlers: dict[str, Handler] = {}
        self._metrics: dict[str, set[str]] = {}
        self._number = 0
        self._tables: Units = defaultdict(float)
        self._meter = Meter(self._count)
        assert boto3.DEFAULT_SESSION is not None  # noqa: S101 - tells mypy: the meter has made it
        boto3.DEFAULT_SESSION.events.register("before-send.lambda.Invoke", self._answer_about_the_database)

    def _count(self, name: str, number: float) -> None:
        self.units[name] += number

    def invoke(self, function: str, event: object) -> dict[str, Any]:
        """Invoke a function, warm, and count what it does."""
        self._number += 1
        os.environ["POWERTOOLS_SERVICE_NAME"] = function.replace("_", "-")
        context = Context(f"stack-{function}", megabytes(function), aws_request_id=f"request-{self._number}")
        calls, self._meter.tables = self._calls(), set()
        with redirect_stdout(self._log):
            if function not in self._handlers:
                self._handlers[function] = handler_of(function)
            start = time.thread_time()
            answer = self._handlers[function](event, context)
            self.units[f"{function}: processor seconds"] += time.thread_time() - start
        self.units[f"{function}: calls of AWS"] += self._calls() - calls
        self.units[f"{function}: invocations"] += 1
        self.units[f"{function}: bytes of logs"] += LAMBDA_S_LOG_BYTES
        # Of how many tables it asks for the key at once; see KEY_REMEMBERED_SECONDS.
        self.units[f"{function}: tables"] = max(self.units[f"{function}: tables"], len(self._meter.tables))
        for line in self._log.taken():
            self.units[f"{function}: bytes of logs"] += len(line.encode()) + BYTES_OF_A_LOG_EVENT
            self._note_metrics(function, json.loads(line))
        return answer

    def _calls(self) -> float:
        return sum(number for name, number in self.units.items() if re.fullmatch(r"[\w-]+:\w+", name))

    def _note_metrics(self, function: str, line: Mapping[str, Any]) -> None:
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", ()):
            for names in directive["Dimensions"]:
                dimensions = tuple(line[name] for name in names)
                written = {f"{metric['Name']} {dimensions}" for metric in directive["Metrics"]}
                self._metrics.setdefault(function, set()).update(written)

    def deliver(self, function: str, queue_url: str) -> None:
        """Hand a queue's messages to a function, one at a time, until it is empty."""
        while messages := self.aws.sqs.receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages"):
            for message in messages:
                size = message_bytes(message["Body"], message.get("MessageAttributes", {}))
                # Received, and deleted.
                self.units["SQS requests"] += prices.sqs_requests(size) + 1
                answer = self.invoke(function, delivery([message], self.aws.queue_arn))
                if answer != {"batchItemFailures": []}:
                    raise SystemExit(f"{function} gave a message back: nothing to count.")
                self.aws.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])

    def run(self, event: Mapping[str, object]) -> None:
        """Work a run to its end."""
        answer = self.compute(event)
        self.units["push: cold starts"] += PUSHES_AT_ONCE
        self.deliver("push", self.aws.queue_url)
        self.units["values"] += answer["values"]
        self.units["batches"] += answer["batches"]

    def compute(self, event: Mapping[str, object]) -> dict[str, Any]:
        """Work the invocation that a schedule makes."""
        self.units["compute: cold starts"] += 1
        answer = self.invoke("compute", event)
        if answer["status"] not in {"sent", "planned"}:
            raise SystemExit(f"Nothing to count: {answer['message']}")
        return answer

    def taken(self) -> Units:
        """Return what was counted since last time, with what the tables hold more than then."""
        asks = "push" if self.units["push: invocations"] else "test_connection"
        for request in self._dhis2.requests:
            took = request.values / self._rate if request.values else DHIS2_CALL_SECONDS
            self.units[f"{asks}: seconds of DHIS2"] += took
            self.units["values to DHIS2"] += request.values
        self._dhis2.requests.clear()
        tables = kept(self.aws)
        for name in tables:
            self.units[name] += tables[name] - self._tables[name]
        self._tables = tables
        for function, metrics in self._metrics.items():
            self.units[f"{function}: metrics"] += len(metrics)
        self._metrics = {}
        taken, self.units = self.units, defaultdict(float)
        return taken

    def _answer_about_the_database(self, request: Any, **_: object) -> Any:  # noqa: ANN401 - as botocore gives it
        """Be compute where the connection test asks it, instead of moto, which would want Docker."""
        answer = json.dumps(self.invoke("compute", json.loads(request.body))).encode()
        headers = HTTPHeaders.from_dict({"content-length": str(len(answer))})
        return AWSResponse(request.url, 200, headers, io.BytesIO(answer))


def kept(aws: Aws) -> Units:
    """Return what the tables hold, each item as often as months that it is kept: bytes in all, and those with a backup."""
    months = {"stack": 1.0, "stack-order": MESSAGES_KEPT_FOR / timedelta(days=MONTH_DAYS)}
    longest = RUNS_KEPT_FOR / timedelta(days=MONTH_DAYS)
    bytes_kept: Units = defaultdict(float)
    scan = boto3.Session().client("dynamodb").get_paginator("scan")
    for table in ("stack", "stack-order", "stack-acknowledged", aws.runs.name):
        for page in scan.paginate(TableName=table):
            for item in page["Items"]:
                is_message = item.get("part", {}).get("S", "").startswith("batch#")
                times = months["stack-order"] if is_message else months.get(table, longest)
                size = times * (prices.item_bytes(item) + BYTES_OF_AN_ITEM)
                bytes_kept["bytes of tables"] += size
                if table in {"stack", aws.runs.name}:
                    bytes_kept["bytes of backups"] += size
    return bytes_kept


@contextmanager
def stack(database: str, refused: int, rate: float, *, only_changes: bool) -> Iterator[Stack]:
    """Deploy a stack between a database and a DHIS2 that lacks the data element of one item in so many."""
    settings = settings_of("https://dhis2.example.org", only_changes=only_changes)
    catalogue = catalogue_of(database, settings)
    known = tuple(item for place, item in enumerate(catalogue.items, 1) if place % refused)
    user = User(username="pusher", password=SecretStr(PASSWORD))
    with (
        StandIn(
            metadata_for(replace(catalogue, items=known)), version="2.42", users=[user], now=NOW
        ) as dhis2,
        moto(),
        MotoStack().deployed(os.environ.__setitem__) as aws,
    ):
        os.environ["TIMEZONE"] = "UTC"
        aws.put_database_address(database)
        aws.put_dhis2_credentials("pusher", PASSWORD)
        aws.put_settings(settings_of(dhis2.url, only_changes=only_changes).compact())
        divide_by(1_000_000_000)
        yield Stack(aws, dhis2, rate)


def divide_by(lines: int) -> None:
    """Set how many lines an invocation works."""
    os.environ["LINES_PER_INVOCATION"] = str(lines)


def settings_of(url: str, *, only_changes: bool) -> Settings:
    """Return the worked settings of category option combos with stock on hand of the day, and the other metrics of last month."""
    worked = ROOT / "docs" / "examples" / "category_option_combo.yaml"
    document = json.loads(parse_settings(worked.read_text(encoding="utf-8")).compact())
    rows = [
        row
        | (
            {"interval": "daily", "basis": "current_day"}
            if row["metric"] == Metric.STOCK_ON_HAND.value
            else {"interval": "monthly", "basis": "previous_month"}
        )
        for row in document["data_elements"]
    ]
    changed = {"use_dhis2": True, "url": url, "only_changes": only_changes, "data_elements": rows}
    return parse_settings(json.dumps(document | changed))


def month(
    database: str, lines: int, days: int, refused: int, rate: float, *, only_changes: bool
) -> dict[str, Units]:
    """Work the events of a month, each kind of them as often as is needed, and give what one of each comes to."""
    measured: dict[str, Units] = {}
    first_day = datetime.combine(LAST_DAY.replace(day=1), datetime.min.time(), UTC)
    with stack(database, refused, rate, only_changes=only_changes) as it:
        it.run(daily_event(first_day))
        measured[FIRST_DAILY] = it.taken()
        for ago in range(1, days):
            it.run(daily_event(first_day + timedelta(days=ago)))
        measured[DAILY] = mean(it.taken(), days - 1)
        it.run({"interval": "monthly", "scheduled_time": first_day.replace(day=5, hour=4).isoformat()})
        it.units["lines"] = lines
        measured[MONTHLY] = it.taken()
        it.units["test_connection: cold starts"] += 1
        it.invoke("test_connection", {"probe": True})
        measured[PROBE] = it.taken()
        it.units["test_connection: cold starts"] += 1
        it.units["compute: cold starts"] += 1
        it.invoke("test_connection", {})
        measured[TEST] = it.taken()
        measured[WATCHDOG] = watched(it, days + 1)
        measured[SHARD] = a_shard(it, first_day + timedelta(days=days), lines)
    return measured


def daily_event(day: datetime) -> dict[str, object]:
    """Return the event of the daily schedule."""
    return {"interval": "daily", "scheduled_time": day.replace(hour=3, minute=30).isoformat()}


def watched(it: Stack, runs_there: int) -> Units:
    """Have the watchdog look, and give what it comes to with as many runs as it looks back at: four months."""
    it.units["watchdog: cold starts"] += 1
    it.invoke("watchdog", {})
    few = it.taken()
    note_earlier_runs(Runs(it.aws.runs))
    it.taken()
    it.units["watchdog: cold starts"] += 1
    it.invoke("watchdog", {})
    many = it.taken()
    each = less(many, few)
    missing = LOOKED_BACK / timedelta(days=MONTH_DAYS) * (MONTH_DAYS + 1) - runs_there - EARLIER_RUNS
    return defaultdict(
        float, {name: many[name] + max(0, each[name]) * missing / EARLIER_RUNS for name in many}
    )


def note_earlier_runs(runs: Runs) -> None:
    """Note some runs of the days before that ended."""
    now = datetime.now(UTC)
    for ago in range(1, EARLIER_RUNS + 1):
        then = now - timedelta(days=ago)
        run_id = f"{then:%Y%m%dT%H%M%SZ}-daily-earlier"
        runs.begin(Run(run_id, "daily", now, "{}"), ["1/1"], then)
        runs.parts.finish(run_id, "1/1", Part())
        runs.close(run_id, None, then)


def a_shard(it: Stack, day: datetime, lines: int) -> Units:
    """Compute a day in one piece and the next one in shards, and give what a shard adds; nothing of it is pushed."""
    it.compute(daily_event(day))
    whole = it.taken()
    divide_by(math.ceil(lines / SHARDS_MEASURED))
    planned = it.compute(daily_event(day + timedelta(days=1)))
    it.deliver("compute", it.aws.shard_queue_url)
    divided = it.taken()
    of_a_shard = mean(less(divided, whole), planned["shards"])
    # That the database reads its lines of invoices for each shard is reckoned with by the line (see fan_out).
    del of_a_shard["compute: processor seconds"]
    return of_a_shard


def less(units: Units, others: Units) -> Units:
    """Return how much more there is of each thing than in others."""
    return defaultdict(float, {name: units[name] - others[name] for name in units | others})


def mean(units: Units, number: int) -> Units:
    """Give the mean of what some events came to; what is not added up over them stays."""
    return defaultdict(
        float,
        {name: amount if name.endswith(NOT_ADDED_UP) else amount / number for name, amount in units.items()},
    )


def on_the_line(stores: int, samples: Mapping[int, Units]) -> Units:
    """Return what a country of so many stores comes to: as measured, or on the straight line through the two samples."""
    if stores in samples:
        return samples[stores]
    small, large = sorted(samples)
    share = (stores - small) / (large - small)
    return defaultdict(
        float,
        {
            name: max(0, samples[small][name] + share * (samples[large][name] - samples[small][name]))
            for name in samples[small] | samples[large]
        },
    )


def whole_month(stores: int, samples: Mapping[int, Mapping[str, Units]]) -> tuple[Units, int]:
    """Add up a month of a country, and give the number of its shards; what is bounded by time is worked out for each event."""
    events = {
        kind: on_the_line(stores, {size: measured[kind] for size, measured in samples.items()})
        for kind in TIMES
    }
    lines = events[MONTHLY]["lines"]
    shards = math.ceil(lines / LINES_PER_INVOCATION) if lines > LINES_PER_INVOCATION else 0
    # The same in every country, but for what the database reads for each.
    of_a_shard = samples[max(samples)][SHARD]
    at_once = int(template()["Parameters"]["ComputeConcurrency"]["Default"])
    total: Units = defaultdict(float)
    for kind, times in TIMES.items():
        units = events[kind]
        if shards and kind in {MONTHLY, FIRST_DAILY, DAILY}:
            units = units.copy()
            for name, amount in of_a_shard.items():
                units[name] += amount if name.endswith(NOT_ADDED_UP) else shards * amount
            units["compute: cold starts"] += min(shards, at_once)
            units["compute: seconds of the database"] += lines * (
                SECONDS_TO_COUNT_A_LINE + shards * SECONDS_OF_A_LINE_OF_ALL
            )
        of_event = timed(units)
        for name, amount in of_event.items():
            total[name] += times * amount
    # The probe writes four times in each hour.
    total["hours of metrics"] -= TIMES[PROBE] * 3 // 4 * events[PROBE]["test_connection: metrics"]
    return total, shards


def timed(units: Units) -> Units:
    """Add to what an event comes to what depends on its time: GB-seconds, requests for keys, hours of metrics."""
    units = units.copy()
    for function in FUNCTIONS:
        share = min(1.0, megabytes(function) / WHOLE_CORE_MEGABYTES)
        seconds = (
            units[f"{function}: processor seconds"] / share
            + units[f"{function}: calls of AWS"] * AWS_SECONDS
            + units[f"{function}: seconds of DHIS2"]
            + units[f"{function}: seconds of the database"]
        )
        starts = units[f"{function}: cold starts"] * start_seconds(function) / share
        units[f"{function}: GB-seconds"] = (seconds + starts) * megabytes(function) / 1024
        lasts = seconds / (PUSHES_AT_ONCE if function == "push" else 1)
        units["KMS requests"] += units[f"{function}: tables"] * math.ceil(lasts / KEY_REMEMBERED_SECONDS)
        units["hours of metrics"] += units[f"{function}: metrics"] * math.ceil(lasts / 3600)
    return units


@cache
def start_seconds(function: str) -> float:
    """Measure the processor's seconds of a cold start."""
    packages = Path(boto3.__file__).parents[1]
    layer = ROOT / "layers" / "common"
    return cold_start.seconds(function, layer, packages, FIRST_USE[function]).used.processor


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the bill."""

    name: str
    price: prices.Price
    units: float

    @property
    def dollars(self) -> float:
        """What it costs without what is free."""
        return self.units * self.price.dollars


def bill(month: Units) -> list[Line]:
    """Write the bill of a month."""
    logs = {function: month[f"{function}: bytes of logs"] / prices.GIGABYTE for function in FUNCTIONS}
    retention = template()["Parameters"]["LogRetentionDays"]["Default"] / MONTH_DAYS
    lambda_time = {function: month[f"{function}: GB-seconds"] for function in FUNCTIONS}
    invocations = sum(month[f"{function}: invocations"] for function in FUNCTIONS)
    schedules = TIMES[PROBE] + TIMES[WATCHDOG] + TIMES[MONTHLY] + MONTH_DAYS
    queues = sum(
        event["Type"] == "SQS"
        for function in resources("AWS::Serverless::Function")
        for event in function["Properties"].get("Events", {}).values()
    )
    return [
        Line("dashboard", prices.DASHBOARD, len(resources("AWS::CloudWatch::Dashboard"))),
        Line("alarms", prices.ALARM, metrics_of_alarms()),
        Line("the alarms' key", prices.KEY, len(resources("AWS::KMS::Key"))),
        Line("secrets", prices.SECRET, len(resources("AWS::SecretsManager::Secret"))),
        Line("Lambda asking the queues", prices.SQS_REQUEST, queues * POLLS),
        Line("the stack's own metrics", prices.METRIC_HOUR, month["hours of metrics"]),
        Line("probe and connection test", prices.LAMBDA_TIME, lambda_time["test_connection"]),
        Line("watchdog", prices.LAMBDA_TIME, lambda_time["watchdog"]),
        Line("schedules", prices.SCHEDULE, schedules),
        Line("DynamoDB's keys", prices.KEY_CALL, month["KMS requests"]),
        Line("compute", prices.LAMBDA_TIME, lambda_time["compute"]),
        Line("push", prices.LAMBDA_TIME, lambda_time["push"]),
        Line("invocations", prices.LAMBDA_REQUEST, invocations),
        Line("messages on the queues", prices.SQS_REQUEST, month["SQS requests"]),
        Line("writing to DynamoDB", prices.DYNAMODB_WRITE, month["write units"]),
        Line("reading from DynamoDB", prices.DYNAMODB_READ, month["read units"]),
        Line("keeping it there", prices.DYNAMODB_STORAGE, month["bytes of tables"] / prices.GIGABYTE),
        Line("its backups", prices.DYNAMODB_BACKUP, month["bytes of backups"] / prices.GIGABYTE),
        Line("reading the secrets", prices.SECRET_CALL, month["reads of secrets"]),
        Line("writing and listing files", prices.S3_WRITE, month["S3 writes and lists"]),
        Line("reading files", prices.S3_READ, month["S3 reads"]),
        Line(
            "keeping files",
            prices.S3_STORAGE,
            month["bytes of files"] / prices.GIGABYTE * (RUNS_KEPT_FOR / timedelta(days=MONTH_DAYS)),
        ),
        Line("writing logs", prices.LOGS, sum(logs.values())),
        Line("keeping logs", prices.LOGS_STORAGE, sum(logs.values()) * retention * LOGS_COMPRESSED),
        Line(LOOKING, prices.LOGS_SEARCH, LOOKS_AT_THE_DASHBOARD * searched(logs)),
        Line("sending them to DHIS2", prices.DATA_OUT, month["values to DHIS2"] * BYTES_OF_A_VALUE / 1e9),
    ]


def metrics_of_alarms() -> int:
    """Return at how many metrics the alarms look: AWS charges by them."""
    return sum(
        sum("MetricStat" in each for each in alarm["Properties"].get("Metrics", ())) or 1
        for alarm in resources("AWS::CloudWatch::Alarm")
    )


def searched(logs: Mapping[str, float]) -> float:
    """Return how much of the logs one look at the dashboard searches."""
    (dashboard,) = resources("AWS::CloudWatch::Dashboard")
    body = json.loads(dashboard["Properties"]["DashboardBody"]["Fn::Sub"])
    months = int(re.fullmatch(r"-P(\d+)D", body["start"])[1]) / MONTH_DAYS  # type: ignore[index] # it is of this form
    groups = [
        group
        for widget in body["widgets"]
        if widget["type"] == "log"
        for group in re.findall(r"SOURCE '/\$\{AWS::StackName\}/([a-z-]+)'", widget["properties"]["query"])
    ]
    return months * sum(logs[group.replace("-", "_")] for group in groups)


def free_dollars(lines: Sequence[Line]) -> float:
    """Return how much of a bill is not charged where nothing else in the account uses what is free."""
    units: dict[prices.Price, float] = {}
    for line in lines:
        units[line.price] = units.get(line.price, 0) + line.units
    return sum(min(price.free, number) * price.dollars for price, number in units.items())


def report(stores: int, months: Mapping[bool, tuple[Units, int]]) -> None:
    """Print the bills of a country, side by side: everything sent, and only what changed."""
    table = Table(f"{stores:,} stores", "unit", *(f"{what}:" for what in COLUMNS))
    bills = {only_changes: bill(month) for only_changes, (month, _) in months.items()}
    for name in ("values", "values to DHIS2", "batches"):
        table.row(name, "", *(cell for month, _ in months.values() for cell in (f"{month[name]:,.0f}", "")))
    table.row("shards of a run", "", *(cell for _, shards in months.values() for cell in (f"{shards:,}", "")))
    for lines in zip(*bills.values(), strict=True):
        cells = [cell for line in lines for cell in (_amount(line.units), f"{line.dollars:.4f}")]
        table.row(lines[0].name, lines[0].price.unit, *cells)
    totals = {only_changes: sum(line.dollars for line in lines) for only_changes, lines in bills.items()}
    free = {only_changes: free_dollars(lines) for only_changes, lines in bills.items()}
    table.row("**a month**", "", *(c for total in totals.values() for c in ("", f"**{total:.2f}**")))
    table.row(
        "the same, less what is free",
        "",
        *(cell for key, total in totals.items() for cell in ("", f"{total - free[key]:.2f}")),
    )
    fixed = [sum(line.dollars for line in lines[:GROWING]) for lines in bills.values()]
    table.row(
        "of that, what sends nothing", "", *(cell for dollars in fixed for cell in ("", f"{dollars:.2f}"))
    )
    largest = sorted(bills[False], key=lambda line: -line.dollars)
    said = ", ".join(f"{line.name} ({line.dollars:.2f})" for line in largest[:3])
    grows = sorted(bills[False][GROWING:], key=lambda line: -line.dollars)
    print(
        f"\nThe biggest, where all is sent: {said}. Of what grows with the values: "
        f"{', '.join(f'{line.name} ({line.dollars:.2f})' for line in grows[:3])}. One look at the dashboard: "
        f"{next(line.dollars for line in bills[False] if line.name == LOOKING) / LOOKS_AT_THE_DASHBOARD:.4f}.\n"
    )


def _amount(units: float) -> str:
    return f"{units:,.0f}" if units >= 100 or units == int(units) else f"{units:.3f}"  # noqa: PLR2004 - three digits say enough


def report_events(samples: Mapping[int, Mapping[str, Units]]) -> None:
    """Print what one event of each kind came to in the largest sample, and what a batch more adds to a run."""
    smallest, largest = min(samples), max(samples)
    kinds = samples[largest]
    more = kinds[MONTHLY] if smallest == largest else less(kinds[MONTHLY], samples[smallest][MONTHLY])
    names = sorted({name for units in kinds.values() for name in units})
    table = Table(
        f"counted of {largest} stores, all sent",
        *(f"{kind}:" for kind in kinds),
        "a batch of the monthly run:",
    )
    for name in names:
        table.row(
            name, *(_amount(kinds[kind][name]) for kind in kinds), f"{more[name] / more['batches']:,.2f}"
        )


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[10, 200, NATION_STORES], help="countries, by their stores")
    add(
        "--measured",
        type=int,
        nargs="+",
        default=[4, 16],
        help="stores of the samples that are worked; two, or one where no other size is asked for",
    )
    add("--items", type=int, default=500)
    add("--days", type=int, default=4, help="daily runs that are worked (default: 4)")
    add("--refused", type=int, default=100, help="DHIS2 lacks the data element of one item in so many")
    add("--dhis2-rate", type=float, default=1_500, help="values that DHIS2 imports a second")
    options = parser.parse_args(arguments)
    measured = {*options.measured}
    # Through one size there is no line on which others lie.
    if len(measured) > 2 or (len(measured) == 1 and measured != {*options.sizes}):  # noqa: PLR2004 - a line has two ends
        parser.error("--measured must be two numbers of stores, or the only one of --sizes.")
    if options.days < 2:  # noqa: PLR2004 - the first and another
        parser.error("--days must be 2 or more: the first daily run of a month, and those after it.")
    return options


def main() -> None:
    """Work the samples, and print the tables in Markdown."""
    arguments = parsed()
    measured: dict[bool, dict[int, dict[str, Units]]] = {False: {}, True: {}}
    with tempfile.TemporaryDirectory() as folder:
        for stores in arguments.measured:
            database = f"sqlite:///{folder}/{stores}.sqlite"
            pairs = stores * arguments.items
            summary = generate(
                database,
                stores=stores,
                items=arguments.items,
                movements=round(pairs * MOVEMENTS_OF_A_PAIR),
                as_of=LAST_DAY,
                edge_cases=False,
            )
            lines = summary.stock_lines + summary.movements
            work = partial(month, database, lines, arguments.days, arguments.refused, arguments.dhis2_rate)
            for only_changes, samples in measured.items():
                samples[stores] = in_a_process(work, only_changes=only_changes)
    for stores in arguments.sizes:
        report(stores, {key: whole_month(stores, samples) for key, samples in measured.items()})
    endpoints = sum(
        each["Properties"].get("VpcEndpointType") == "Interface"
        for each in resources("AWS::EC2::VPCEndpoint")
    )
    print(
        f"Not in the bills: the stack's {endpoints} VPC endpoints, where it is asked to make them, "
        f"{endpoints * prices.MONTH_HOURS * prices.ENDPOINT_HOUR:.2f} in each availability zone; a NAT gateway, "
        f"{prices.MONTH_HOURS * prices.GATEWAY_HOUR:.2f}; mSupply's database, and DHIS2.\n"
    )
    report_events(measured[False])


if __name__ == "__main__":
    main()
