"""The functions' handlers, and what Lambda hands to them."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox.tools import PROJECT

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

type Handler = Callable[[object, Any], dict[str, Any]]


@dataclass
class Context:
    """What Lambda hands to a handler."""

    function_name: str = "stack-function"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:stack-function"
    aws_request_id: str = field(default="request-1")
    seconds_left: float = 300.0

    def get_remaining_time_in_millis(self) -> int:
        """Return the time that the function has left."""
        return int(1000 * self.seconds_left)


def handler_of(function: str) -> Handler:
    """Load a function's app.py as a cold start does."""
    path = PROJECT / "functions" / function / "app.py"
    spec = importlib.util.spec_from_file_location(f"{function}_app", path)
    assert spec is not None  # noqa: S101 - tells mypy: it is there
    assert spec.loader is not None  # noqa: S101 - as above
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Handler = module.handler
    return handler


def delivery(messages: "Sequence[MessageTypeDef]", queue_arn: str) -> dict[str, object]:
    """Return the event by which Lambda hands messages of a queue to a function."""
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {
                    name: {"stringValue": attribute["StringValue"], "dataType": attribute["DataType"]}
                    for name, attribute in message.get("MessageAttributes", {}).items()
                },
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": queue_arn,
                "awsRegion": "us-east-1",
            }
            for message in messages
        ]
    }
