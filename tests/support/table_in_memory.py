"""The part of a DynamoDB table that the product uses, in memory: for laws that take thousands of runs to try.

``tests/integration/test_acknowledged_table.py`` holds it against moto's.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_SET = re.compile(r"(\w+) = (:\w+)")
_CONDITION = re.compile(r"attribute_not_exists\((\w+)\)|(\w+) (=|<) (:\w+)")


class ConditionalCheckFailedError(Exception):
    """A condition was not met."""


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
    ) -> None:
        item = self.items.get(self._place(Key), {})
        if ConditionExpression and not _holds(ConditionExpression, item, ExpressionAttributeValues):
            raise ConditionalCheckFailedError
        changes = {name: ExpressionAttributeValues[value] for name, value in _SET.findall(UpdateExpression)}
        self.items[self._place(Key)] = item | dict(Key) | changes

    def query(self, ExpressionAttributeValues: Mapping[str, Any], **_: object) -> dict[str, Any]:  # noqa: N803 - as above
        wanted = ExpressionAttributeValues[":key"]
        return {"Items": [dict(item) for place, item in sorted(self.items.items()) if place[0] == wanted]}

    def forget_expired(self, now: datetime) -> None:
        """Do what the time-to-live does."""
        self.items = {
            place: item for place, item in self.items.items() if item["expires_at"] >= now.timestamp()
        }


def _holds(condition: str, item: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    alternatives = []
    for absent, name, relation, value in _CONDITION.findall(condition):
        if absent:
            alternatives.append(absent not in item)
        elif name in item:
            alternatives.append(
                item[name] == values[value] if relation == "=" else item[name] < values[value]
            )
    return any(alternatives)
