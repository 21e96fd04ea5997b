"""Data values to messages on the queue, and back.

A message is a payload: it holds exactly one call to DHIS2. What costs a DHIS2 server is each distinct data
element, and less so each distinct org unit, in a call: payloads are therefore cut as squarish blocks of the
matrix org units x data elements, which real servers import twice as fast as rows of it. Blocks share no keys.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from itertools import batched, chain, groupby
from math import isqrt
from operator import itemgetter
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter

from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.data_value import Column, DataValue, Origin
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import BatchError

MAXIMUM_MESSAGE_BYTES = 1_000_000
"""Below the 1,048,576 bytes of SQS, and of the 1 MB that nginx lets through to DHIS2 by default."""


VERSION: Final = 3
"""Of the messages' form: push refuses any other."""


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


@dataclass(frozen=True, slots=True)
class Tracking:
    """By what a batch is known in what is remembered of DHIS2 (``delta``).

    After ``until`` push takes the batch for one that is not tracked. ``target``: the DHIS2, the data set, its identifiers.
    """

    attempt_id: str
    until: datetime
    target: str


@dataclass(frozen=True, slots=True)
class Age:
    """How new values are: when mSupply's database was read (aware), and at which instant stock was looked at by metric."""

    read_at: datetime
    snapshots: Mapping[Metric, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where in DHIS2 values go, and what their identifiers are there: UIDs or codes."""

    data_set_id: str
    data_set_id_scheme: Scheme
    data_element_id_scheme: Scheme
    org_unit_scheme: Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Header(Destination):
    """What a message says of all its values.

    ``run_id`` and ``batch_id`` are the same for the same values of the same run, however often it is
    computed; ``as_of`` is the run's instant. Of two messages about the same value ``read_at`` and ``snapshots`` (see
    ``Age``) tell which is newer; one without them is the oldest. The values of a delete are those that DHIS2 acknowledged
    last; it deletes whatever stands in their places now.
    """

    version: Literal[3] = VERSION
    run_id: str
    batch_id: str
    operation: Operation = Operation.IMPORT
    as_of: datetime
    option_combo_scheme: Scheme
    read_at: datetime | None = None
    snapshots: Mapping[Metric, datetime] = field(default_factory=dict)
    tracking: Tracking | None = None
    while_off: bool = False
    """Somebody has sent it by hand although Use DHIS2 was off."""

    @property
    def deletes(self) -> bool:
        """Whether DHIS2 is to delete the values."""
        return self.operation is Operation.DELETE


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Header):
    """One message on the queue: one call to DHIS2, and the names for what is said about its values.

    ``body`` is the message as it is on the queue.
    """

    values: tuple[DataValue, ...]
    body: str = field(repr=False, compare=False)


class _Column(NamedTuple):
    """A column in a message: its values, and of each the index of its origin in the message's list."""

    data_element: str
    category_option_combo: str | None
    attribute_option_combo: str | None
    period: str
    metric: Metric
    item: str
    origins: Sequence[Annotated[int, Field(ge=0)]]
    values: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body(Header):
    """A message as it is on the queue: ASCII JSON without white space."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    origins: tuple[Origin, ...]
    columns: tuple[_Column, ...]

    def values(self) -> Iterator[DataValue]:
        """Yield the values with their names, in their order."""
        for data_element, category, attribute, period, metric, item, origins, values in self.columns:
            identifier = data_element, category, attribute
            column = Column(identifier, period, self.option_combo_scheme, metric, item)
            for index, value in zip(origins, values, strict=True):
                yield DataValue(column, self.origins[index], value)


@cache
def _reader() -> TypeAdapter[_Body]:
    """Return what reads and checks a message; compute, which only writes them, never makes it."""
    return TypeAdapter(_Body)


def decode(body: str) -> Batch:
    """Read a message's body; raise ``BatchError`` where it is no batch of this version."""
    try:
        read = _reader().validate_json(body)
        values = tuple(read.values())
    except (ValueError, IndexError):
        pass
    else:
        header = {each.name: getattr(read, each.name) for each in fields(Header)}
        return Batch(**header, values=values, body=body)
    # Outside the except clause: pydantic's error shows what the message holds.
    raise BatchError(
        "The message on the queue is not a batch that this version of msupply-dhis2 understands. Only compute "
        'writes to this queue: invoke compute with {"manual": true} to compute and send the values again.'
    )


