"""The part of a DynamoDB table that the product uses, in memory: for laws that take thousands of runs to try.

``tests/integration/state/delta/test_table.py`` holds it against moto's.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from boto3.dynamodb.conditions import ConditionBase

_CLAUSE = re.compile(r"(SET|ADD|REMOVE) (.*?)(?= (?:SET|ADD|REMOVE) |$)")
_SET = re.compile(r"(\w+) = (?:if_not_exists\((\w+), (:\w+)\)|(:\w+))")
_ADD = re.compile(r"(\w+) (:\w+)")
_CONDITION = re.compile(r"attribute_not_exists\((\w+)\)|(\w+) (=|<) (:\w+)")


class ConditionalCheckFailedError(Exception):
    """A condition was not met."""


class TransactionCanceledError(Exception):
    """A condition of a transaction was not met."""

    def __init__(self, codes: list[str]) -> None:
        super().__init__(codes)
        self.response = {"CancellationReasons": [{"Code": code} for code in codes]}


class TableInMemory:
    """Items by their keys, as boto3's ``Table`` gives and takes them."""

    def __init__(self, name: str, *key: str) -> None:
        self.name = name
        self.items: dict[tuple[str, ...], dict[str, Any]] = {}
        self._key = key
        # As boto3 has them.
        self.meta = self
        self.client = self
        self.exceptions = self
        self.service_model = self
        self.endpoint_prefix = "dynamodb"
        self.region_name = "here"
        self.ConditionalCheckFailedException = ConditionalCheckFailedError
        self.TransactionCanceledException = TransactionCanceledError

    def _place(self, key: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(key[name] for name in self._key)

    def get_item(self, Key: Mapping[str, str], **_: object) -> dict[str, Any]:  # noqa: N803 - boto3's name
        item = self.items.get(self._place(Key))
        return {} if item is None else {"Item": dict(item)}

    def batch_get_item(self, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803 - as above
        keys = RequestItems[self.name]["Keys"]
        return {
            "Responses": {
                self.name: [
                    dict(item) for key in keys if (item := self.items.get(self._place(key))) is not None
                ]
            }
        }

    def update_item(  # as boto3's, so far as it is used
        self,
        Key: Mapping[str, str],  # noqa: N803 - as above
        UpdateExpression: str,  # noqa: N803 - as above
        ExpressionAttributeValues: Mapping[str, Any],  # noqa: N803 - as above
        ConditionExpression: str = "",  # noqa: N803 - as above
        **_: object,
    ) -> None:
        item = self.items.get(self._place(Key), {})
        values = ExpressionAttributeValues
        if not _holds(ConditionExpression.replace("#", ""), item, values):
            raise ConditionalCheckFailedError
        item = item | dict(Key)
        for verb, clauses in _CLAUSE.findall(UpdateExpression.replace("#", "")):
            if verb == "SET":
                for name, kept, once, value in _SET.findall(clauses):
                    item[name] = item.get(kept, values[once]) if kept else values[value]
            elif verb == "ADD":
                for name, value in _ADD.findall(clauses):
                    item[name] = item.get(name, 0) + values[value]
            else:
                for name in clauses.split(", "):
                    item.pop(name, None)
        self.items[self._place(Key)] = item

    def transact_write_items(self, TransactItems: Sequence[Mapping[str, Any]]) -> None:  # noqa: N803 - as above
        updates = [each["Update"] for each in TransactItems]
        codes = [
            "None"
            if _holds(
                update.get("ConditionExpression", "").replace("#", ""),
                self.items.get(self._place(update["Key"]), {}),
                update["ExpressionAttributeValues"],
            )
            else "ConditionalCheckFailed"
            for update in updates
        ]
        if set(codes) != {"None"}:
            raise TransactionCanceledError(codes)
        for update in updates:
            self.update_item(**{name: value for name, value in update.items() if name != "TableName"})

    def query(self, KeyConditionExpression: ConditionBase, **_: object) -> dict[str, Any]:  # noqa: N803 - as above
        _, wanted = KeyConditionExpression.get_expression()["values"]
        return {"Items": [dict(item) for place, item in sorted(self.items.items()) if place[0] == wanted]}

    def forget_expired(self, now: datetime) -> None:
        """Do what the time-to-live does."""
        self.items = {
            place: item for place, item in self.items.items() if item["expires_at"] >= now.timestamp()
        }


def _holds(condition: str, item: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Return whether all of what AND joins holds; each of it may be several things that OR joins."""
    return not condition or all(
        any(_is_met(each, item, values) for each in _CONDITION.findall(part))
        for part in condition.split(" AND ")
    )


def _is_met(alternative: tuple[str, ...], item: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    absent, name, relation, value = alternative
    if absent:
        return absent not in item
    if name not in item:
        return False
    return bool(item[name] == values[value] if relation == "=" else item[name] < values[value])
