"""Data values to messages on the queue, and back.

A message is a payload: it holds exactly one call to DHIS2. What costs a DHIS2 server is each distinct data
element, and less so each distinct org unit, in a call: payloads are therefore cut as squarish blocks of the
matrix org units x data elements, which real servers import twice as fast as rows of it. Blocks share no keys.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from itertools import chain, groupby
from math import isqrt
from operator import attrgetter
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind
from msupply_dhis2.errors import BatchError

MAXIMUM_MESSAGE_BYTES = 1_000_000
"""Below the 1,048,576 bytes of SQS, and of the 1 MB that nginx lets through to DHIS2 by default."""


@dataclass(frozen=True, slots=True)
class Message:
    """A batch on the queue, by what is counted of it: the same batch put there once more is another message.

    ``batch_id`` begins with the run's id; ``attempt_id`` tells which time that it was put there; it holds so many ``values``.
    """

    batch_id: str
    attempt_id: str
    values: int

    @property
    def run_id(self) -> str:
        """The run whose values it holds."""
        return self.batch_id.rpartition("-")[0]

    @property
    def name(self) -> str:
        """The message's own name within its run."""
        return f"{self.batch_id}-{self.attempt_id}"


class Operation(StrEnum):
    """What DHIS2 is to do with the values of a batch: store them, or delete what it holds in their places."""

    IMPORT = "import"
    DELETE = "delete"


class Row(NamedTuple):
    """A value in a message: its key, then the rest.

    ``store``, ``item`` and ``document`` are indices of the message's lists of names.
    """

    data_element: str
    period: str
    org_unit: str
    category_option_combo: str | None
    attribute_option_combo: str | None
    value: str
    store: int
    item: int
    metric: Metric
    document: int | None = None


class Tracking(BaseModel):
    """By what a batch is known in what is remembered of DHIS2 (``delta``).

    After ``until`` push takes the batch for one that is not tracked. ``target``: the DHIS2, the data set, its identifiers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempt_id: str
    until: datetime
    target: str


@dataclass(frozen=True, slots=True)
class Age:
    """How new values are: when mSupply's database was read (aware), and at which instant stock was looked at by metric."""

    read_at: datetime
    snapshots: Mapping[Metric, datetime]


class Destination(NamedTuple):
    """Where in DHIS2 values go, and what their identifiers are there: UIDs or codes."""

    data_set_id: str
    data_set_id_scheme: Scheme
    data_element_id_scheme: Scheme
    org_unit_scheme: Scheme


class Batch(BaseModel):
    """One message on the queue: one call to DHIS2, and the names for what is said about its values.

    ``run_id`` and ``batch_id`` are the same for the same values of the same run, however often it is
    computed; ``as_of`` is the run's instant. Of two messages about the same value ``read_at`` and ``snapshots`` (see
    ``Age``) tell which is newer; one without them is the oldest. The values of a delete are those that DHIS2 acknowledged
    last; it deletes whatever stands in their places now.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2
    run_id: str
    batch_id: str
    operation: Operation = Operation.IMPORT
    as_of: datetime
    data_set_id: str
    data_set_id_scheme: Scheme
    data_element_id_scheme: Scheme
    org_unit_scheme: Scheme
    option_combo_scheme: Scheme
    stores: tuple[str, ...]
    items: tuple[str, ...]
    customers: tuple[int, ...] = ()
    """Which of ``stores`` are customers that are no stores."""
    documents: tuple[str, ...] = ()
    read_at: datetime | None = None
    snapshots: dict[Metric, datetime] = Field(default_factory=dict)
    tracking: Tracking | None = None
    while_off: Literal[True] | None = None
    """Somebody has sent it by hand although Use DHIS2 was off."""
    rows: tuple[Row, ...]

    def encoded(self) -> str:
        """Return the message's body: ASCII JSON without white space."""
        # The rows are most of it, and JSON already.
        said = self.model_dump(mode="json", exclude={"rows"}, exclude_none=True)
        return _json({**said, "rows": self.rows})

    def values(self) -> tuple[DataValue, ...]:
        """Return the values with their names, in the order of the rows."""
        scheme, stores, items = self.option_combo_scheme, self.stores, self.items
        return tuple(
            DataValue(
                *(*row[:5], scheme, row.value, stores[row.store], items[row.item], row.metric),
                kind=Kind.CUSTOMER if row.store in self.customers else Kind.STORE,
                document="" if row.document is None else self.documents[row.document],
            )
            for row in self.rows
        )


def decode(body: str) -> Batch:
    """Read a message's body; raise ``BatchError`` where it is no batch of this version."""
    try:
        batch = Batch.model_validate_json(body)
        batch.values()
    except (ValidationError, IndexError):
        pass
    else:
        return batch
    # Outside the except clause: pydantic's error shows what the message holds.
    raise BatchError(
        "The message on the queue is not a batch that this version of msupply-dhis2 understands. Only compute "
        'writes to this queue: invoke compute with {"manual": true} to compute and send the values again.'
    )