def encode(  # noqa: PLR0913 - all that a message says
    values: Sequence[DataValue],
    *,
    run_id: str,
    as_of: datetime,
    destination: Destination,
    operation: Operation = Operation.IMPORT,
    tracking: Tracking | None = None,
    age: Age | None = None,
    while_off: bool = False,
) -> Batch:
    """Make a batch of values that share one option combo scheme."""
    content = _content(values)
    # The same values of the same run are the same batch, whenever they were read.
    identity = f"{destination.data_set_id}\n{operation}\n{content}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    header: dict[str, Any] = {
        "version": VERSION,
        "run_id": run_id,
        "batch_id": f"{run_id}-{digest}",
        "operation": operation,
        "as_of": as_of,
        **asdict(destination),
        "option_combo_scheme": values[0].column.option_combo_scheme,
    }
    if age is not None:
        metrics = dict.fromkeys([value.metric for value in values])
        header |= {"read_at": age.read_at, "snapshots": {metric: age.snapshots[metric] for metric in metrics}}
    if tracking is not None:
        header["tracking"] = tracking
    if while_off:
        header["while_off"] = True
    # The content is nearly all of it, and is written once.
    body = f"{_json(header)[:-1]},{content[1:]}"
    return Batch(**header, values=tuple(values), body=body)


def small_enough(
    payload: Sequence[DataValue],
    make: Callable[[Sequence[DataValue]], Batch],
    maximum_bytes: int = MAXIMUM_MESSAGE_BYTES,
) -> Iterator[Batch]:
    """Make a batch of a payload, or several where it is too large for a message; a single value always is one."""
    batch = make(payload)
    if len(batch.body) <= maximum_bytes or len(payload) == 1:
        yield batch
        return
    middle = len(payload) // 2
    yield from small_enough(payload[:middle], make, maximum_bytes)
    yield from small_enough(payload[middle:], make, maximum_bytes)


def _content(values: Sequence[DataValue]) -> str:
    """Write values as JSON, a column after the other."""
    origins: dict[Origin, int] = {}
    columns = []
    for column, of_column in groupby(values, key=itemgetter(0)):
        held = [(origins.setdefault(origin, len(origins)), value) for _, origin, value in of_column]
        indices, texts = zip(*held, strict=True)
        columns.append((*column.identifier, column.period, column.metric, column.item, indices, texts))
    return _json({"origins": [*origins], "columns": columns})


def _plain(part: datetime | Tracking) -> object:
    return part.isoformat() if isinstance(part, datetime) else asdict(part)


_json = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


class Strip:
    """The org units of the next payloads of ``maximum_values``, which are to be as wide as they are high.

    An org unit has at most ``values_per_cell`` for one data element: with option combos one for each active metric. What
    does not fill a payload stays for the next strip; unless each org unit is to leave whole, which are gathered then
    until they fill so many ``payloads``.
    """

    def __init__(self, *, maximum_values: int, values_per_cell: int = 1, payloads: int = 0) -> None:
        self._side = max(1, isqrt(max(1, maximum_values // values_per_cell)))
        self._maximum_values = maximum_values
        self._enough = payloads * maximum_values
        self._rest: list[DataValue] = []
        self._held = 0
        self.org_units: list[Sequence[DataValue]] = []
        """The values of those that were added since the last payloads were cut."""

    def add(self, values: Sequence[DataValue]) -> None:
        """Add the values of an org unit."""
        if values:
            self.org_units.append(values)
            self._held += len(values)

    @property
    def is_full(self) -> bool:
        """Whether the payloads can be cut."""
        return len(self.org_units) >= self._side and self._held >= self._enough

    def cut(self, *, is_last: bool) -> list[list[DataValue]]:
        """Return the payloads of what is held; what does not fill one stays, unless the strip ``is_last``."""
        payloads = [*blocks([self._rest, *self.org_units], maximum_values=self._maximum_values)]
        keeps_rest = not (is_last or self._enough or len(payloads[-1]) == self._maximum_values)
        self._rest = payloads.pop() if keeps_rest else []
        self.org_units, self._held = [], 0
        return payloads


def blocks(strip: Iterable[Sequence[DataValue]], *, maximum_values: int) -> Iterator[list[DataValue]]:
    """Cut a strip into payloads: squarish blocks of org units x data elements, each value in exactly one.

    All but the last of an option combo scheme have ``maximum_values``, column after column.
    """
    columns: defaultdict[int, list[DataValue]] = defaultdict(list)
    for value in chain.from_iterable(strip):
        # By the object that they share: to compare what it holds would take longer than all the rest.
        columns[id(value[0])].append(value)
    # A stable sort: within a column the org units keep their order.
    in_order = sorted(
        columns.values(), key=lambda column: (column[0].column.option_combo_scheme, column[0].data_element)
    )
    for _, same_scheme in groupby(in_order, key=lambda column: column[0].column.option_combo_scheme):
        yield from map(list, batched(chain.from_iterable(same_scheme), maximum_values, strict=False))
