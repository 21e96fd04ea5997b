"""AWS as the functions see it, on moto: a stack as a deployment leaves it."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Literal
from unittest.mock import patch
from uuid import uuid4

import boto3
import botocore.session
from botocore.httpsession import URLLib3Session
from moto.backends import get_backend
from moto.core.base_backend import BackendDict
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.model_instances import reset_model_data
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.serialize import JSONSerializer
from moto.dynamodb.responses import DynamoHandler

from msupply_dhis2.aws import clients
from msupply_dhis2.state.breaker import Breaker, BreakerTable

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from moto.backends import SERVICE_NAMES
    from moto.core.base_backend import BaseBackend
    from moto.core.common_types import TYPE_RESPONSE
    from moto.core.model import StructureShape
    from mypy_boto3_dynamodb.service_resource import Table
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import MessageTypeDef
    from mypy_boto3_ssm import SSMClient

BUCKET = "stack-reports"
REGION = "us-east-1"


@dataclass(frozen=True)
class Aws:
    """The parts of a stack that the functions touch, on moto, with their environment variables set."""

    ssm: "SSMClient"
    secretsmanager: "SecretsManagerClient"
    sqs: "SQSClient"
    table: "Table"
    queue_url: str
    dead_letter_queue_url: str
    shard_queue_url: str
    failed_shard_queue_url: str
    queue_arn: str
    runs: "Table"
    s3: "S3Client"
    told_queue_url: str

    def put_settings(self, document: str) -> None:
        """Write the settings."""
        self.ssm.put_parameter(Name="/stack/settings", Type="String", Value=document, Overwrite=True)

    def put_dhis2_credentials(self, username: str, password: str) -> None:
        """Write the login of DHIS2 into its secret."""
        content = json.dumps({"username": username, "password": password})
        self.secretsmanager.put_secret_value(SecretId="stack/dhis2", SecretString=content)

    def put_database_address(self, address: str) -> None:
        """Write the address of mSupply's database into its secret."""
        self.secretsmanager.put_secret_value(SecretId="stack/database", SecretString=address)

    def breaker(self) -> Breaker:
        """Return the breaker between the queue and DHIS2."""
        return BreakerTable(self.table, tell=lambda _: None).read()

    def messages(self, queue_url: str | None = None) -> list["MessageTypeDef"]:
        """Take every message that can be seen in a queue (that of the batches unless another is named)."""
        taken: list[MessageTypeDef] = []
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=queue_url or self.queue_url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
            if not answer.get("Messages"):
                return taken
            taken += answer["Messages"]

    def told(self) -> list[str]:
        """Take what people were told through the topic: each message's subject and text."""
        bodies = [json.loads(str(message["Body"])) for message in self.messages(self.told_queue_url)]
        return [f"{body['Subject']}\n\n{body['Message']}" for body in bodies]

    def hidden(self) -> int:
        """Return how many messages of the queue are not to be seen for a while."""
        name: Literal["ApproximateNumberOfMessagesNotVisible"] = "ApproximateNumberOfMessagesNotVisible"
        answer = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=[name])
        return int(answer["Attributes"][name])


@contextmanager
def moto() -> Iterator[None]:
    """Have moto, in this process, take the place of the network between boto3 and AWS; other addresses are called."""
    of_moto, call = BotocoreStubber(), URLLib3Session.send
    of_moto.enabled = True

    def send(session: URLLib3Session, request: "AWSPreparedRequest") -> "AWSResponse":
        return of_moto("before-send", request) or call(session, request)

    with (
        _one_call_of_dynamodb_at_a_time(),
        _attributes_told_as_they_are(),
        # Each session would read the descriptions of the services anew, nine tenths of what it takes to make a client.
        patch.object(botocore.session, "create_loader", cache(botocore.session.create_loader)),
        patch.object(URLLib3Session, "send", send),
    ):
        yield


@contextmanager
def _one_call_of_dynamodb_at_a_time() -> Iterator[None]:
    """Have conditions and transactions hold, as they do in DynamoDB: moto looks and writes with others in between."""
    lock = Lock()
    work = DynamoHandler.call_action

    def work_alone(handler: DynamoHandler) -> "TYPE_RESPONSE":
        with lock:
            answer: TYPE_RESPONSE = work(handler)
        return answer

    with patch.object(DynamoHandler, "call_action", work_alone):
        yield


@contextmanager
def _attributes_told_as_they_are() -> Iterator[None]:
    """Have a string or a number of DynamoDB told at once: moto tries forty names for each, half of a call's time."""
    work = JSONSerializer._serialize_type_structure  # noqa: SLF001 - where moto spends the time

    def tell(
        serializer: JSONSerializer, told: dict[str, object], value: object, shape: "StructureShape", key: str
    ) -> None:
        if shape.name == "AttributeValue" and isinstance(value, dict) and value.keys() <= _TOLD_AS_THEY_ARE:
            told[key] = value
        else:
            work(serializer, told, value, shape, key)

    with patch.object(JSONSerializer, "_serialize_type_structure", tell):
        yield


_TOLD_AS_THEY_ARE = {"S", "N", "BOOL", "NULL", "SS", "NS"}


