"""The one idiom for DynamoDB: read an item, decide, and change it where nobody else has changed it meanwhile.

Where somebody has, it is read and decided anew, ``ATTEMPTS`` times; then it is ``busy``. What DynamoDB refuses for the moment
is asked again below all of that, by ``wait_where_busy``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cache
from itertools import batched
from random import random
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from msupply_dhis2.aws.errors import BUSY, aws_faults
from msupply_dhis2.errors import AwsBusyError

if TYPE_CHECKING:
    from boto3.dynamodb.conditions import ConditionBase
    from botocore.client import BaseClient
    from mypy_boto3_dynamodb import service_resource

ATTEMPTS = 10

KEYS_IN_ONE_CALL = 100
"""What BatchGetItem takes."""

CHANGES_IN_ONE_CALL = 100
"""What TransactWriteItems takes."""

MOST_BYTES = 390_000
"""Of an item, which may have 400 KB."""

type Table = service_resource.Table
"""A table as boto3 gives it."""

type Binary = Annotated[bytes, BeforeValidator(lambda held: getattr(held, "value", held))]
"""Bytes, which boto3 gives in a class of its own."""

_FIRST_WAIT_SECONDS = 0.05
_IN_THE_WAY = frozenset(
    {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"}
)
"""Why DynamoDB cancels what it may do a moment later: another was changing the same item, or it was too much at once."""


class Change:
    """A change of one item, put together clause by clause.

    Attributes' names stand apart from the expressions, because many an English word is reserved.
    """

    def __init__(self, key: Mapping[str, str]) -> None:
        self._key = dict(key)
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._clauses: dict[str, list[str]] = {}
        self._conditions: list[str] = []

    def set(self, values: Mapping[str, object]) -> Self:
        """Set attributes; ``None`` removes one."""
        self.remove(*(name for name, value in values.items() if value is None))
        for name, value in values.items():
            if value is not None:
                self._clause("SET", f"{self._name(name)} = {self._value(name, value)}")
        return self

    def set_once(self, values: Mapping[str, object]) -> Self:
        """Set attributes that are not there yet."""
        for name, value in values.items():
            placed = self._name(name)
            self._clause("SET", f"{placed} = if_not_exists({placed}, {self._value(name, value)})")
        return self

    def keep_until(self, instant: datetime, *, once: bool = False) -> Self:
        """Have the item be forgotten after an instant; ``once``: unless that is set."""
        expires_at = {"expires_at": int(instant.timestamp())}
        return self.set_once(expires_at) if once else self.set(expires_at)

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

    def if_absent(self, name: str) -> Self:
        """Only where an attribute is not there; a key's: where there is no item."""
        self._conditions.append(f"attribute_not_exists({self._name(name)})")
        return self

    def if_present(self, name: str) -> Self:
        """Only where an attribute is there."""
        self._conditions.append(f"attribute_exists({self._name(name)})")
        return self

    def if_equal(self, name: str, value: object) -> Self:
        """Only where an attribute has a value; nothing and 0 are the same, and ``None`` is nothing."""
        if value is None:
            return self.if_absent(name)
        equal = f"{self._name(name)} = {self._value(f'{name}_before', value)}"
        self._conditions.append(f"(attribute_not_exists(#{name}) OR {equal})" if value == 0 else equal)
        return self

    def if_below(self, name: str, value: object) -> Self:
        """Only where an attribute is less than a value, or not there."""
        below = f"{self._name(name)} < {self._value(f'{name}_limit', value)}"
        self._conditions.append(f"(attribute_not_exists(#{name}) OR {below})")
        return self

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``update_item``."""
        clauses = [f"{verb} {', '.join(clauses)}" for verb, clauses in self._clauses.items()]
        given = {
            "UpdateExpression": " ".join(clauses),
            "ConditionExpression": " AND ".join(self._conditions),
            "ExpressionAttributeNames": self._names,
            "ExpressionAttributeValues": self._values,
        }
        return {"Key": self._key, **{name: each for name, each in given.items() if each}}

    def _clause(self, verb: str, clause: str) -> None:
        self._clauses.setdefault(verb, []).append(clause)

    def _name(self, name: str) -> str:
        self._names[f"#{name}"] = name
        return f"#{name}"

    def _value(self, name: str, value: object) -> str:
        self._values[f":{name}"] = value
        return f":{name}"


_made: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def reader_of[Row](kind: type[Row]) -> TypeAdapter[Row]:
    """Return what reads and writes rows of a kind. It is made at its first use, so that a cold start pays for no other."""
    return _made(kind)


def row_of[Row](kind: type[Row], held: object) -> Row | None:
    """Read an item, or a part of one, as a row of a kind; ``None`` where it is damaged."""
    try:
        return reader_of(kind).validate_python(held)
    except ValidationError:
        return None


def change_item(table: Table, change: Change) -> bool:
    """Change an item; ``False`` where a condition is not met, and nothing was changed."""
    with _faults("changing", table):
        try:
            table.update_item(**change.arguments())
        except table.meta.client.exceptions.ConditionalCheckFailedException:
            return False
    return True


def change_and_read(table: Table, change: Change) -> Mapping[str, Any]:
    """Change an item without any condition, and return it as it is then."""
    with _faults("changing", table):
        return table.update_item(**change.arguments(), ReturnValues="ALL_NEW")["Attributes"]


def change_items(table: Table, changes: Sequence[Change]) -> frozenset[int]:
    """Change several items of a table, 100 at most and each of them once, or none of them.

    Return the indexes of the changes whose conditions are not met; where there is any, nothing was changed.
    """
    client = table.meta.client
    items: Any = [{"Update": {"TableName": table.name, **change.arguments()}} for change in changes]
    with _faults("changing", table):
        try:
            client.transact_write_items(TransactItems=items)
        except client.exceptions.TransactionCanceledException as error:
            codes = _reasons(error.response)
            if not _IN_THE_WAY.isdisjoint(codes):
                raise busy(table) from error
            unmet = frozenset(index for index, code in enumerate(codes) if code == "ConditionalCheckFailed")
            if not unmet:
                raise
            return unmet
    return frozenset()


def busy(table: Table) -> AwsBusyError:
    """Return the fault of what was tried again and again, because others change the same items all the time."""
    return AwsBusyError(
        f"Other functions changed the same rows of the table {table.name} all the time. Try again later."
    )


def read_item(table: Table, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Read an item by its key, consistently; ``None`` where there is none."""
    with _faults("reading", table):
        return table.get_item(Key=key, ConsistentRead=True).get("Item")


