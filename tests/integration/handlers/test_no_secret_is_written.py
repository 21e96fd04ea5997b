"""No secret is ever written: every path of the functions is driven with marked secrets, and all that came of it searched.

``WAYS`` are the paths. That none is forgotten is tested too: each function, each kind of event with each of its fields,
each fault that the stand-in for DHIS2 knows, and each kind of login has a way.
"""

import base64
import gzip
import importlib
import io
import json
import os
import pkgutil
import secrets
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from pydantic import SecretStr

from msupply_dhis2 import handlers as jobs
from msupply_dhis2.aws import clients
from msupply_dhis2.compute.event import ComputeEvent
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.handlers import push as push_on_aws
from msupply_dhis2.handlers.compute import DELIVERIES
from msupply_dhis2.handlers.orders import BreakerOrder, DeadLetterEvent, DeadLetterOrder
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.settings.credentials import LoginKind
from msupply_dhis2.state.breaker import State
from sandbox.aws_on_moto import MotoStack, forget_clients
from sandbox.dhis2 import FaultKind, OAuth2Client, PersonalAccessToken, StandIn, User, logins
from sandbox.postgres import TemporaryPostgres, temporary_postgres
from sandbox.sample.generate import generate
from sandbox.sample_world import catalogue_of, metadata_for
from sandbox.tools import PROJECT
from tests.conftest import BUCKET, Aws
from tests.support.echo import echo
from tests.support.functions import Context, delivery, handler_of
from tests.support.marked import MARK, chain_of, where_marked, without
from tests.support.whole_way import document

NOW = date(2026, 11, 3)
OCTOBER = {"manual": True, "basis": "previous_month", "as_of": "2026-11-03"}

# Each with what has to be encoded in an address, in JSON and in a header.
PASSWORD = f'{MARK}/{MARK} {MARK}+"{MARK}"&é%{MARK}'
WRONG = f"wrong-{PASSWORD}"
CODE = (MARK * 6)[:32]
TOKEN = f"d2pat_{CODE}{zlib.crc32(CODE.encode()):010}"
CLIENT_SECRET = f"client:{PASSWORD}"

LOGINS: dict[LoginKind, Mapping[str, str]] = {
    LoginKind.BASIC: {"username": "pusher", "password": PASSWORD},
    LoginKind.TOKEN: {"token": TOKEN},
    LoginKind.OAUTH2: {
        "username": "pusher",
        "password": PASSWORD,
        "client": "msupply",
        "secret": CLIENT_SECRET,
    },
}
WRONG_LOGINS: dict[LoginKind, Mapping[str, str]] = {
    LoginKind.BASIC: {**LOGINS[LoginKind.BASIC], "password": WRONG},
    LoginKind.TOKEN: {"token": f"d2pat_{CODE[::-1]}{zlib.crc32(CODE[::-1].encode()):010}"},
    LoginKind.OAUTH2: {**LOGINS[LoginKind.OAUTH2], "secret": WRONG},
}