def encode(
    values: Sequence[DataValue],
    *,
    run_id: str,
    as_of: datetime,
    destination: Destination,
    operation: Operation = Operation.IMPORT,
    tracking: Tracking | None = None,
    age: Age | None = None,
) -> Batch:
    """Make a batch of values that share one option combo scheme."""
    stores = _indices((value.kind, value.store) for value in values)
    documents = _indices(value.document for value in values if value.document)
    items = _indices(value.item for value in values)
    batch = Batch(
        run_id=run_id,
        batch_id="",
        operation=operation,
        as_of=as_of,
        **destination._asdict(),
        option_combo_scheme=values[0].option_combo_scheme,
        stores=tuple(name for _, name in stores),
        items=tuple(items),
        customers=tuple(index for (kind, _), index in stores.items() if kind is Kind.CUSTOMER),
        documents=tuple(documents),
        read_at=age.read_at if age else None,
        snapshots={value.metric: age.snapshots[value.metric] for value in values} if age else {},
        tracking=tracking,
        rows=tuple(
            Row(
                *(*value.key, value.value, stores[value.kind, value.store], items[value.item], value.metric),
                document=documents.get(value.document),
            )
            for value in values
        ),
    )
    content: list[object] = [batch.data_set_id, batch.stores, batch.items, batch.documents, batch.rows]
    if operation is not Operation.IMPORT:
        content.append(operation)
    digest = hashlib.sha256(_json(content).encode()).hexdigest()[:16]
    return batch.model_copy(update={"batch_id": f"{run_id}-{digest}"})


def _json(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))


def _indices[Name](names: Iterable[Name]) -> dict[Name, int]:
    return {name: index for index, name in enumerate(dict.fromkeys(names))}


class Strip:
    """The org units of the next payloads of ``maximum_values``, which are to be as wide as they are high.

    An org unit has at most ``values_per_cell`` for one data element: with option combos one for each active metric. Where
    each has few values, because only changes are sent, they are gathered until they fill so many ``payloads``.
    """

    def __init__(self, *, maximum_values: int, values_per_cell: int = 1, payloads: int = 0) -> None:
        self._side = max(1, isqrt(max(1, maximum_values // values_per_cell)))
        self._enough = payloads * maximum_values
        self._org_units: list[Sequence[DataValue]] = []
        self._held = 0

    def add(self, values: Sequence[DataValue]) -> None:
        """Add the values of an org unit."""
        if values:
            self._org_units.append(values)
            self._held += len(values)

    @property
    def is_full(self) -> bool:
        """Whether the payloads can be cut."""
        return len(self._org_units) >= self._side and self._held >= self._enough

    def take(self) -> list[Sequence[DataValue]]:
        """Return the org units that are held, and begin anew."""
        taken, self._org_units, self._held = self._org_units, [], 0
        return taken


def blocks(
    strip: Sequence[Sequence[DataValue]], *, maximum_values: int, maximum_bytes: int = MAXIMUM_MESSAGE_BYTES
) -> Iterator[list[DataValue]]:
    """Cut a strip into payloads: squarish blocks of org units x data elements, each value in exactly one.

    Each has at least one value, at most ``maximum_values``, all of one option combo scheme, and rows and names of at most
    ``maximum_bytes``.
    """
    # A stable sort: within a data element the org units keep their order.
    values = sorted(chain.from_iterable(strip), key=attrgetter("option_combo_scheme", "data_element"))
    for _, same_scheme in groupby(values, key=attrgetter("option_combo_scheme")):
        block = _Block(maximum_values, maximum_bytes)
        for _, of_data_element in groupby(same_scheme, key=attrgetter("data_element")):
            column = list(of_data_element)
            if block.takes(column):
                continue
            alone = _Block(maximum_values, maximum_bytes)
            if alone.takes(column):
                yield block.values
                block = alone
                continue
            # Only a column that is more than a payload by itself is cut within.
            for value in column:
                if not block.takes([value]):
                    yield block.values
                    block = _Block(maximum_values, maximum_bytes)
                    block.takes([value])
        if block.values:
            yield block.values


class _Block:
    """A payload in the making, and an upper bound of the bytes that its message will have."""

    def __init__(self, maximum_values: int, maximum_bytes: int) -> None:
        self.values: list[DataValue] = []
        self._maximum_values = maximum_values
        self._room = maximum_bytes
        self._names: set[str] = set()

    def takes(self, column: list[DataValue]) -> bool:
        """Take values that stay together, if there is room; an empty one takes any single value."""
        names = {name for value in column for name in (value.store, value.item, value.document)} - self._names
        size = sum(map(_row_bytes, column)) + sum(map(_text_bytes, names))
        has_room = len(self.values) + len(column) <= self._maximum_values and size <= self._room
        if has_room or (not self.values and len(column) == 1):
            self.values += column
            self._room -= size
            self._names |= names
            return True
        return False


def _row_bytes(value: DataValue) -> int:
    places_and_punctuation = 32
    return places_and_punctuation + sum(map(_text_bytes, (*value.key, value.value, value.metric)))


# The same identifiers and names come again and again.
@lru_cache(maxsize=65_536)
def _text_bytes(text: str | None) -> int:
    """Return the bytes of a text in JSON, with the comma after it."""
    return len(json.dumps(text)) + 1