class MotoStack:
    """A stack on moto, which is made once, and is as a deployment leaves it each time that it is used."""

    def __init__(self) -> None:
        self._aws: Aws | None = None
        self._variables: dict[str, str] = {}
        self._as_deployed: dict[tuple[SERVICE_NAMES, str, str], tuple[BaseBackend, dict[str, object]]] = {}

    @contextmanager
    def deployed(self, set_variable: Callable[[str, str], object]) -> Iterator[Aws]:
        """Have the stack with secrets without a value, and without settings.

        Parameters
        ----------
        set_variable
            Sets a variable of this process's environment, which is to be that of the functions.
        """
        for name, value in (_environment() | self._variables).items():
            set_variable(name, value)
        if self._aws is None:
            forget_clients()
            self._aws, self._variables = _deployed()
            for name, value in self._variables.items():
                set_variable(name, value)
            self._as_deployed = {
                (service, account, region): (backend, deepcopy(vars(backend), {id(backend): backend}))
                for service in _WITHOUT_LOCKS
                for account, regions in get_backend(service).items()
                for region, backend in regions.items()
            }
        else:
            self.restore()
        yield self._aws

    def restore(self) -> None:
        """Have it once more as its deployment left it, whatever was done with it since."""
        BackendDict.reset()
        reset_model_data()
        for (service, account, region), (as_deployed, state) in self._as_deployed.items():
            backend = get_backend(service)[account][region]
            # What refers to the backend, as a topic does, refers to the one that there is now.
            vars(backend).update(deepcopy(state, {id(as_deployed): backend}))
        queues = get_backend("sqs")[DEFAULT_ACCOUNT_ID][REGION]
        for name, attributes in _QUEUES.items():
            queues.create_queue(name, None, **{str(each): value for each, value in attributes.items()})


_WITHOUT_LOCKS: tuple["SERVICE_NAMES", ...] = ("dynamodb", "s3", "secretsmanager", "sns")
"""The services whose state can be copied; moto's queues hold locks."""


def _environment() -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "POWERTOOLS_SERVICE_NAME": f"test-{uuid4()}",
        "POWERTOOLS_METRICS_NAMESPACE": "msupply-dhis2",
        "SETTINGS_PARAMETER": "/stack/settings",
        "DHIS2_SECRET": "stack/dhis2",
        "DATABASE_SECRET": "stack/database",
        "TABLE_NAME": "stack",
        "DELTA_TABLE_NAME": "stack-acknowledged",
        "RUNS_TABLE_NAME": "stack-runs",
        "ORDERING_TABLE_NAME": "stack-order",
        "BUCKET_NAME": BUCKET,
        "TIMEZONE": "Pacific/Auckland",
        "PUSH_LOG_GROUP": "/stack/push",
        "LINES_PER_INVOCATION": "1000000",
        "COMPUTE_FUNCTION": "stack-compute",
        "STACK_NAME": "stack",
        "SCHEDULES_STATE": "ENABLED",
        "MONTHLY_SCHEDULE": "cron(30 4 5 * ? *)",
        "WEEKLY_SCHEDULE": "cron(0 4 ? * MON *)",
        "DAILY_SCHEDULE": "cron(30 3 * * ? *)",
        "FIRST_DAY_OF_MONTH_SCHEDULE": "cron(0 3 1 * ? *)",
        "LAST_DAY_OF_MONTH_SCHEDULE": "cron(30 22 L * ? *)",
    }


def forget_clients() -> None:
    """Have the functions make their clients anew."""
    for client in (
        clients.ssm,
        clients.secretsmanager,
        clients.sqs,
        clients.lambda_,
        clients.s3,
        clients.sns,
        clients.table,
    ):
        client.cache_clear()


_QUEUES: Mapping[str, Mapping["QueueAttributeNameType", str]] = {
    # Messages stay hidden as in the template: what a test has in its hands may not be given to it again.
    "stack-batches": {"VisibilityTimeout": "1800"},
    "stack-failed-batches": {},
    "stack-shards": {"VisibilityTimeout": "5400"},
    "stack-failed-shards": {},
    # What is told the topic arrives in a queue, where tests read it.
    "stack-told": {},
}


def _deployed() -> tuple[Aws, dict[str, str]]:
    """Make the stack; return it with the variables that name its parts."""
    secretsmanager = boto3.client("secretsmanager")
    for secret in ("stack/dhis2", "stack/database"):
        secretsmanager.create_secret(Name=secret)
    sqs = boto3.client("sqs")
    queue_url, dead_letter_queue_url, shard_queue_url, failed_shard_queue_url, told_queue_url = (
        sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        for name, attributes in _QUEUES.items()
    )
    table = boto3.resource("dynamodb").create_table(
        TableName="stack",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for name, key in (("stack-acknowledged", "target_period"), ("stack-order", "period")):
        boto3.resource("dynamodb").create_table(
            TableName=name,
            KeySchema=[
                {"AttributeName": key, "KeyType": "HASH"},
                {"AttributeName": "org_unit", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": key, "AttributeType": "S"},
                {"AttributeName": "org_unit", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
    runs = boto3.resource("dynamodb").create_table(
        TableName="stack-runs",
        KeySchema=[
            {"AttributeName": "run_id", "KeyType": "HASH"},
            {"AttributeName": "part", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("run_id", "part", "kind", "started_at")
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "ByStart",
                "KeySchema": [
                    {"AttributeName": "kind", "KeyType": "HASH"},
                    {"AttributeName": "started_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]
    queue_arn = attributes["QueueArn"]
    sns = boto3.client("sns")
    topic = sns.create_topic(Name="stack-alerts")["TopicArn"]
    told = sqs.get_queue_attributes(QueueUrl=told_queue_url, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=told["QueueArn"])
    aws = Aws(
        boto3.client("ssm"),
        secretsmanager,
        sqs,
        table,
        queue_url,
        dead_letter_queue_url,
        shard_queue_url,
        failed_shard_queue_url,
        queue_arn,
        runs,
        s3,
        told_queue_url,
    )
    variables = {
        "QUEUE_URL": queue_url,
        "DEAD_LETTER_QUEUE_URL": dead_letter_queue_url,
        "SHARD_QUEUE_URL": shard_queue_url,
        "FAILED_SHARD_QUEUE_URL": failed_shard_queue_url,
        "ALERT_TOPIC": topic,
    }
    return aws, variables