MALFORMED_CREDENTIALS = {
    "broken JSON": f'{{"username": "pusher", "password": "{MARK}',
    "no JSON": PASSWORD,
    "a list": json.dumps([PASSWORD]),
    "a wrong field's name": json.dumps({"user": "pusher", "pass": PASSWORD}),
    "a secret as a field's name": json.dumps({PASSWORD: "password"}),
    "something other than text": json.dumps({"username": "pusher", "password": [PASSWORD]}),
    "half a character": f'{{"username": "pusher", "password": "{MARK}\\ud800{MARK}"}}',
    "two logins": json.dumps({"token": TOKEN, "password": PASSWORD}),
    "a mistyped token": json.dumps({"token": f"{TOKEN[:-1]}x"}),
    "a token that is a password": json.dumps({"token": PASSWORD}),
    "no client": json.dumps({"username": "pusher", "password": PASSWORD, "secret": [CLIENT_SECRET]}),
}
MALFORMED_ADDRESSES = {
    "a password alone": PASSWORD,
    "another program's": f"mysql://reader:{MARK}@db.example.org/omsupply",
    "an unencoded slash": f"postgresql://reader:{MARK}/{MARK}@127.0.0.1:1/omsupply",
    "an unencoded slash behind a number": f"postgresql://reader:12/{MARK}@127.0.0.1:1/omsupply",
    "an unencoded hash": f"postgresql://reader:{MARK}#{MARK}@127.0.0.1:1/omsupply",
    "an unencoded question mark": f"postgresql://reader:12?{MARK}@127.0.0.1:1/omsupply",
    "an unencoded at sign": f"postgresql://reader:{MARK}@{MARK}/{MARK}@127.0.0.1/omsupply",
    "brackets": f"postgresql://reader:[{MARK}@127.0.0.1:1/omsupply",
    "a character of C": f"postgresql://reader:{MARK}%00{MARK}@127.0.0.1:1/omsupply",
    "an unknown option": f"postgresql://reader@127.0.0.1:1/omsupply?password={MARK}",
    "an SQLite file with a login": f"sqlite:///reader:{MARK}@db.example.org/omsupply",
    "broken JSON": f'{{"host": "127.0.0.1", "password": "{MARK}',
    "a wrong field's name": json.dumps({"host": "127.0.0.1", "user": "reader", "pass": PASSWORD}),
    "an address for a host": json.dumps(
        {
            "host": f"postgresql://reader:{MARK}@127.0.0.1/omsupply",
            "dbname": "omsupply",
            "username": "reader",
            "password": "x",
        }
    ),
    "an address for a database": json.dumps(
        {
            "host": "127.0.0.1",
            "port": 1,
            "dbname": f"postgresql://reader:{MARK}@127.0.0.1/omsupply",
            "username": "reader",
            "password": PASSWORD,
        }
    ),
    "half a character": f'{{"host": "127.0.0.1", "port": 1, "dbname": "o", "username": "r", "password": "{MARK}\\ud800"}}',
}
MALFORMED_SETTINGS = {
    "a login in URL": f"use_dhis2: true\nurl: https://pusher:{MARK}@dhis2.example.org",
    "a password for a URL": f"use_dhis2: true\nurl: '{MARK}'",
    "a login cut to a port": f"use_dhis2: true\nurl: https://pusher:{MARK}",
    "a password in the query of URL": f"use_dhis2: true\nurl: https://dhis2.example.org?password={MARK}",
    "a password in the fragment of URL": f"use_dhis2: true\nurl: https://dhis2.example.org#{MARK}",
    "a password of its own": f"use_dhis2: true\npassword: {MARK}\nbasic_auth_password: [{MARK}]",
    "the credentials instead": json.dumps({"username": "pusher", "password": PASSWORD}),
    "the database's address instead": f"postgresql://reader:{MARK}@127.0.0.1/omsupply",
    "broken JSON": f'{{"use_dhis2": true, "password": "{MARK}',
    "broken YAML": f"use_dhis2: true\npassword: '{MARK}",
    "a password that YAML takes for a tag": f"password: !{MARK}!{MARK} x",
    "a password that YAML takes for a name": f"password: &{MARK} x\nsecret: &{MARK} *{MARK}",
}
FOREIGN = {
    "no JSON": f"the password is {PASSWORD}",
    "JSON": json.dumps({"password": PASSWORD, "rows": [PASSWORD]}),
    "half a batch": json.dumps({"version": 1, "run_id": [PASSWORD], "shard": {"number": PASSWORD}}),
}
ECHOED = {
    LoginKind.BASIC: (302, 400, 401, 403, 404, 409, 413, 429, 500, 502, 503),
    LoginKind.TOKEN: (401, 409),
    LoginKind.OAUTH2: (401, 409),
}

DELIVER = "the queue of batches, delivered"
DELIVER_LAST = "the queue of batches, delivered for the last time"
DELIVER_SHARDS = "the queue of shards, delivered"
DELIVER_SHARDS_LAST = "the queue of shards, delivered for the last time"

FUNCTION_OF = {"probe": "test_connection", "held": "test_connection"}


