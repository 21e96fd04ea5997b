"""Answers queries of CloudWatch Logs Insights, over lines that functions have written.

The emulator of AWS knows no ``stats``, ``dedup`` or ``ispresent`` and passes over what it does not know, so that it gives
every line for an answer. This knows the part of the language that the project's queries use, as AWS describes it
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html), and refuses the rest.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

type Value = str | float | None
type Record = Mapping[str, Value]

MOST_FIELDS = 200
"""CloudWatch finds so many fields in a line of JSON."""

MOST_ROWS = 10_000

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*")
      | (?P<pattern>/(?:\\.|[^/\\])+/)
      | (?P<number>-?\d+(?:\.\d+)?)
      | (?P<name>[@\w][\w@.]*)
      | (?P<sign><=|>=|!=|[=<>(),*|\[\]])
    )""",
    re.VERBOSE,
)


class QueryError(ValueError):
    """A query that is wrong, or that holds what is not known here."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a function wrote to its log at one time."""

    instant: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The table that a query gives."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


@dataclass(slots=True)
class _Result:
    """What has come of a query's commands so far."""

    records: list[Record]
    columns: list[str] = field(default_factory=list)


def sources_of(query: str) -> tuple[str, ...]:
    """Return the log groups that a dashboard's query names itself."""
    return tuple(
        _unquoted(command[1]) for command in _commands(query) if command and _is(command[0], "source")
    )


def ask(query: str, events: Iterable[Event]) -> Answer:
    """Answer a query.

    Parameters
    ----------
    query
        In the language of Logs Insights; ``SOURCE`` is passed over.
    events
        Those of the log groups that are asked.

    Raises
    ------
    QueryError
        It is wrong, or holds a command or a function that is not known here.
    """
    result = _Result([_record(event) for event in events])
    before: str | None = None
    for command in _commands(query):
        name = command[0].text.lower()
        if name == "source":
            continue
        if name not in _COMMANDS:
            raise QueryError(f"{command[0].text} is no command that is known here: {query}")
        if before == "dedup" and name != "limit":
            raise QueryError(f"Only limit may follow dedup: {query}")
        _COMMANDS[name](result, _Reader(command[1:], query))
        before = name
    columns = tuple(result.columns or ("@timestamp", "@message"))
    rows = tuple(tuple(record.get(column) for column in columns) for record in result.records[:MOST_ROWS])
    return Answer(columns, rows)


# ------------------------------------------------------------------------------------------------------- events


def _record(event: Event) -> Record:
    own: dict[str, Value] = {
        "@timestamp": f"{event.instant.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3],
        "@message": event.message,
    }
    try:
        document = json.loads(event.message)
    except ValueError:
        return own
    if isinstance(document, dict):
        for number, (name, value) in enumerate(_flat(document)):
            if number == MOST_FIELDS:
                break
            own[name] = value
    return own


def _flat(thing: object, path: str = "") -> Iterator[tuple[str, Value]]:
    """Yield the fields of a document, as ``report.checks.0.name``; what is null is no field."""
    if isinstance(thing, dict | list):
        parts = thing.items() if isinstance(thing, dict) else enumerate(thing)
        for name, value in parts:
            yield from _flat(value, f"{path}.{name}" if path else str(name))
    elif isinstance(thing, int | float):
        # True and false are 1 and 0 for CloudWatch too.
        yield path, float(thing)
    elif isinstance(thing, str):
        yield path, thing


# ------------------------------------------------------------------------------------------------------ commands


def _fields(result: _Result, reader: "_Reader") -> None:
    result.columns += reader.names()


def _filter(result: _Result, reader: "_Reader") -> None:
    condition = reader.condition()
    reader.end()
    result.records = [record for record in result.records if condition(record)]


def _sort(result: _Result, reader: "_Reader") -> None:
    name = reader.name()
    descends = reader.takes("desc")
    if not descends:
        reader.takes("asc")
    reader.end()
    present = [record for record in result.records if record.get(name) is not None]
    absent = [record for record in result.records if record.get(name) is None]
    present.sort(key=lambda record: _order(record.get(name)), reverse=descends)
    result.records = present + absent


def _limit(result: _Result, reader: "_Reader") -> None:
    number = reader.take("number")
    reader.end()
    result.records = result.records[: int(number)]


def _dedup(result: _Result, reader: "_Reader") -> None:
    names = reader.names()
    seen: set[tuple[Value, ...]] = set()
    kept: list[Record] = []
    for record in result.records:
        key = tuple(record.get(name) for name in names)
        # A null is like no other null.
        if None in key or key not in seen:
            seen.add(key)
            kept.append(record)
    result.records = kept


def _stats(result: _Result, reader: "_Reader") -> None:
    totals = [reader.total()]
    while reader.takes(","):
        totals.append(reader.total())
    by = reader.names() if reader.takes("by") else []
    reader.end()
    groups: dict[tuple[Value, ...], list[Record]] = {}
    for record in result.records:
        groups.setdefault(tuple(record.get(name) for name in by), []).append(record)
    result.records = [
        {**dict(zip(by, key, strict=True)), **{name: total(records) for name, total in totals}}
        for key, records in groups.items()
    ]
    result.columns = [*by, *(name for name, _ in totals)]


_COMMANDS: Mapping[str, Callable[[_Result, "_Reader"], None]] = {
    "fields": _fields,
    "filter": _filter,
    "sort": _sort,
    "limit": _limit,
    "dedup": _dedup,
    "stats": _stats,
}

