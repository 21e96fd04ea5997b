"""Reading the body of a push: gzip or not, JSON, and the rows in it."""

import gzip
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.dhis2.answers import Answer, failed_import, message, summary_answer
from sandbox.dhis2.call import Call
from sandbox.dhis2.versions import Version

_GZIP_MAGIC = b"\x1f\x8b"


class UnreadableBodyError(Exception):
    """The body is not what the server can read; ``answer`` is what it says to that."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class Literal(str):
    """A JSON number, true or false where a string should be, as its text."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One data value of a push, as it was sent; what was left out is ``None``."""

    data_element: str | None
    period: str | None
    org_unit: str | None
    category_option_combo: str | None
    attribute_option_combo: str | None
    value: str | None
    comment: str | None
    stored_by: str | None
    deleted: bool


type RowKey = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Schemes:
    """How the identifiers are to be read: ``UID``, ``CODE`` or another scheme, in capitals."""

    data_element: str
    org_unit: str
    category_option_combo: str
    attribute_option_combo: str
    data_set: str


@dataclass(frozen=True, slots=True)
class Push:
    """A push: what the body and the query of ``POST /api/dataValueSets`` ask for."""

    rows: tuple[Row, ...]
    data_set: str | None
    schemes: Schemes
    complete_date: str | None
    options: Mapping[str, str]

    @property
    def keys(self) -> frozenset[RowKey]:
        """What the rows are known by, in the words of the push."""
        return frozenset(
            (
                row.data_element,
                row.period,
                row.org_unit,
                row.category_option_combo,
                row.attribute_option_combo,
            )
            for row in self.rows
        )

    def flag(self, name: str) -> bool:
        """Whether the query has this option set to true."""
        return self.options.get(name, "").lower() == "true"

    @property
    def strategy(self) -> str:
        """The import strategy: ``CREATE_AND_UPDATE`` unless the query says otherwise."""
        return self.options.get("importStrategy", "CREATE_AND_UPDATE")


def is_gzip(content: bytes) -> bool:
    """Whether the bytes are gzip: DHIS2 looks at them, not at the header."""
    return content.startswith(_GZIP_MAGIC)


def is_push(call: Call) -> bool:
    """Whether the call brings data values."""
    return call.method == "POST" and call.path.removesuffix(".json").endswith("/dataValueSets")


def count_values(call: Call) -> int:
    """Count the data values that a call brings, as well as can be told; 0 where it is no push."""
    return _plain(call.body).count(b'"dataElement"') if is_push(call) else 0


def names_any(call: Call, identifiers: Collection[str]) -> bool:
    """Whether one of these identifiers stands in the body of a call."""
    plain = _plain(call.body)
    return any(json.dumps(identifier).encode() in plain for identifier in identifiers)