@dataclass
class Stage:
    """A stack, an mSupply and a DHIS2 of which every secret is marked, and all that was written."""

    moto_stack: MotoStack
    aws: Aws
    dhis2: StandIn
    database: Path
    postgres: TemporaryPostgres
    capsys: pytest.CaptureFixture[str]
    caplog: pytest.LogCaptureFixture
    sent: "Sent"
    monkeypatch: pytest.MonkeyPatch = field(init=False)
    stack: ExitStack = field(init=False)
    written: list[tuple[str, object]] = field(default_factory=list)
    kept: str = ""
    errors: int = 0
    requests: Iterator[int] = field(default_factory=count)
    computed: "Computed | None" = None

    @contextmanager
    def anew(self) -> Iterator[None]:
        """Have it as a deployment leaves it, with an mSupply and a DHIS2 that work, for one way."""
        push_on_aws.forget_sessions()
        self.written.clear()
        self.sent.requests.clear()
        self.kept, self.errors = "", 0
        self.dhis2.faults.clear()
        self.moto_stack.restore()
        self.use()
        self.log_in_with(LOGINS[LoginKind.BASIC])
        self.aws.put_database_address(f"sqlite:///{self.database}")
        with pytest.MonkeyPatch.context() as self.monkeypatch, ExitStack() as self.stack:
            yield

    def use(self, **changes: object) -> None:
        self.aws.put_settings(json.dumps(document(self.dhis2.url) | {"only_changes": False} | changes))

    def log_in_with(self, content: str | Mapping[str, str], *, basic: bool = True) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.aws.secretsmanager.put_secret_value(SecretId="stack/dhis2", SecretString=text)
        if not basic:
            self.use(basic_authentication=False)

    def work(self, function: str, event: object) -> Any:  # noqa: ANN401 - whatever it answers
        """Invoke a function, and keep what it says, raises and logs."""
        context = Context(function_name="stack-push", aws_request_id=f"request-{next(self.requests)}")
        self.capsys.readouterr()
        self.caplog.clear()
        answer = None
        self.sent.is_noted = True
        try:
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("POWERTOOLS_SERVICE_NAME", f"{function}-{next(self.requests)}-{id(self)}")
                environment.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
                answer = handler_of(function)(event, context)
        except Exception as error:  # noqa: BLE001 - whatever Lambda would write down of it
            self.errors += 1
            self.written.append(("an error", chain_of(error)))
        finally:
            self.sent.is_noted = False
        said = self.capsys.readouterr()
        self.written += [
            ("the answer", answer),
            ("standard output", said.out),
            ("standard error", said.err),
            ("a library's log", self.caplog.text),
            ("the environment", dict(os.environ)),
        ]
        return answer

    def deliver(self, queue_url: str, function: str, receive: int = 1) -> None:
        messages = self.aws.messages(queue_url)
        if not messages:
            assert receive > 1, "there is something to deliver, unless the first delivery was enough"
            return
        event: Any = delivery(messages, self.aws.queue_arn)
        for record in event["Records"]:
            record["attributes"]["ApproximateReceiveCount"] = str(receive)
            if receive > 1:
                # Long before the last delivery.
                record["attributes"]["SentTimestamp"] = "0"
        answer = self.work(function, event)
        again = {failure["itemIdentifier"] for failure in (answer or {}).get("batchItemFailures", ())}
        for message in messages:
            if message["MessageId"] not in again:
                self.aws.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            else:
                self.aws.sqs.change_message_visibility(
                    QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
                )

    def drive(self, job: str, event: object) -> None:
        """Have a job do one thing."""
        match event:
            case "the queue of batches, delivered":
                self.deliver(self.aws.queue_url, job)
            case "the queue of batches, delivered for the last time":
                self.deliver(self.aws.queue_url, job, receive=2)
            case "the queue of shards, delivered":
                self.deliver(self.aws.shard_queue_url, job)
            case "the queue of shards, delivered for the last time":
                self.deliver(self.aws.shard_queue_url, job, DELIVERIES)
            case _:
                self.work(FUNCTION_OF.get(job, job), event)

    def leaks(self) -> dict[str, list[str]]:
        """Search all that was written, and all that is there now."""
        found: dict[str, list[str]] = {}
        for where, content in (*self.written, *self.sent.requests, *self._left()):
            text = (
                content
                if isinstance(content, bytes)
                else json.dumps(content, ensure_ascii=False, default=_binary_or_text).encode(
                    "utf-8", "backslashreplace"
                )
            )
            if leaks := where_marked(without(text, self.kept) if self.kept else text):
                found[where] = leaks
        return found

    def _left(self) -> Iterator[tuple[str, object]]:
        database = boto3.client("dynamodb")
        for name in database.list_tables()["TableNames"]:
            yield f"the table {name}", database.scan(TableName=name)["Items"]
        for queue_url in self.aws.sqs.list_queues()["QueueUrls"]:
            yield f"the queue {queue_url}", self.aws.messages(queue_url)
            yield (
                f"the queue's attributes {queue_url}",
                self.aws.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"],
            )
        for each in self.aws.s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
            kept = self.aws.s3.get_object(Bucket=BUCKET, Key=each["Key"])
            yield f"the file {each['Key']}", kept["Body"].read()
            yield f"what is said of the file {each['Key']}", [each["Key"], kept["Metadata"]]


