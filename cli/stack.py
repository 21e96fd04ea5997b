"""A deployed stack, spoken with from one's own machine: ``python -m cli.stack test-connection|push|logs|…``.

It makes no difference whether the stack is on AWS or on the local emulator: that is said by the environment
(``AWS_PROFILE``, ``AWS_REGION``; ``AWS_ENDPOINT_URL`` for the emulator).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from cli.report import as_text
from cli.settings import STACK
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.preflight.job import ConnectionReport
from msupply_dhis2.text import count, joined

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient

# Compute may take 15 minutes. A client that asks again meanwhile would start the run a second time.
_CONFIG = Config(connect_timeout=10, read_timeout=910, tcp_keepalive=True, retries={"total_max_attempts": 1})
_LAMBDA_S_OWN = ("START RequestId", "END RequestId", "REPORT RequestId", "INIT_START", "INIT_REPORT")
_FOLLOW_EVERY = 2.0
_LATE = timedelta(seconds=20)
_QUEUES = {
    "BatchQueue": ("batch for DHIS2", "batches for DHIS2"),
    "FailedBatchQueue": ("dead letter",),
    "ShardQueue": ("part of a run to be computed", "parts of runs to be computed"),
    "FailedShardQueue": ("part of a run that failed", "parts of runs that failed"),
    "FailedRunQueue": ("run that did not take place", "runs that did not take place"),
}
"""What a message is on each queue."""


class StackError(RuntimeError):
    """The stack, or one of its resources, is not there."""


class NoStackError(StackError):
    """There is no stack of that name, or it may not be looked at."""


class FunctionFailedError(RuntimeError):
    """A function raised an error.

    Attributes
    ----------
    kind
        The error's class, as Lambda reports it.
    message
        Its message.
    """

    def __init__(self, function: str, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(f"{function} failed with {kind}: {message}")


class LogRecord(BaseModel):
    """A line that a function logged; what else it says beside the message is in ``fields``.

    ``level`` is empty for a line that is not one of ours, such as that of a function which ran out of time.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    instant: datetime
    level: str
    message: str
    fields: Mapping[str, Any]