def read_items(table: Table, keys: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the items of these keys, read consistently, as many as there are of them."""
    for part in batched(keys, KEYS_IN_ONE_CALL, strict=False):
        asked: Any = {table.name: {"Keys": list(part), "ConsistentRead": True}}
        for attempt in range(ATTEMPTS):
            if attempt:
                sleep(_wait_seconds(attempt - 1))
            with _faults("reading", table):
                answer = table.meta.client.batch_get_item(RequestItems=asked)
            yield from answer["Responses"].get(table.name, ())
            # It was too much at once, or more than the 16 MB that an answer holds.
            asked = answer.get("UnprocessedKeys")
            if not asked:
                break
        else:
            raise AwsBusyError(
                f"DynamoDB did not return all rows of the table {table.name}. Try again later."
            )


def query_items(
    table: Table,
    condition: "ConditionBase",
    **options: Any,  # noqa: ANN401 - as ``query`` takes them
) -> Iterator[Mapping[str, Any]]:
    """Yield the items of one partition that a condition on the key chooses, page by page."""
    while True:
        with _faults("reading", table):
            answer = table.query(KeyConditionExpression=condition, **options)
        yield from answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        options["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _faults(doing: str, table: Table) -> AbstractContextManager[None]:
    return aws_faults(f"{doing} the table {table.name}", table.meta.client)


def wait_where_busy(client: "BaseClient") -> None:
    """Have each call of a client made again, after waits that grow, where DynamoDB refuses it for the moment.

    All org units of a period share a partition, so a run of many shards is refused as a matter of course. More attempts of
    botocore's own would make a service that cannot be reached a matter of minutes; and it does not repeat transactions.
    """
    events = client.meta.events
    events.register_first("needs-retry.dynamodb", _next_wait)  # type: ignore[arg-type]  # it answers


def _next_wait(
    attempts: int, response: tuple[object, Mapping[str, Any]] | None, **_others: object
) -> float | None:
    """Return for how long botocore waits before the next attempt; ``None`` leaves it to botocore."""
    if response is None or attempts >= ATTEMPTS:
        return None
    _, answer = response
    is_busy = answer.get("Error", {}).get("Code") in BUSY or not _IN_THE_WAY.isdisjoint(_reasons(answer))
    return _wait_seconds(attempts - 1) if is_busy else None


def _reasons(answer: Any) -> list[str]:  # noqa: ANN401 - as botocore gives it
    """Return why a transaction was cancelled, change by change."""
    return [str(reason.get("Code")) for reason in answer.get("CancellationReasons", ())]


def _wait_seconds(waits_before: int) -> float:
    """Return a wait that grows, by chance up to twice as long: who was refused together does not come back together."""
    return _FIRST_WAIT_SECONDS * (1 << waits_before) * (1 + random())  # noqa: S311 - nothing secret