def _binary_or_text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


@dataclass(frozen=True)
class Way:
    """One path: what a job is asked, in turn, after something was prepared."""

    name: str
    job: str
    events: tuple[object, ...]
    prepare: Callable[[Stage], object] = lambda _: None
    fails: bool = False
    """Whether it ends with an error, of which Lambda writes down what it says."""


# ------------------------------------------------------------------------------------------- what is prepared


def address(stage: Stage, text: str) -> None:
    stage.aws.put_database_address(text)


def unreachable(stage: Stage) -> None:
    address(stage, f"postgresql://reader:{quote(PASSWORD, safe='')}@127.0.0.1:1/omsupply")


def refusing(stage: Stage) -> None:
    refused = stage.postgres.address("postgres", user="reader", password=quote(WRONG, safe=""))
    address(stage, refused)


def empty(stage: Stage) -> None:
    address(stage, stage.postgres.address("postgres", user="reader", password=quote(PASSWORD, safe="")))


def of_rds(stage: Stage) -> None:
    login = {"host": "127.0.0.1", "port": stage.postgres.port, "dbname": "postgres"}
    address(stage, json.dumps({**login, "username": "reader", "password": PASSWORD}))


@dataclass(frozen=True)
class Computed:
    """What compute has left of a run, in its table and on the queue."""

    items: Sequence[Mapping[str, Any]]
    messages: Sequence[Mapping[str, Any]]