class QueueDepth(BaseModel):
    """How many messages a queue holds: those that wait, and those that a consumer has in its hands."""

    model_config = ConfigDict(frozen=True)

    waiting: int
    in_flight: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is being worked on."""
        return self.held == 0

    @property
    def held(self) -> int:
        """How many there are in all."""
        return self.waiting + self.in_flight


class Stack:
    """A deployed stack. Resources are named by their logical ids in ``template.yaml``.

    Parameters
    ----------
    name
        The stack's name.
    session
        Whose rights to use, and in which region.
    endpoint
        The address of an emulator; ``None`` is AWS, or what the environment says.
    """

    def __init__(self, name: str, session: boto3.Session, endpoint: str | None = None) -> None:
        self.name = name
        self._session = session
        self._endpoint = endpoint
        self._resources: dict[str, str] = {}

    @property
    def region(self) -> str:
        """The region that it is in."""
        return str(self.client("cloudformation").meta.region_name)

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 knows the type by the name
        """Return a boto3 client of a service."""
        # The stubs know each service's type by a literal name only.
        return self._session.client(service, endpoint_url=self._endpoint, config=_CONFIG)  # type: ignore[call-overload]

    def table(self, logical_id: str) -> "Table":
        """Return one of the stack's DynamoDB tables."""
        dynamodb = self._session.resource("dynamodb", endpoint_url=self._endpoint, config=_CONFIG)
        return dynamodb.Table(self.resource(logical_id))

    def resource(self, logical_id: str) -> str:
        """Return the physical id (a function's name, a queue's URL) of one of the template's resources.

        Raises
        ------
        NoStackError
            There is no such stack.
        StackError
            There is no such resource in it.
        """
        if not self._resources:
            try:
                answer = self.client("cloudformation").describe_stack_resources(StackName=self.name)
            except ClientError as error:
                raise NoStackError(
                    f"The stack {self.name} cannot be looked at: {error}. Is it deployed (make deploy), and is this "
                    "its AWS account and region? Another name is given with STACK=name."
                ) from error
            self._resources = {
                resource["LogicalResourceId"]: resource["PhysicalResourceId"]
                for resource in answer["StackResources"]
                # What could not be made has none.
                if resource.get("PhysicalResourceId")
            }
        if logical_id not in self._resources:
            raise StackError(
                f"The stack {self.name} has no {logical_id}. Was it deployed to the end (make deploy, and y), and from this "
                "template?"
            )
        return self._resources[logical_id]

    def outputs(self) -> dict[str, str]:
        """Return the stack's outputs."""
        (stack,) = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def invoke(self, function: str, event: object) -> dict[str, Any]:
        """Invoke a function and wait for its result.

        Raises
        ------
        FunctionFailedError
            It raised an error, or Lambda ended it.
        """
        client: LambdaClient = self.client("lambda")
        answer = client.invoke(FunctionName=self.resource(function), Payload=json.dumps(event))
        payload: dict[str, Any] = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise FunctionFailedError(function, payload.get("errorType", ""), payload.get("errorMessage", ""))
        return payload

    def invoke_asynchronously(self, function: str, event: object) -> None:
        """Invoke a function as a schedule does: nobody waits for its result."""
        client: LambdaClient = self.client("lambda")
        client.invoke(FunctionName=self.resource(function), InvocationType="Event", Payload=json.dumps(event))

    def logs(self, function: str, since: datetime | None = None) -> list[LogRecord]:
        """Return what a function logged, the oldest line first."""
        client: CloudWatchLogsClient = self.client("logs")
        group = self.resource(function.removesuffix("Function") + "LogGroup")
        start = 0 if since is None else int(since.timestamp() * 1000)
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=start)
        events = sorted(
            (event for page in pages for event in page["events"]), key=lambda event: event["timestamp"]
        )
        return [
            line
            for event in events
            # Not the eventId: the emulator gives none.
            for line in _lines(
                f"{event['logStreamName']} {event['timestamp']} {event['message']}",
                event["timestamp"],
                event["message"],
            )
        ]

    def depth(self, queue: str) -> QueueDepth:
        """Return how many messages a queue holds."""
        client: SQSClient = self.client("sqs")
        attributes = client.get_queue_attributes(
            QueueUrl=self.resource(queue),
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        return QueueDepth(
            waiting=int(attributes["ApproximateNumberOfMessages"]),
            in_flight=int(attributes["ApproximateNumberOfMessagesNotVisible"]),
        )


def _lines(identifier: str, timestamp: int, text: str) -> Iterator[LogRecord]:
    instant = datetime.fromtimestamp(timestamp / 1000, UTC)
    if text.startswith(_LAMBDA_S_OWN):
        return
    try:
        document = json.loads(text)
    except ValueError:
        document = {"level": "", "message": text.strip()}
    # Metrics are logged as JSON too, without a message.
    if isinstance(document, dict) and "message" in document:
        level, message = document.pop("level", ""), document.pop("message")
        yield LogRecord(id=identifier, instant=instant, level=level, message=str(message), fields=document)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code: 0 where all went well."""
    options = _parser().parse_args(arguments)
    try:
        code = _run(Stack(options.stack, boto3.Session()), options)
    except NoRegionError:
        sys.stderr.write("No AWS region is chosen. Set AWS_REGION, and AWS_PROFILE if need be.\n")
        return 1
    except NoStackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (StackError, FunctionFailedError, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    except KeyboardInterrupt:
        return 130
    if code and options.stack != STACK:
        # The functions name commands without it.
        sys.stderr.write(
            f"This is about the stack {options.stack}: end each make command with STACK={options.stack}.\n"
        )
    return code


def _run(stack: Stack, options: argparse.Namespace) -> int:
    match options.command:
        case "test-connection":
            return _test_connection(stack)
        case "push":
            return _push(stack, options.event)
        case "dead-letters" | "redrive" | "pause" | "resume":
            return _ask_push(stack, options)
        case "watchdog":
            return _watchdog(stack)
        case "before-delete":
            return _before_delete(stack)
        case _:
            return _logs(stack, timedelta(minutes=options.minutes), follow=options.follow)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cli.stack", description="A deployed stack.")
    commands = parser.add_subparsers(dest="command", required=True)
    test = commands.add_parser("test-connection", help="test DHIS2 and the database from where the stack is")
    push = commands.add_parser("push", help="compute now and send")
    push.add_argument("--event", default='{"manual": true}', metavar="JSON", help="what compute is asked for")
    logs = commands.add_parser("logs", help="show what the functions logged")
    logs.add_argument(
        "--minutes", type=int, default=60, metavar="NUMBER", help="how far to go back (default: 60)"
    )
    logs.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    listing = commands.add_parser("dead-letters", help="list what could not be brought to DHIS2")
    redrive = commands.add_parser("redrive", help="send it again")
    for command in (listing, redrive):
        command.add_argument("--run", metavar="RUN-ID", help="only those of this run")
        command.add_argument(
            "--reason", metavar="WORDS", help="only those with these words in what they died of"
        )
    pause = commands.add_parser("pause", help="stop sending to DHIS2; values wait")
    pause.add_argument("--reason", metavar="WORDS", help="why, for those who wonder")
    resume = commands.add_parser("resume", help="send again what was stopped by hand")
    watchdog = commands.add_parser("watchdog", help="look now whether every run took place and ended")
    before = commands.add_parser("before-delete", help="say what goes with the stack, and what stays")
    for command in (test, push, logs, listing, redrive, pause, resume, watchdog, before):
        command.add_argument("--stack", default=STACK, help=f"the stack's name ({STACK})")
    return parser


def _test_connection(stack: Stack) -> int:
    report = ConnectionReport.model_validate(stack.invoke("TestConnectionFunction", {}))
    sys.stdout.write(as_text(report, colour=sys.stdout.isatty()) + "\n")
    return 0 if report.all_well else 1


def _push(stack: Stack, event: str) -> int:
    try:
        document = json.loads(event)
    except (ValueError, RecursionError) as error:
        raise StackError(
            f"The event {event} is not JSON ({error}). For example EVENT='{{\"manual\": true}}'."
        ) from error
    result = ComputeResult.model_validate(stack.invoke("ComputeFunction", document))
    sys.stdout.write(f"{result.message}\n")
    facts = {
        "Run": result.run_id,
        "As of": result.as_of and result.as_of.isoformat(),
        "See the log": result.see_the_log,
    }
    sys.stdout.writelines(f"{name}: {value}\n" for name, value in facts.items() if value)
    for title, sentences in (("Left out", result.left_out), ("To note", result.warnings)):
        if sentences:
            sys.stdout.write(f"{title}:\n")
            sys.stdout.writelines(f"  - {sentence}\n" for sentence in sentences)
    return 1 if result.status is Status.FAILED else 0


_ASKED = {
    "dead-letters": {"dead_letters": "list"},
    "redrive": {"dead_letters": "redrive"},
    "pause": {"breaker": "open"},
    "resume": {"breaker": "close"},
}


def _ask_push(stack: Stack, options: argparse.Namespace) -> int:
    chosen = {name: getattr(options, name, None) for name in ("run", "reason")}
    event = _ASKED[options.command] | {name: text for name, text in chosen.items() if text}
    sys.stdout.write(f"{stack.invoke('PushFunction', event)['message']}\n")
    return 0


def _watchdog(stack: Stack) -> int:
    looked = stack.invoke("WatchdogFunction", {})
    sys.stdout.write(
        "\n".join((looked["message"], *(f"- {finding}" for finding in looked["findings"]))) + "\n"
    )
    return 1 if looked["findings"] else 0


def _before_delete(stack: Stack) -> int:
    try:
        bucket, history = stack.resource("ReportBucket"), stack.resource("RunsTable")
        depths = ((stack.depth(queue), names) for queue, names in _QUEUES.items())
        held = [count(depth.held, *names) for depth, names in depths if not depth.is_empty]
        waiting = f"Its queues hold {joined(held)}: that goes too." if held else "Nothing is on its queues."
    except NoStackError:
        raise
    except (StackError, ClientError) as error:
        # A deployment that failed can be deleted, too.
        bucket, history, waiting = "BUCKET", "TABLE", f"What is on its queues cannot be told: {error}"
    lines = (
        f"The stack {stack.name} goes with its functions, schedules, secrets, queues and logs.",
        waiting,
        "What DHIS2 has stays there. These stay until you delete them:",
        f"  - the settings: aws ssm delete-parameter --region {stack.region} --name /{stack.name}/settings",
        f"  - the bucket with the files of the runs: aws s3 rb --force s3://{bucket}",
        f"  - the table with the history of the runs: aws dynamodb delete-table --region {stack.region} --table-name {history}",
    )
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _logs(stack: Stack, back: timedelta, *, follow: bool) -> int:
    # No emoji: the name of a secret holds ":secret:", which is one.
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    since = datetime.now(UTC) - back
    seen: set[str] = set()
    while True:
        now = datetime.now(UTC)
        lines = [
            (line, function)
            for function in ("ComputeFunction", "PushFunction", "TestConnectionFunction", "WatchdogFunction")
            for line in stack.logs(function, since)
            if line.id not in seen
        ]
        for line, function in sorted(lines, key=lambda pair: pair[0].instant):
            seen.add(line.id)
            style = {"ERROR": "red", "WARNING": "yellow"}.get(line.level, "")
            text = (
                f"{line.instant:%H:%M:%S}Z  {function.removesuffix('Function')}  {line.level}  {line.message}"
            )
            console.print(text, style=style)
        if not follow:
            if not seen:
                sys.stderr.write(f"Nothing was logged in the last {back}.\n")
            return 0
        # Lines arrive late, and not in order.
        since = max(since, now - _LATE)
        time.sleep(_FOLLOW_EVERY)


if __name__ == "__main__":
    sys.exit(main())
