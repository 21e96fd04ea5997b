"""Counts the calls of AWS that boto3 sends, in the units in which AWS charges for them."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import boto3

from benchmarks.prices import item_bytes, read_units, sqs_requests, write_units

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

READS = frozenset({"GetObject", "HeadObject"})


class Meter:
    """Counts the calls of the clients that boto3's default session makes from now on.

    How large an item is after a write tells no answer: it is read again, by a client that is not counted.

    Parameters
    ----------
    told
        Is given what is counted and how much of it: each call by service and operation (``sqs:SendMessageBatch``), and
        the units that it is charged by (``SQS requests``, ``write units`` and so on, as in ``prices``).
    """

    def __init__(self, told: Callable[[str, float], None]) -> None:
        self._told = told
        self._dynamodb: DynamoDBClient = boto3.Session().client("dynamodb")
        self.tables: set[str] = set()
        boto3.setup_default_session()
        assert boto3.DEFAULT_SESSION is not None  # noqa: S101 - tells mypy: it was made just now
        events = boto3.DEFAULT_SESSION.events
        events.register("before-call", self._asks)
        events.register("after-call", self._has_answered)

    def _asks(self, model: Any, params: Mapping[str, Any], context: dict[str, Any], **_: object) -> None:  # noqa: ANN401 - as botocore gives it
        context["metered"] = params["body"]
        self._told(f"{model.service_model.service_name}:{model.name}", 1)

    def _has_answered(self, http_response: Any, model: Any, context: Mapping[str, Any], **_: object) -> None:  # noqa: ANN401 - as above
        body = context["metered"]
        match model.service_model.service_name:
            case "sqs":
                self._told("SQS requests", sqs_requests(_message_bytes(json.loads(body))))
            case "dynamodb":
                self._dynamodb_call(model.name, json.loads(body), json.loads(http_response.content))
            case "s3":
                self._told("S3 reads" if model.name in READS else "S3 writes and lists", 1)
                if model.name == "PutObject":
                    self._told("bytes of files", _length(body))
            case "secretsmanager":
                self._told("reads of secrets", 1)

    def _dynamodb_call(self, operation: str, asked: dict[str, Any], answer: Mapping[str, Any]) -> None:
        match operation:
            case "GetItem":
                self._read([answer.get("Item", {})], consistent=asked.get("ConsistentRead", False), **asked)
            case "BatchGetItem":
                for table, of_table in asked["RequestItems"].items():
                    found = answer["Responses"].get(table, [])
                    # What is not there is charged as the smallest item is.
                    missing = len(of_table["Keys"]) - len(found)
                    self._read(
                        [*found, *[{}] * missing],
                        consistent=of_table.get("ConsistentRead", False),
                        TableName=table,
                    )
            case "Query":
                self._query(asked, answer)
            case "UpdateItem" | "PutItem" | "DeleteItem":
                self._write(asked["TableName"], asked["Key"], times=1)
            case "TransactWriteItems":
                for change in asked["TransactItems"]:
                    ((_, of_item),) = change.items()
                    self._write(of_item["TableName"], of_item["Key"], times=2)
            case _:
                raise ValueError(f"What DynamoDB charges for {operation} is not counted yet.")

    def _read(self, items: list[Any], *, consistent: bool, TableName: str, **_: object) -> None:  # noqa: N803 - DynamoDB's name
        self.tables.add(TableName)
        for item in items:
            self._told("read units", read_units(item_bytes(item), consistent=consistent))

    def _query(self, asked: dict[str, Any], answer: Mapping[str, Any]) -> None:
        self.tables.add(asked["TableName"])
        items = answer["Items"]
        if asked.pop("ProjectionExpression", None):
            # Charged is what it passes, not what it gives.
            items = self._dynamodb.query(**asked)["Items"]
        size = sum(map(item_bytes, items))
        self._told("read units", read_units(size, consistent=asked.get("ConsistentRead", False)))

    def _write(self, table: str, key: Any, *, times: int) -> None:  # noqa: ANN401 - as DynamoDB's interface has it
        self.tables.add(table)
        item = self._dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
        self._told("write units", times * write_units(item_bytes(item)))


def message_bytes(body: str, attributes: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the size of a message: its body, and the name, type and value of each of its attributes."""
    return len(body.encode()) + sum(
        len((name + attribute["DataType"] + attribute["StringValue"]).encode())
        for name, attribute in attributes.items()
    )


def _message_bytes(asked: Mapping[str, Any]) -> int:
    return sum(
        message_bytes(message["MessageBody"], message.get("MessageAttributes", {}))
        for message in _messages(asked)
    )


def _messages(asked: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from asked.get("Entries", ())
    if "MessageBody" in asked:
        yield asked


def _length(body: Any) -> int:  # noqa: ANN401 - bytes or a file
    if isinstance(body, bytes | bytearray):
        return len(body)
    here = body.tell()
    end = int(body.seek(0, 2))
    body.seek(here)
    return end
