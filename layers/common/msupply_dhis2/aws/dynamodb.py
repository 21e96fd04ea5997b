"""DynamoDB as all tables are used: many items read at once, and several changed together or not at all."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import batched
from typing import TYPE_CHECKING, Any, Self

from msupply_dhis2.aws.errors import BUSY, aws_faults
from msupply_dhis2.errors import AwsBusyError

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from mypy_boto3_dynamodb.service_resource import Table

KEYS_IN_ONE_CALL = 100
"""What BatchGetItem takes."""

CHANGES_IN_ONE_CALL = 100
"""What TransactWriteItems takes."""

_ATTEMPTS = 10
_FIRST_WAIT_SECONDS = 0.05
_IN_THE_WAY = frozenset(
    {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"}
)
"""Why DynamoDB cancels what it may do a moment later: another was changing the same item, or it was too much at once."""


class Change:
    """An update of one item, put together clause by clause; ``arguments`` gives it as ``update_item`` takes it.

    Attributes' names stand apart from the expressions, because many an English word is reserved.
    """

    def __init__(self, key: Mapping[str, str]) -> None:
        self._key = dict(key)
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._clauses: dict[str, list[str]] = {}
        self._conditions: list[str] = []

    def set(self, values: Mapping[str, object]) -> Self:
        """Set attributes."""
        for name, value in values.items():
            self._clause("SET", f"{self._name(name)} = {self._value(name, value)}")
        return self

    def set_once(self, values: Mapping[str, object]) -> Self:
        """Set attributes that are not there yet."""
        for name, value in values.items():
            placed = self._name(name)
            self._clause("SET", f"{placed} = if_not_exists({placed}, {self._value(name, value)})")
        return self

    def add(self, more: Mapping[str, int | AbstractSet[str]]) -> Self:
        """Add to numbers and sets of texts; what is not there is 0, or an empty set."""
        for name, each in more.items():
            self._clause("ADD", f"{self._name(name)} {self._value(name, each)}")
        return self

    def remove(self, *names: str) -> Self:
        """Remove attributes."""
        for name in names:
            self._clause("REMOVE", self._name(name))
        return self

    def if_absent(self, *names: str) -> Self:
        """Only where these attributes are not there; a key's: where there is no item."""
        self._conditions += [f"attribute_not_exists({self._name(name)})" for name in names]
        return self

    def if_equal(self, name: str, value: object) -> Self:
        """Only where an attribute has a value; nothing and 0 are the same."""
        placed = self._name(name)
        equal = f"{placed} = {self._value(f'{name}_before', value)}"
        self._conditions.append(f"(attribute_not_exists({placed}) OR {equal})" if value == 0 else equal)
        return self

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``update_item``."""
        given: dict[str, Any] = {
            "Key": self._key,
            "UpdateExpression": " ".join(
                f"{verb} {', '.join(clauses)}" for verb, clauses in self._clauses.items()
            ),
            "ExpressionAttributeNames": self._names,
        }
        if self._values:
            given["ExpressionAttributeValues"] = self._values
        if self._conditions:
            given["ConditionExpression"] = " AND ".join(self._conditions)
        return given

    def _clause(self, verb: str, clause: str) -> None:
        self._clauses.setdefault(verb, []).append(clause)

    def _name(self, name: str) -> str:
        self._names[f"#{name}"] = name
        return f"#{name}"

    def _value(self, name: str, value: object) -> str:
        self._values[f":{name}"] = value
        return f":{name}"


def ask_again_where_refused_for_now(client: "BaseClient") -> None:
    """Have each call of a client made again, after waits that grow, where DynamoDB refuses it for the moment.

    All org units of a period share a partition, so a run of many shards is refused as a matter of course. botocore's own
    attempts are too few for that, and to have more of them would make a service that cannot be reached a matter of
    minutes; and it takes a transaction that is in the way of a plain write for a refusal for good.
    """
    events = client.meta.events
    events.register_first("needs-retry.dynamodb", _wait_where_refused_for_now)  # type: ignore[arg-type]  # it answers


def _wait_where_refused_for_now(
    attempts: int, response: tuple[object, Mapping[str, Any]] | None, **_others: object
) -> float | None:
    """Tell botocore for how long to wait before the next attempt; ``None`` leaves it to botocore."""
    if response is None or attempts >= _ATTEMPTS:
        return None
    _, answer = response
    is_for_now = answer.get("Error", {}).get("Code") in BUSY
    return _wait_seconds(attempts - 1) if is_for_now else None


def _wait_seconds(waits_before: int) -> float:
    """Give a wait that grows, by chance up to twice as long: who was refused together does not come back together."""
    return _FIRST_WAIT_SECONDS * (1 << waits_before) * (1 + random.random())  # noqa: S311 - nothing secret


def unless_changed(table: "Table") -> suppress:
    """Leave an item as it is where its condition does not hold: somebody has changed it meanwhile, and knows better."""
    return suppress(table.meta.client.exceptions.ConditionalCheckFailedException)


def read_item(table: "Table", key: Mapping[str, Any], doing: str) -> Mapping[str, Any] | None:
    """Read an item by its key, consistently, or give ``None`` where there is none.

    Raises
    ------
    AwsError
        The table cannot be read; the message says what was being done.
    """
    with aws_faults(doing, table.meta.client):
        return table.get_item(Key=key, ConsistentRead=True).get("Item")


def read_items(
    table: "Table",
    keys: Iterable[Mapping[str, Any]],
    doing: str,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Mapping[str, Any]]:
    """Read items by their keys, consistently, as many as there are of them.

    Parameters
    ----------
    sleep
        How to wait for some seconds, where DynamoDB did not get to all of them.

    Raises
    ------
    AwsError
        The table cannot be read.
    """
    client = table.meta.client
    for part in batched(keys, KEYS_IN_ONE_CALL, strict=False):
        asked: Any = {table.name: {"Keys": list(part), "ConsistentRead": True}}
        for attempt in range(_ATTEMPTS):
            if attempt:
                sleep(_wait_seconds(attempt - 1))
            with aws_faults(doing, client):
                answer = client.batch_get_item(RequestItems=asked)
            yield from answer["Responses"].get(table.name, ())
            # It was too much at once, or more than the 16 MB that an answer holds.
            asked = answer.get("UnprocessedKeys")
            if not asked:
                break
        else:
            raise AwsBusyError(
                f"DynamoDB did not give all that was asked for, while {doing}. Try again later."
            )


def change_together(
    table: "Table",
    changes: Sequence[Change],
    doing: str,
    sleep: Callable[[float], None] = time.sleep,
) -> frozenset[int]:
    """Change several items of a table, all of them or none.

    Parameters
    ----------
    changes
        100 at most, none of them of the same item as another.
    sleep
        How to wait for some seconds, where another is changing the same item.

    Returns
    -------
    frozenset of int
        The places of the changes whose conditions are not met; where there is any, nothing was changed.

    Raises
    ------
    AwsError
        The table refused, or others change the same items all the time.
    """
    client = table.meta.client
    items: Any = [{"Update": {"TableName": table.name, **change.arguments()}} for change in changes]
    for attempt in range(_ATTEMPTS):
        if attempt:
            sleep(_wait_seconds(attempt - 1))
        with aws_faults(doing, client):
            try:
                client.transact_write_items(TransactItems=items)
            except client.exceptions.TransactionCanceledException as error:
                reasons: Any = error.response.get("CancellationReasons", ())
                codes = [str(reason.get("Code")) for reason in reasons]
                if not _IN_THE_WAY.intersection(codes):
                    unmet = frozenset(
                        place for place, code in enumerate(codes) if code == "ConditionalCheckFailed"
                    )
                    if not unmet:
                        raise
                    return unmet
            else:
                return frozenset()
    raise AwsBusyError(
        f"Others changed the same items of DynamoDB all the time, while {doing}. Try again later."
    )
