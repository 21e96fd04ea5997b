"""A deployed stack, spoken with from one's own machine.

It makes no difference whether the stack is on AWS or on the local emulator: that is said by the environment
(``AWS_PROFILE``, ``AWS_REGION``; ``AWS_ENDPOINT_URL`` for the emulator).
"""

import gzip
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError
from pydantic import BaseModel, ConfigDict

from cli.comparison import HeldValues
from msupply_dhis2.aws.errors import BAD_LOGIN, LOG_IN, NOT_ALLOWED, NOT_LOGGED_IN
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.errors import MsupplyDhis2Error
from msupply_dhis2.explain.explanation import Explanation
from msupply_dhis2.handlers.orders import DeadLetterAnswer
from msupply_dhis2.preflight.job import ConnectionReport
from msupply_dhis2.text import count, joined

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import DynamoDBServiceResource, Table
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

# Compute may take 15 minutes. A client that asks again meanwhile would start the run a second time.
_CONFIG = Config(connect_timeout=10, read_timeout=910, tcp_keepalive=True, retries={"total_max_attempts": 1})
_LAMBDA_S_OWN = ("START RequestId", "END RequestId", "REPORT RequestId", "INIT_START", "INIT_REPORT")
_LATE = timedelta(seconds=20)
_BETWEEN_REDRIVES = 15.0
_LOOK_EVERY = 1.0
_PATIENCE = 900.0
"""Seconds for which the files of an export are waited for: an invocation of compute may take so long."""
_MOST_REDRIVES = 80
"""In all twenty minutes: dead letters at which push broke off are hidden for a quarter of an hour."""
_QUEUES = {
    "BatchQueue": ("batch for DHIS2", "batches for DHIS2"),
    "FailedBatchQueue": ("dead letter",),
    "ShardQueue": ("part of a run to be computed", "parts of runs to be computed"),
    "FailedShardQueue": ("part of a run that failed", "parts of runs that failed"),
    "FailedRunQueue": ("run that did not take place", "runs that did not take place"),
}
"""What a message is on each queue."""


class StackError(MsupplyDhis2Error):
    """The stack, or one of its resources, is not there, or AWS refuses or fails."""


class NoStackError(StackError):
    """There is no stack of that name, or it may not be looked at."""


class LoginError(StackError):
    """AWS does not know who asks, or no longer."""


class FunctionFailedError(MsupplyDhis2Error):
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