def first_half(content: bytes) -> bytes:
    """Return the body of a push with the first half of its rows only."""
    body = json.loads(_plain(content))
    rows = body["dataValues"]
    return json.dumps({**body, "dataValues": rows[: len(rows) // 2]}).encode()


def _plain(content: bytes) -> bytes:
    """Return the bytes unpacked; as they are where they are no gzip, or damaged."""
    if not is_gzip(content):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error):
        return content


def read_push(content: bytes, query: Mapping[str, str], version: Version, *, bare: bool) -> Push:
    """Read a push.

    Raises
    ------
    UnreadableBodyError
        The body is damaged gzip, no JSON, or (2.43) has a value that is not a string.
    """
    body = _read_json(_unpack(content, version, bare=bare), version, bare=bare)
    if not isinstance(body, dict):
        if not version.imports_by_group:
            raise UnreadableBodyError(
                _failure(
                    version,
                    "com.fasterxml.jackson.databind.exc.MismatchedInputException: no object",
                    bare=bare,
                )
            )
        body = {}
    rows = body.get("dataValues") or []
    return Push(
        rows=tuple(_read_row(row, body, version) for row in rows),
        data_set=body.get("dataSet"),
        schemes=_read_schemes(body, query, version),
        complete_date=body.get("completeDate"),
        options=query,
    )


def _unpack(content: bytes, version: Version, *, bare: bool) -> bytes:
    if not is_gzip(content):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error):
        text = "Unexpected end of ZLIB input stream"
        if version.imports_by_group:
            raise UnreadableBodyError(message(500, text)) from None
        raise UnreadableBodyError(_failure(version, f"java.io.EOFException: {text}", bare=bare)) from None


def _read_json(content: bytes, version: Version, *, bare: bool) -> Any:  # noqa: ANN401 - any JSON document
    text = content.decode("utf-8", errors="replace").strip()
    try:
        return json.loads(
            text, parse_int=Literal, parse_float=Literal, parse_constant=Literal, object_pairs_hook=_literals
        )
    except json.JSONDecodeError as error:
        if not version.imports_by_group:
            reason = f"com.fasterxml.jackson.core.JsonParseException: {error.msg}"
            raise UnreadableBodyError(_failure(version, reason, bare=bare)) from None
        if not text.startswith(("{", "[")):
            found = (
                f"expected start of a JSON value but found: `{text[0]}`"
                if text
                else "expected a JSON value but found EOI"
            )
            raise UnreadableBodyError(
                message(400, f"Unexpected character at position 0,\n{text}\n^ {found}")
            ) from None
        out_of_bounds = f"Index {len(text)} out of bounds for length {len(text)}"
        raise UnreadableBodyError(message(500, out_of_bounds)) from None


def _failure(version: Version, reason: str, *, bare: bool) -> Answer:
    # 2.42 looks at its own result instead of at the cause.
    if version is Version.V2_42:
        reason = "Post-condition was null"
    return summary_answer(failed_import(reason), version, bare=bare)


def _literals(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: Literal(str(value).lower()) if isinstance(value, bool) else value for key, value in pairs}


def _read_row(row: Mapping[str, Any], body: Mapping[str, Any], version: Version) -> Row:
    value = row.get("value")
    if version.imports_by_group and isinstance(value, Literal):
        kind = "BOOLEAN" if value in ("true", "false") else "NUMBER"
        text = f"Path `$.value` does not contain an STRING but a(n) {kind}: {value}"
        raise UnreadableBodyError(message(500, text))

    def identifier(name: str, above: Mapping[str, Any] = body) -> str | None:
        found = row.get(name) or above.get(name, row.get(name))
        # Up to 2.42 blanks around an identifier do no harm.
        return found if version.imports_by_group or not isinstance(found, str) else found.strip() or None

    return Row(
        data_element=identifier("dataElement", {}),
        period=identifier("period"),
        org_unit=identifier("orgUnit"),
        category_option_combo=identifier("categoryOptionCombo", {}),
        attribute_option_combo=identifier("attributeOptionCombo"),
        value=None if value is None else str(value),
        comment=row.get("comment"),
        stored_by=row.get("storedBy"),
        deleted=row.get("deleted") == "true",
    )


def _read_schemes(body: Mapping[str, Any], query: Mapping[str, str], version: Version) -> Schemes:
    """Find the schemes: the body's before the query's, an object's own before ``idScheme``."""
    general = body.get("idScheme"), query.get("idScheme")

    def scheme(name: str) -> str:
        found = body.get(name) or general[0] or query.get(name) or general[1] or "UID"
        return str(found).upper()

    category_option_combo = scheme("categoryOptionComboIdScheme")
    # Up to 2.42 there is one scheme for both; from 2.43 the attribute's is read from the body alone.
    attribute_option_combo = (
        str(body.get("attributeOptionComboIdScheme") or "UID").upper()
        if version.imports_by_group
        else category_option_combo
    )
    return Schemes(
        data_element=scheme("dataElementIdScheme"),
        org_unit=scheme("orgUnitIdScheme"),
        category_option_combo=category_option_combo,
        attribute_option_combo=attribute_option_combo,
        data_set=scheme("dataSetIdScheme"),
    )
