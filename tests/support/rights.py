"""What the template's roles allow, and whether a function asks AWS for more: moto grants all, and few paths are tried elsewhere."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest
from botocore.client import BaseClient

from msupply_dhis2.aws import clients
from sandbox.aws_on_moto import BUCKET
from tests.support.stack_template import template_resources

STACK = "stack"
"""What ``sandbox.aws_on_moto`` calls it."""

_UNNAMED = {
    "AWS::StackName": STACK,
    "ReportBucket": BUCKET,
    "Table": STACK,
    "DeltaTable": f"{STACK}-acknowledged",
    "OrderingTable": f"{STACK}-order",
    "RunsTable": f"{STACK}-runs",
}
"""What the template gives no name of its own, or one with the account in it, and how ``sandbox.aws_on_moto`` calls it."""

_NAMES = ("TableName", "QueueName", "Name", "TopicName", "FunctionName")
_ACTIONS = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:ListObjectsV2": "s3:ListBucket",
}
"""Calls whose right has another name."""

_ROW = " row "
"""Between a table's name and a row's key."""

type _Right = tuple[str, str]
"""An action, and what it is done to: both as patterns where it is a role's."""

_running: list[str] = []
"""The functions that are invoked now: some tests let one run in the middle of another."""


@contextmanager
def only_with_rights_of(function: str) -> Iterator[None]:
    """Fail where something is called through the functions' clients that the function's role does not allow."""
    rights = _rights_of(function)
    lacking: list[_Right] = []
    call = BaseClient._make_api_call  # type: ignore[attr-defined]  # noqa: SLF001 - where all calls come by

    def make_api_call(client: BaseClient, name: str, arguments: dict[str, Any]) -> object:
        # What moto refuses is not looked at: a test has it go wrong, and be it by a name that is not there.
        answer = call(client, name, arguments)
        if _running[-1] == function and _is_of_a_function(client, arguments):
            lacking.extend(
                (action, target)
                for action, target in _asked(client.meta.service_model.service_name, name, arguments)
                if not any(fnmatchcase(action, may) and fnmatchcase(target, of) for may, of in rights)
            )
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", make_api_call)
        _running.append(function)
        try:
            yield
        finally:
            _running.pop()
    assert not lacking, f"the role of {function} does not allow {sorted(set(lacking))}"


def _is_of_a_function(client: BaseClient, arguments: Mapping[str, Any]) -> bool:
    """Tell the functions' clients from those of a test, which does what others do meanwhile."""
    match client.meta.service_model.service_name:
        case "dynamodb":
            return any(client is clients.table(name).meta.client for name in _tables(arguments))
        case "lambda":
            return client is clients.lambda_()
        case service:
            return hasattr(clients, service) and client is getattr(clients, service)()


def _tables(arguments: Mapping[str, Any]) -> list[str]:
    if "TransactItems" in arguments:
        return [change["TableName"] for item in arguments["TransactItems"] for change in item.values()]
    return list(arguments["RequestItems"]) if "RequestItems" in arguments else [arguments["TableName"]]


def _asked(service: str, operation: str, arguments: Mapping[str, Any]) -> Iterator[_Right]:
    action = f"{service}:{operation}"
    match service:
        case "dynamodb" if operation == "TransactWriteItems":
            for item in arguments["TransactItems"]:
                for kind, change in item.items():
                    yield f"dynamodb:{kind}Item", f"{change['TableName']}{_ROW}{change['Key'].get('id', '')}"
        case "dynamodb" if "Key" in arguments:
            yield action, f"{arguments['TableName']}{_ROW}{arguments['Key'].get('id', '')}"
        case "dynamodb":
            index = f"/index/{arguments['IndexName']}" if "IndexName" in arguments else ""
            for table in _tables(arguments):
                yield action, f"{table}{index}"
        case "s3":
            key = f"/{arguments['Key']}" if "Key" in arguments else ""
            yield _ACTIONS.get(action, action), f"{arguments['Bucket']}{key}"
        case _:
            named = ("QueueUrl", "SecretId", "Name", "TopicArn", "FunctionName")
            (target,) = [arguments[name] for name in named if name in arguments][:1]
            # The last part of a queue's address and of a topic's name.
            name = re.split(r"[:/]", target)[-1] if service in {"sqs", "sns"} else target
            yield _ACTIONS.get(action, action), name


@cache
def _rights_of(function: str) -> tuple[_Right, ...]:
    resources = template_resources()
    role = f"{function.title().replace('_', '')}Role"
    policies = [policy["PolicyDocument"] for policy in resources[role]["Properties"]["Policies"]]
    return tuple(
        (action, f"{_called(target, resources)}{row}")
        for policy in policies
        for statement in map(_where_chosen, policy["Statement"])
        for action in _as_list(statement["Action"])
        for target in _as_list(statement["Resource"])
        for row in _rows_of(statement, action)
    )


def _rows_of(statement: Mapping[str, Any], action: str) -> list[str]:
    """Return patterns of the rows of a table that a right is limited to."""
    if not action.startswith("dynamodb:") or action.endswith((":Query", ":BatchGetItem")):
        return [""]
    keys = (
        statement.get("Condition", {}).get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", ["*"])
    )
    return [f"{_ROW}{key}" for key in keys]


def _where_chosen(value: Any) -> Any:  # noqa: ANN401 - as the template has it
    """Return what holds where the condition of an ``!If`` holds."""
    return value["Fn::If"][1] if "Fn::If" in value else value


def _called(target: Any, resources: Mapping[str, Any]) -> str:  # noqa: ANN401 - as the template has it
    """Return a resource's name on moto, in place of what the template says of it."""
    target = _where_chosen(target) if isinstance(target, dict) else target
    if isinstance(target, str):
        return target
    if "Fn::Sub" not in target:
        (named,) = target.values()
        return _name(named[0] if isinstance(named, list) else named, resources)
    text = str(target["Fn::Sub"])
    text = text.partition(":parameter")[2] or text
    return re.sub(r"\$\{(.+?)\}", lambda match: _name(match[1].partition(".")[0], resources), text)


def _name(resource: str, resources: Mapping[str, Any]) -> str:
    if resource in _UNNAMED:
        return _UNNAMED[resource]
    if resource not in resources:
        # A parameter, such as the ARN of a key: nothing on moto is called so.
        return resource
    properties = resources[resource]["Properties"]
    (name,) = [properties[each] for each in _NAMES if each in properties] or [resource]
    return _called(name, resources)


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401 - as the template has it
    return value if isinstance(value, list) else [value]