class WatchdogAnswer(BaseModel):
    """What the watchdog says, and what it found."""

    model_config = ConfigDict(frozen=True)

    message: str
    findings: tuple[str, ...]


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
        self._clients: dict[str, Any] = {}
        self._dynamodb: DynamoDBServiceResource | None = None
        self._making = Lock()

    @property
    def region(self) -> str:
        """The region that it is in."""
        return str(self.client("cloudformation").meta.region_name)

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 knows the type by the name
        """Return a boto3 client of a service, the same one each time: to make it takes longer than most calls."""
        # A session must not be used by two threads at once; a client may.
        with self._making:
            if service not in self._clients:
                # The stubs know each service's type by a literal name only.
                made = self._session.client(service, endpoint_url=self._endpoint, config=_CONFIG)  # type: ignore[call-overload]
                self._clients[service] = made
            return self._clients[service]

    def table(self, logical_id: str) -> "Table":
        """Return one of the stack's DynamoDB tables."""
        name = self.resource(logical_id)
        with self._making:
            if self._dynamodb is None:
                self._dynamodb = self._session.resource(
                    "dynamodb", endpoint_url=self._endpoint, config=_CONFIG
                )
            return self._dynamodb.Table(name)

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
                if error.response["Error"]["Code"] in NOT_ALLOWED | BAD_LOGIN:
                    raise
                raise NoStackError(
                    f"The stack {self.name} cannot be read: {error}. Deploy it (make deploy), or check the AWS "
                    "account and the region. STACK=name names another stack."
                ) from error
            self._resources = {
                resource["LogicalResourceId"]: resource["PhysicalResourceId"]
                for resource in answer["StackResources"]
                # What could not be made has none.
                if resource.get("PhysicalResourceId")
            }
        if logical_id not in self._resources:
            raise StackError(
                f"The stack {self.name} has no {logical_id}. Its deployment did not end, or it was deployed from another "
                "template. Deploy it (make deploy, and y)."
            )
        return self._resources[logical_id]

    def has(self, logical_id: str) -> bool:
        """Return whether the stack has one of the template's resources, which may depend on its parameters."""
        try:
            self.resource(logical_id)
        except NoStackError:
            raise
        except StackError:
            return False
        return True

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

    def may_call(self, function: str) -> bool:
        """Return whether a function may be invoked; it is not."""
        try:
            answer = self.client("lambda").invoke(
                FunctionName=self.resource(function), InvocationType="DryRun", Payload="{}"
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in NOT_ALLOWED:
                return False
            raise
        answer["Payload"].close()
        return True

    def invoke_asynchronously(self, function: str, event: object) -> None:
        """Invoke a function as a schedule does: nobody waits for its result."""
        client: LambdaClient = self.client("lambda")
        client.invoke(FunctionName=self.resource(function), InvocationType="Event", Payload=json.dumps(event))

    def test_connection(self, typed: Mapping[str, str] | None = None) -> ConnectionReport:
        """Have the stack test the connection, with what is in force or with what somebody has typed."""
        return ConnectionReport.model_validate(
            self.invoke("TestConnectionFunction", {"typed": typed} if typed else {})
        )

    def push(self, event: Mapping[str, object]) -> ComputeResult:
        """Have compute do what an event asks for, and wait for its answer."""
        return ComputeResult.model_validate(self.invoke("ComputeFunction", event))

    def explain(self, question: Mapping[str, str]) -> Explanation:
        """Have compute explain a value.

        Raises
        ------
        StackError
            The question could not be answered.
        """
        answer = self.invoke("ComputeFunction", {"explain": question})
        if answer.get("status") == "failed":
            raise StackError(str(answer["message"]))
        return Explanation.model_validate(answer)

    def held(self, asked: Mapping[str, object]) -> HeldValues:
        """Have test connection read what DHIS2 holds.

        Raises
        ------
        StackError
            They could not be read.
        """
        answer = self.invoke("TestConnectionFunction", {"held": asked})
        if answer["status"] != "read":
            raise StackError(str(answer["message"]))
        values = answer["values"] if "values" in answer else list(self.lines_of_file(answer["file"]))
        return HeldValues(values, answer.get("left_out", {}), str(answer["message"]))

    def export(
        self, limits: Mapping[str, object], watch: Callable[[int, int], None] = lambda *_: None
    ) -> tuple[ComputeResult, list[dict[str, Any]]]:
        """Have compute write the values of a manual push, and return its answer and them; several invocations may do so.

        ``watch`` is told how many of how many files are there. Where there are several, the answer sums them up.

        Raises
        ------
        StackError
            Some of the files were not written in time.
        """
        result = self.push({"export": "values", **limits})
        files = result.files or ((result.file,) if result.file else ())
        self._wait_for(files, watch)
        lines = [line for file in files for line in self.lines_of_file(file)]
        if len(files) < 2:  # noqa: PLR2004 - nothing to add up
            return result, lines
        of_customers = {str(line["store"]) for line in lines if line.get("kind") == Kind.CUSTOMER}
        stores = {str(line["store"]) for line in lines} - of_customers
        items = {str(line["item"]) for line in lines}
        message = (
            f"Export: {count(len(lines), 'value')} of {count(len(stores), 'store')} and {count(len(items), 'item')}, in "
            f"{count(len(files), 'file')}. Nothing was sent."
        )
        facts = {
            "periods": tuple(sorted({str(line["period"]) for line in lines})),
            "stores": len(stores),
            "customers": len(of_customers),
            "items": len(items),
            "values": len(lines),
        }
        return result.ended(Status.EXPORTED, message, **facts), lines

    def _wait_for(self, files: Sequence[str], watch: Callable[[int, int], None]) -> None:
        until = time.monotonic() + _PATIENCE
        wanted = set(files)
        while True:
            missing = wanted - set(self._files_beside(files[0])) if len(files) > 1 else set()
            watch(len(wanted) - len(missing), len(wanted))
            if not missing:
                return
            if time.monotonic() > until:
                raise StackError(
                    f"Of the {count(len(wanted), 'file')} of the export {len(missing):,} were not written within "
                    f"{_PATIENCE / 60:.0f} minutes. The log of compute says why (make logs)."
                )
            time.sleep(_LOOK_EVERY)

    def _files_beside(self, address: str) -> Iterator[str]:
        bucket, _, key = address.removeprefix("s3://").partition("/")
        folder = key.rpartition("/")[0]
        pages = (
            self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{folder}/")
        )
        return (f"s3://{bucket}/{each['Key']}" for page in pages for each in page.get("Contents", ()))

    def lines_of_file(self, address: str) -> Iterator[dict[str, Any]]:
        """Read a file of JSON lines that a function left in the stack's bucket (``s3://…``)."""
        bucket, _, key = address.removeprefix("s3://").partition("/")
        client: S3Client = self.client("s3")
        with gzip.open(client.get_object(Bucket=bucket, Key=key)["Body"]) as lines:
            yield from map(json.loads, lines)

    def mapping(self) -> Iterator[dict[str, Any]]:
        """Have compute export which stores and items are sent, and read the file.

        Raises
        ------
        StackError
            There is no such file; the stack says why.
        """
        result = self.push({"export": "mapping"})
        if result.file is None:
            raise StackError(result.message)
        return self.lines_of_file(result.file)

    def settings_document(self) -> str:
        """Return the settings document that the stack was given."""
        client: SSMClient = self.client("ssm")
        return client.get_parameter(Name=f"/{self.name}/settings")["Parameter"]["Value"]

    def ask_push(self, what: Mapping[str, str], **chosen: str | None) -> str:
        """Ask push for what is no delivery (dead letters, breaker), and return its answer."""
        event = {**what, **{name: text for name, text in chosen.items() if text}}
        return str(self.invoke("PushFunction", event)["message"])

    def redrive(self, run: str | None, reason: str | None) -> Iterator[DeadLetterAnswer]:
        """Have dead letters sent again until that was all of them, and yield each answer."""
        event = {
            "dead_letters": "redrive",
            **({"run": run} if run else {}),
            **({"reason": reason} if reason else {}),
        }
        for attempt in range(_MOST_REDRIVES):
            if attempt:
                time.sleep(_BETWEEN_REDRIVES)
            answer = DeadLetterAnswer.model_validate(self.invoke("PushFunction", event))
            yield answer
            if answer.is_all:
                return

    def watchdog(self) -> WatchdogAnswer:
        """Have the watchdog look now."""
        return WatchdogAnswer.model_validate(self.invoke("WatchdogFunction", {}))

    def logs(
        self,
        function: str,
        since: datetime | None = None,
        *,
        until: datetime | None = None,
        pattern: str = "",
    ) -> list[LogRecord]:
        """Return what a function logged, the oldest line first; ``pattern`` is CloudWatch's for the lines that are meant."""
        client: CloudWatchLogsClient = self.client("logs")
        group = self.resource(function.removesuffix("Function") + "LogGroup")
        limits: dict[str, Any] = {"startTime": 0 if since is None else int(since.timestamp() * 1000)}
        if until is not None:
            limits["endTime"] = int(until.timestamp() * 1000)
        if pattern:
            limits["filterPattern"] = pattern
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group, **limits)
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