def batches(stage: Stage) -> None:
    """Have what a run leaves for push, which is the same each time: it is computed once, and laid there again after that."""
    if stage.computed is None:
        stage.work("compute", OCTOBER | {"stores": [_a_store(stage)]})
        messages: Any = stage.aws.messages()
        stage.computed = Computed(stage.aws.runs.scan()["Items"], messages)
        for message in messages:
            stage.aws.sqs.change_message_visibility(
                QueueUrl=stage.aws.queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        return
    for item in stage.computed.items:
        stage.aws.runs.put_item(Item=item)
    for message in stage.computed.messages:
        stage.aws.sqs.send_message(
            QueueUrl=stage.aws.queue_url,
            MessageBody=message["Body"],
            MessageAttributes=message.get("MessageAttributes", {}),
        )


def _a_store(stage: Stage) -> str:
    settings = parse_settings(json.dumps(document(stage.dhis2.url)))
    return next(iter(catalogue_of(f"sqlite:///{stage.database}", settings).stores)).code


def with_login(kind: LoginKind, *, right: bool = True) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        stage.log_in_with((LOGINS if right else WRONG_LOGINS)[kind], basic=kind is not LoginKind.OAUTH2)
        batches(stage)

    return prepare


def with_echo(status: int, kind: LoginKind, *, only_pushes: bool) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        stage.log_in_with(LOGINS[kind], basic=kind is not LoginKind.OAUTH2)
        batches(stage)
        url = stage.stack.enter_context(echo(stage.dhis2.url, status, only_pushes=only_pushes))
        stage.use(url=url, basic_authentication=kind is not LoginKind.OAUTH2)

    return prepare


def with_fault(kind: FaultKind) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        batches(stage)
        holds = "OU_0" if kind is FaultKind.POISON else None
        stage.dhis2.faults.next(
            kind,
            times=3,
            holds=holds,
            location=f"https://{quote(PASSWORD, safe='')}@127.0.0.1/{quote(PASSWORD)}",
        )

    return prepare


def with_credentials(text: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        batches(stage)
        stage.log_in_with(text, basic='"client"' not in text and "[" not in text)

    return prepare


def with_settings(text: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        batches(stage)
        stage.aws.put_settings(text)

    return prepare


def with_foreign(text: str, queue: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        stage.kept = text
        stage.aws.sqs.send_message(QueueUrl=getattr(stage.aws, queue), MessageBody=text)

    return prepare


def away(stage: Stage) -> None:
    batches(stage)
    with StandIn(stage.dhis2.metadata) as gone:
        url = gone.url
    stage.use(url=url)


def broken_off(stage: Stage) -> None:
    """Have the queue itself move messages to the dead letters."""
    batches(stage)
    for message in stage.aws.messages():
        stage.aws.sqs.send_message(QueueUrl=stage.aws.dead_letter_queue_url, MessageBody=str(message["Body"]))
        stage.aws.sqs.delete_message(QueueUrl=stage.aws.queue_url, ReceiptHandle=message["ReceiptHandle"])


def refused(stage: Stage) -> None:
    """Have push open the breaker, because DHIS2 refuses the login."""
    with_login(LoginKind.BASIC, right=False)(stage)
    stage.drive("push", DELIVER)
    assert stage.aws.breaker().state is State.LOGIN_REFUSED


def in_shards(stage: Stage) -> None:
    stage.monkeypatch.setenv("LINES_PER_INVOCATION", "1")
    stage.work("compute", OCTOBER)


def overdue(stage: Stage) -> None:
    document_of_stack = json.loads(stage.aws.ssm.get_parameter(Name="/stack/settings")["Parameter"]["Value"])
    rows = [
        {**row, "interval": "daily", "basis": "current_day"} for row in document_of_stack["data_elements"]
    ]
    stage.use(data_elements=rows)
    stage.work("watchdog", {})
    then = (datetime.now(UTC) - timedelta(days=40)).isoformat()
    stage.aws.table.update_item(
        Key={"id": "watchdog"},
        UpdateExpression="SET intervals.daily.since = :then",
        ExpressionAttributeValues={":then": then},
    )


def unfinished(stage: Stage) -> None:
    batches(stage)
    for item in stage.aws.runs.scan()["Items"]:
        if item["part"] == "run":
            stage.aws.runs.update_item(
                Key={"run_id": item["run_id"], "part": "run"},
                UpdateExpression="SET started_at = :then",
                ExpressionAttributeValues={":then": (datetime.now(UTC) - timedelta(days=2)).isoformat()},
            )


def without_topic(stage: Stage) -> None:
    overdue(stage)
    stage.monkeypatch.setenv("ALERT_TOPIC", "arn:aws:sns:us-east-1:123456789012:gone")


def after(*prepared: Callable[[Stage], object]) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        for each in prepared:
            each(stage)

    return prepare


# --------------------------------------------------------------------------------------------------- the ways

CHECK = {"check_database": True}
CHECK_BY_TYPED = {"check_database": True, "settings": "use_dhis2: false"}
SCHEDULED = {"interval": "monthly", "scheduled_time": "2026-11-05T01:00:00Z"}
MONTHS = {"manual": True, "months": "2026-09..2026-10", "basis": "previous_month", "full": True}
LIMITED = OCTOBER | {"metrics": [Metric.STOCK_ON_HAND], "stores": ["nowhere"], "items": ["nothing"]}
DRY = OCTOBER | {"dry_run": True, "confirm_deletions": True, "while_off": True}
LIST = {"dead_letters": "list"}
OF_A_RUN = {"dead_letters": "list", "run": "run-1"}
REDRIVE = {"dead_letters": "redrive"}
CHOSEN = {"dead_letters": "redrive", "reason": "DHIS2"}
PROBE = {"probe": True}
HELD = {"held": {"metrics": ["stock_on_hand"], "periods": ["202610"]}}
MAPPING = {"export": "mapping"}
VALUES = {"export": "values", "as_of": "2026-10-31T22:30"}


def first[Text](malformed: Mapping[str, Text]) -> Mapping[str, Text]:
    """Return a few: what reads them is the same for each job, and one job is driven with them all."""
    return dict(islice(malformed.items(), 3))


def compute_ways() -> Iterator[Way]:
    yield Way("compute", "compute", (OCTOBER, DRY, SCHEDULED, CHECK, CHECK_BY_TYPED, LIMITED))
    yield Way(
        "compute only changes", "compute", (OCTOBER, OCTOBER), lambda stage: stage.use(only_changes=True)
    )
    yield Way("compute, exports", "compute", (MAPPING, VALUES))
    yield Way("compute months, in shards", "compute", (MONTHS, DELIVER_SHARDS))
    yield Way("compute in shards", "compute", (DELIVER_SHARDS,), in_shards)
    yield Way(
        "compute shards without a database",
        "compute",
        (DELIVER_SHARDS, DELIVER_SHARDS_LAST),
        after(in_shards, unreachable),
    )
    yield Way("compute an event that is none", "compute", ({"password": PASSWORD}, [PASSWORD], PASSWORD))
    everything = (OCTOBER, CHECK, SCHEDULED)
    yield Way("compute, unreachable database", "compute", everything, unreachable, fails=True)
    yield Way("compute, database that refuses the login", "compute", everything, refusing, fails=True)
    yield Way("compute, database that is another's", "compute", everything, empty, fails=True)
    yield Way("compute, RDS without TLS", "compute", everything, of_rds, fails=True)
    for name, text in MALFORMED_ADDRESSES.items():
        yield Way(
            f"compute, address: {name}",
            "compute",
            (CHECK, SCHEDULED),
            partial(address, text=text),
            fails=True,
        )
    for name, text in MALFORMED_SETTINGS.items():
        yield Way(f"compute, settings: {name}", "compute", (SCHEDULED,), with_settings(text), fails=True)
    for name, text in FOREIGN.items():
        prepare = with_foreign(text, "shard_queue_url")
        yield Way(f"compute, foreign message: {name}", "compute", (DELIVER_SHARDS,), prepare)


def push_ways() -> Iterator[Way]:
    for kind in LoginKind:
        yield Way(f"push, {kind}", "push", (DELIVER,), with_login(kind))
        yield Way(f"push, wrong {kind}", "push", (DELIVER, DELIVER), with_login(kind, right=False))
        for status in (200, *ECHOED[kind]):
            yield Way(
                f"push, {kind}, pushes echoed with {status}",
                "push",
                (DELIVER, DELIVER_LAST),
                with_echo(status, kind, only_pushes=True),
            )
        for status in (302, 401):
            yield Way(
                f"push, {kind}, all echoed with {status}",
                "push",
                (DELIVER, DELIVER_LAST),
                with_echo(status, kind, only_pushes=False),
            )
    for fault in FaultKind:
        yield Way(f"push, fault: {fault}", "push", (DELIVER,), with_fault(fault))
    yield Way("push, DHIS2 away", "push", (DELIVER, DELIVER_LAST), away)
    for name, text in MALFORMED_CREDENTIALS.items():
        yield Way(f"push, credentials: {name}", "push", (DELIVER, DELIVER_LAST), with_credentials(text))
    for name, text in first(MALFORMED_SETTINGS).items():
        yield Way(f"push, settings: {name}", "push", (DELIVER, DELIVER_LAST), with_settings(text))
    for name, text in FOREIGN.items():
        prepare = with_foreign(text, "queue_url")
        yield Way(f"push, foreign message: {name}", "push", (DELIVER, LIST, REDRIVE), prepare)
    yield Way("push, dead letters", "push", (LIST, OF_A_RUN, CHOSEN, REDRIVE, DELIVER), broken_off)
    yield Way("push, stop of a run that is none", "push", ({"stop": "run-1"},), fails=True)
    by_hand = ({"breaker": "open", "reason": "DHIS2 moves"}, {"breaker": "close"})
    yield Way("push, paused by hand", "push", by_hand)
    wrong = (
        {"dead_letters": PASSWORD},
        {"stop": [PASSWORD]},
        {"breaker": PASSWORD},
        {**LIST, "password": PASSWORD},
        {"password": PASSWORD},
        PASSWORD,
    )
    yield Way("push, an event that is none", "push", wrong, fails=True)


def connection_ways() -> Iterator[Way]:
    for job, event in (("test_connection", {}), ("probe", PROBE), ("held", HELD)):
        paused = refused if job == "probe" else lambda _: None
        for kind in LoginKind:
            yield Way(f"{job}, {kind}", job, (event,), after(paused, with_login(kind)))
            yield Way(f"{job}, wrong {kind}", job, (event,), after(paused, with_login(kind, right=False)))
            for status in ECHOED[LoginKind.TOKEN if job == "probe" else kind]:
                prepare = after(paused, with_echo(status, kind, only_pushes=False))
                yield Way(f"{job}, {kind}, echoed with {status}", job, (event,), prepare)
        yield Way(f"{job}, DHIS2 away", job, (event,), after(paused, away))
        for name, text in first(MALFORMED_CREDENTIALS).items():
            prepare = after(paused, with_credentials(text))
            yield Way(f"{job}, credentials: {name}", job, (event,), prepare)
        for name, text in first(MALFORMED_SETTINGS).items():
            yield Way(f"{job}, settings: {name}", job, (event,), after(paused, with_settings(text)))
    for name, text in first(MALFORMED_ADDRESSES).items():
        prepare = partial(address, text=text)
        yield Way(f"test_connection, address: {name}", "test_connection", ({},), prepare)
    yield Way("test_connection, database that refuses", "test_connection", ({},), refusing)
    yield Way("test_connection, unreachable database", "test_connection", ({},), unreachable)
    yield Way("test_connection, an event that is none", "test_connection", ({"password": PASSWORD},))
    yield Way("held, an event that is none", "held", ({"held": [PASSWORD]}, {**HELD, "password": PASSWORD}))


def watchdog_ways() -> Iterator[Way]:
    yield Way("watchdog", "watchdog", ({}, {"password": PASSWORD}))
    yield Way("watchdog, overdue", "watchdog", ({},), overdue)
    yield Way("watchdog, unfinished", "watchdog", ({},), unfinished)
    yield Way("watchdog, broken off", "watchdog", ({},), broken_off)
    yield Way("watchdog without its topic", "watchdog", ({},), without_topic, fails=True)
    for name, text in first(MALFORMED_SETTINGS).items():
        yield Way(f"watchdog, settings: {name}", "watchdog", ({},), with_settings(text))
    for name, text in FOREIGN.items():
        prepare = with_foreign(text, "dead_letter_queue_url")
        yield Way(f"watchdog, foreign message: {name}", "watchdog", ({},), prepare)


WAYS = (*compute_ways(), *push_ways(), *connection_ways(), *watchdog_ways())


# -------------------------------------------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "omsupply.sqlite"
    generate(f"sqlite:///{path}", stores=2, items=3, seed=5, as_of=date(2026, 10, 31), edge_cases=False)
    return path


@pytest.fixture(scope="module")
def postgres() -> Iterator[TemporaryPostgres]:
    with temporary_postgres() as server:
        server.new_role("reader", PASSWORD)
        yield server


@dataclass
class Sent:
    """What the functions send to AWS, also what is overwritten or taken away afterwards."""

    is_noted: bool = False
    requests: list[tuple[str, object]] = field(default_factory=list)

    def note(self, request: Any, **_: object) -> None:  # noqa: ANN401 - botocore's
        """Note a request; as an event handler of botocore it lets the request go on by giving nothing."""
        if self.is_noted:
            headers = {name: str(value) for name, value in request.headers.items()}
            self.requests.append((f"a request to {request.url}", [request.url, headers]))
            self.requests.append((f"the body of a request to {request.url}", _bytes_of(request.body)))


def _bytes_of(body: Any) -> bytes:  # noqa: ANN401 - botocore's
    if hasattr(body, "read"):
        content: bytes = body.read()
        body.seek(0)
        return content
    return body.encode() if isinstance(body, str) else bytes(body or b"")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    """Note the requests of all clients that are made from now on."""
    noted = Sent()
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    boto3.setup_default_session()
    session = boto3.DEFAULT_SESSION
    assert session is not None
    session.events.register("before-send", noted.note)
    forget_clients()
    yield noted
    forget_clients()


@pytest.fixture
def stage(  # noqa: PLR0913, PLR0917 - the whole stack
    sent: Sent,
    moto_stack: MotoStack,
    aws: Aws,
    sample: Path,
    postgres: TemporaryPostgres,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    numbers = count()
    # The stand-in's sessions and access tokens are marked as well, and as long as DHIS2's.
    marked = SimpleNamespace(
        token_hex=lambda _=32: f"{MARK * 5}{next(numbers):02}", compare_digest=secrets.compare_digest
    )
    monkeypatch.setattr(logins, "secrets", marked)
    database = Path(shutil.copy(sample, tmp_path))
    settings = parse_settings(json.dumps(document("https://dhis2.example.org")))
    metadata = metadata_for(catalogue_of(f"sqlite:///{database}", settings))
    push_on_aws.forget_sessions()
    with StandIn(
        metadata,
        version="2.41",
        users=[User(username="pusher", password=SecretStr(PASSWORD))],
        tokens=[PersonalAccessToken(username="pusher", token=SecretStr(TOKEN))],
        oauth2_clients=[OAuth2Client(client="msupply", secret=SecretStr(CLIENT_SECRET))],
        now=NOW,
    ) as dhis2:
        it = Stage(moto_stack, aws, dhis2, database, postgres, capsys, caplog, sent)
        with monkeypatch.context() as patched:
            patched.setattr(clients, "lambda_", ComputeInvoked)
            yield it
    push_on_aws.forget_sessions()


class ComputeInvoked:
    """Stands in for Lambda, which moto runs in Docker only: asked of compute, compute answers."""

    def __init__(self) -> None:
        self.meta = boto3.client("lambda").meta

    def invoke(self, *, FunctionName: str, Payload: str) -> dict[str, Any]:  # noqa: N803 boto3's names
        """Invoke compute."""
        assert FunctionName == "stack-compute"
        answer = handler_of("compute")(json.loads(Payload), Context())
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


JOBS = sorted({way.job for way in WAYS})


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_no_secret_is_written(job: str, stage: Stage) -> None:
    leaks: dict[str, dict[str, list[str]]] = {}
    ended: dict[str, bool] = {}
    ways = [way for way in WAYS if way.job == job]
    for way in ways:
        with stage.anew():
            way.prepare(stage)
            for event in way.events:
                stage.drive(way.job, event)
        ended[way.name] = bool(stage.errors)
        if found := stage.leaks():
            leaks[way.name] = found
    assert leaks == {}
    assert ended == {way.name: way.fails for way in ways}


def test_unique_ways() -> None:
    assert len({way.name for way in WAYS}) == len(WAYS)


def test_all_functions_driven() -> None:
    functions = {path.parent.name for path in (PROJECT / "functions").glob("*/app.py")}
    assert {FUNCTION_OF.get(job, job) for job in JOBS} == functions
    modules = (
        importlib.import_module(f"{jobs.__name__}.{found.name}")
        for found in pkgutil.iter_modules(jobs.__path__)
    )
    named = {module.__name__.rpartition(".")[2] for module in modules if hasattr(module, "run")}
    assert named | {"probe"} == set(JOBS)


def test_all_event_fields_driven() -> None:
    asked = [(way.job, event) for way in WAYS for event in way.events if isinstance(event, Mapping)]
    of_compute = {name for job, event in asked if job == "compute" for name in event}
    assert of_compute >= set(ComputeEvent.model_fields)
    of_push = [event for job, event in asked if job == "push"]
    assert {name for event in of_push for name in event} >= set(DeadLetterEvent.model_fields)
    assert {event.get("dead_letters") for event in of_push} >= set(DeadLetterOrder)
    assert {event.get("breaker") for event in of_push} >= set(BreakerOrder)
    assert any("stop" in event for event in of_push)
    queues = {way.job for way in WAYS for event in way.events if event in (DELIVER, DELIVER_SHARDS)}
    assert queues == {"compute", "push"}


@pytest.mark.parametrize(
    "plant",
    [
        lambda stage: stage.aws.table.put_item(Item={"id": "x", "content": zlib.compress(PASSWORD.encode())}),
        lambda stage: stage.aws.sqs.send_message(
            QueueUrl=stage.aws.shard_queue_url,
            MessageBody="x",
            MessageAttributes={"reason": {"DataType": "String", "StringValue": quote(PASSWORD)}},
        ),
        lambda stage: stage.aws.s3.put_object(
            Bucket=BUCKET, Key="runs/x.csv", Body=gzip.compress(PASSWORD.encode())
        ),
        lambda stage: stage.aws.s3.put_object(
            Bucket=BUCKET, Key="runs/x.csv", Body=b"", Metadata={"said": MARK}
        ),
        lambda _: boto3.client("sns").publish(
            TopicArn=os.environ["ALERT_TOPIC"],
            Subject="x",
            Message=base64.b64encode(PASSWORD.encode()).decode(),
        ),
        lambda stage: stage.written.append(("an answer", {"message": TOKEN})),
        lambda stage: stage.monkeypatch.setattr(clients, "table", table_that_says(PASSWORD)),
    ],
    ids=["table", "message", "file", "metadata", "topic", "answer", "log"],
)
@pytest.mark.slow
def test_planted_secret_is_found(plant: Callable[[Stage], object], stage: Stage) -> None:
    with stage.anew():
        assert stage.leaks() == {}
        plant(stage)
        stage.work("watchdog", {})
    assert stage.leaks()


def table_that_says(words: str) -> Callable[[str], object]:
    """Return what a client of the table is made by, and which prints something instead."""

    def table(name: str) -> object:
        sys.stderr.write(f"{name} {words}")
        raise RuntimeError(name)

    return table