_TOTALS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sum": sum,
    "max": max,
    "min": min,
    "avg": lambda numbers: sum(numbers) / len(numbers),
}

_COMPARES: Mapping[str, Callable[[int], bool]] = {
    "=": lambda sign: sign == 0,
    "!=": lambda sign: sign != 0,
    "<": lambda sign: sign < 0,
    "<=": lambda sign: sign <= 0,
    ">": lambda sign: sign > 0,
    ">=": lambda sign: sign >= 0,
}


# ------------------------------------------------------------------------------------------------------- reading


type _Condition = Callable[[Record], bool]
type _Total = tuple[str, Callable[[Sequence[Record]], Value]]


class _Reader:
    """Reads one command after its name."""

    def __init__(self, tokens: Sequence[_Token], query: str) -> None:
        self._tokens = list(tokens)
        self._query = query

    def takes(self, text: str) -> bool:
        """Go on behind a word or sign, if it is the next."""
        if self._tokens and _is(self._tokens[0], text):
            del self._tokens[0]
            return True
        return False

    def take(self, *kinds: str) -> str:
        if not self._tokens or self._tokens[0].kind not in kinds:
            found = self._tokens[0].text if self._tokens else "the end"
            raise QueryError(f"{' or '.join(kinds)} was expected before {found}: {self._query}")
        return self._tokens.pop(0).text

    def need(self, text: str) -> None:
        if not self.takes(text):
            raise QueryError(f"{text} is missing: {self._query}")

    def end(self) -> None:
        if self._tokens:
            raise QueryError(f"{self._tokens[0].text} is not understood: {self._query}")

    def name(self) -> str:
        return self.take("name")

    def names(self) -> list[str]:
        names = [self.name()]
        while self.takes(","):
            names.append(self.name())
        self.end()
        return names

    def total(self) -> _Total:
        function = self.name()
        self.need("(")
        of = None if self.takes("*") else self.name()
        self.need(")")
        name = self.name() if self.takes("as") else f"{function}({of or '*'})"
        if function == "count":
            return name, lambda records: float(
                sum(of is None or record.get(of) is not None for record in records)
            )
        if function not in _TOTALS or of is None:
            raise QueryError(f"{function} is no function that is known here: {self._query}")
        total = _TOTALS[function]

        def of_numbers(records: Sequence[Record]) -> Value:
            numbers = [value for record in records if isinstance(value := record.get(of), float)]
            return total(numbers) if numbers else None

        return name, of_numbers

    def condition(self) -> _Condition:
        either = [self._all()]
        while self.takes("or"):
            either.append(self._all())
        return lambda record: any(each(record) for each in either)

    def _all(self) -> _Condition:
        each = [self._one()]
        while self.takes("and"):
            each.append(self._one())
        return lambda record: all(one(record) for one in each)

    def _one(self) -> _Condition:
        if self.takes("not"):
            refused = self._one()
            return lambda record: not refused(record)
        if self.takes("("):
            inner = self.condition()
            self.need(")")
            return inner
        name = self.name()
        if name.lower() == "ispresent":
            self.need("(")
            of = self.name()
            self.need(")")
            return lambda record: record.get(of) is not None
        if self.takes("like"):
            return self._like(name)
        if self.takes("in"):
            self.need("[")
            values = [self._literal()]
            while self.takes(","):
                values.append(self._literal())
            self.need("]")
            return lambda record: any(_compared(record.get(name), value) == 0 for value in values)
        compares = _COMPARES.get(sign := self.take("sign"))
        if compares is None:
            raise QueryError(f"{sign} is no comparison: {self._query}")
        value = self._literal()

        def compare(record: Record) -> bool:
            compared = _compared(record.get(name), value)
            return compared is not None and compares(compared)

        return compare

    def _like(self, name: str) -> _Condition:
        said = self.take("text", "pattern")
        pattern = re.compile(said[1:-1] if said.startswith("/") else re.escape(_unquoted_text(said)))
        return lambda record: pattern.search(str(record.get(name) or "")) is not None

    def _literal(self) -> str | float:
        said = self.take("text", "number")
        return _unquoted_text(said) if said[0] in "'\"" else float(said)


def _commands(query: str) -> list[list[_Token]]:
    commands: list[list[_Token]] = [[]]
    position = 0
    text = query.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise QueryError(f"{text[position:].strip()} is not understood: {query}")
        token = _Token(found.lastgroup, found[found.lastgroup])
        if token == _Token("sign", "|"):
            commands.append([])
        else:
            commands[-1].append(token)
        position = found.end()
    if not all(commands):
        raise QueryError(f"A command is empty: {query}")
    return commands


def _is(token: _Token, text: str) -> bool:
    return token.kind in {"name", "sign"} and token.text.lower() == text


def _unquoted(token: _Token) -> str:
    return _unquoted_text(token.text)


def _unquoted_text(said: str) -> str:
    return re.sub(r"\\(.)", r"\1", said[1:-1])


def _compared(value: Value, other: str | float) -> int | None:
    """Return the sign of a comparison, ``None`` where there is nothing to compare; as numbers, where both are."""
    if value is None:
        return None
    mine, others = _order(value), _order(other)
    return (mine > others) - (mine < others)


def _order(value: Value) -> tuple[bool, float, str]:
    try:
        return False, float(value or 0), ""
    except ValueError:
        return True, 0.0, str(value)