class LogFollower:
    """What the functions log, each line once."""

    def __init__(self, stack: Stack, since: datetime) -> None:
        self._stack = stack
        self._since = since
        self._seen: set[str] = set()

    def new_lines(self) -> list[tuple[LogRecord, str]]:
        """Return the lines that were not returned before, each with its function, the oldest first."""
        now = datetime.now(UTC)
        lines = [
            (line, function)
            for function in ("ComputeFunction", "PushFunction", "TestConnectionFunction", "WatchdogFunction")
            for line in self._stack.logs(function, self._since)
            if line.id not in self._seen
        ]
        self._seen.update(line.id for line, _ in lines)
        # Lines arrive late, and not in order.
        self._since = max(self._since, now - _LATE)
        return sorted(lines, key=lambda pair: pair[0].instant)


@contextmanager
def deployed(name: str) -> Iterator[Stack]:
    """Yield the stack of a name, in the account and region that the environment says.

    Raises
    ------
    StackError
        AWS cannot be asked, or refuses.
    """
    with in_words():
        yield Stack(name, boto3.Session())


@contextmanager
def in_words() -> Iterator[None]:
    """Say in words for people what AWS refuses.

    Raises
    ------
    StackError
        AWS cannot be asked, or refuses.
    """
    try:
        yield
    except NoRegionError as error:
        raise NoStackError(
            "No AWS region is chosen. Set AWS_REGION, and AWS_PROFILE if you use profiles."
        ) from error
    except NOT_LOGGED_IN as error:
        raise LoginError(f"You are not logged in at AWS, or no longer. {LOG_IN}") from error
    except ClientError as error:
        said = error.response["Error"]
        if said["Code"] in BAD_LOGIN:
            raise LoginError(f"AWS does not accept your login; it may have expired. {LOG_IN}") from error
        if said["Code"] in NOT_ALLOWED:
            raise StackError(
                f"Your login at AWS may not do this: {said['Message']}. Ask the account's administrator for the policy "
                "that the stack's output Operator names, beside that of Viewer."
            ) from error
        raise StackError(str(error)) from error
    except BotoCoreError as error:
        raise StackError(str(error)) from error


def what_a_deletion_takes(stack: Stack) -> tuple[str, ...]:
    """Return what goes with a stack when it is deleted, and what stays, line by line."""
    try:
        bucket, history = stack.resource("ReportBucket"), stack.resource("RunsTable")
        depths = ((stack.depth(queue), names) for queue, names in _QUEUES.items())
        held = [count(depth.held, *names) for depth, names in depths if not depth.is_empty]
        waiting = (
            f"Its queues hold {joined(held)}. These are deleted too." if held else "Its queues are empty."
        )
    except NoStackError:
        raise
    except (StackError, ClientError) as error:
        # A deployment that failed can be deleted, too.
        bucket, history, waiting = "BUCKET", "TABLE", f"Its queues cannot be read: {error}"
    return (
        f"This deletes the stack {stack.name} with its functions, schedules, secrets, queues and logs.",
        waiting,
        "DHIS2 keeps its values. These stay until you delete them:",
        f"  - the settings: aws ssm delete-parameter --region {stack.region} --name /{stack.name}/settings",
        f"  - the bucket with the files of the runs: aws s3 rb --force s3://{bucket}",
        f"  - the table with the history of the runs: aws dynamodb delete-table --region {stack.region} --table-name {history}",
    )
