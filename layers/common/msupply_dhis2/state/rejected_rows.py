"""The rows that are not in DHIS2, in the stack's bucket: what each delivery of a batch leaves, and a run's file made of it.

A delivery leaves its rows before it notes what became of the values. So no row is lost where push breaks off between
the two; the next delivery, which finds nothing noted, writes them again in the same place. What was never noted is not
taken into the file.

The file is CSV that a spreadsheet opens as it is, and takes no cell for a formula: UTF-8 with a byte order mark, by which
Excel knows it; RFC 4180 otherwise.
"""

import csv
import re
from codecs import iterdecode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import batched, takewhile
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, TextIO

from pydantic import TypeAdapter, ValidationError

from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.dhis2.error_catalogue import explain
from msupply_dhis2.domain.outcome import RejectedRow
from msupply_dhis2.errors import AwsError
from msupply_dhis2.text import count

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_ROWS = 200_000
"""A file has so many at most: more than anybody reads, and about 100 MB, which a function can write in a minute."""

PARTS_AT_ONCE = 10
"""So many are fetched at the same time: the connections that the client of S3 keeps."""

COLUMNS = (
    "run",
    "outcome",
    "store",
    "item",
    "metric",
    "data element",
    "org unit",
    "period",
    "category option combo",
    "attribute option combo",
    "value",
)
_OF_A_REASON = ("code", "reason", "what to do")
_LAST_COLUMNS = ("kind", "document")
"""At the end, so that all others are where they were before there were customers."""
_BYTE_ORDER_MARK = "\ufeff"
_BEGINS_A_FORMULA = r"[=+\-@|%＝＋－＠]"  # noqa: RUF001 - Excel takes the wide ones for the narrow
"""What a cell must not begin with (OWASP, CSV injection)."""

_JOINERS = "\u200c\u200d"
"""Between the letters of many scripts; nobody sees them before a formula."""

_FORMULA = re.compile(f"[ {_JOINERS}]*{_BEGINS_A_FORMULA}")
_FORMULA_AFTER_A_SEMICOLON = re.compile(f";(?={_FORMULA.pattern})")
"""Where a comma is part of a number a spreadsheet parts cells by semicolons."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_ROWS: TypeAdapter[tuple[RejectedRow, ...]] = TypeAdapter(tuple[RejectedRow, ...])
_DOING = "keeping the rows that DHIS2 refused"


@dataclass(frozen=True, slots=True)
class RejectedFile:
    """A run's file: where it is, ``None`` where it could not be written; how many rows it holds, and what it lacks and why."""

    address: str | None
    rows: int
    lacks: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Return what there is to say about it."""
        all_are_in = " ".join([*self.lacks, "The log of push names all."])
        if self.address is None:
            return f"The file of rejected values could not be written. {all_are_in}"
        said = f"What DHIS2 refused, and what to do, is in {self.address}"
        return f"{said}, which has only {self.rows:,} of them. {all_are_in}" if self.lacks else f"{said}."


class RejectedRows:
    """The rows in the bucket."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def keep(self, rows: Sequence[RejectedRow], *, run_id: str, part: str, number: int) -> None:
        """Keep the rows of one delivery of a message (``part``); in the same place once more does no harm.

        ``number`` is one more than the message has left before: it is noted next, together with what became of the values.
        An AwsError tells that the bucket refused.
        """
        with aws_faults(_DOING, self._client):
            self._client.put_object(
                Bucket=self._bucket,
                Key=f"{_parts(run_id)}{part}-{number}.json",
                Body=_ROWS.dump_json(tuple(rows)),
                ContentType="application/json",
            )

    def read_file(self, run_id: str) -> Iterator[dict[str, str]]:
        """Yield the rows of a run's file, by the names of its columns; an AwsError tells that it cannot be had."""
        with aws_faults("reading the rows that DHIS2 refused", self._client):
            body = self._client.get_object(Bucket=self._bucket, Key=_file(run_id))["Body"]
            # No line break is within a cell.
            yield from csv.DictReader(iterdecode(body.iter_lines(keepends=True), "utf-8-sig"))

    def write_file(
        self, run_id: str, noted: Mapping[str, int], seconds_left: Callable[[], float]
    ) -> RejectedFile | None:
        """Make the file of a run out of what its deliveries left; ``None`` where there is nothing.

        Made again, it takes the place of the one before. What cannot be had, or not in time, it lacks, and says so.
        ``noted`` is how many parts are noted of each message: of what was left after them nothing is noted yet, or never was.
        """
        parts = [f"{part}-{number}.json" for part in sorted(noted) for number in range(1, noted[part] + 1)]
        if not parts:
            return None
        folder = f"s3://{self._bucket}/{_parts(run_id)}"
        key = _file(run_id)
        with TemporaryFile() as held, TemporaryFile() as file:
            found = self._fetch(_parts(run_id), parts, held, seconds_left)
            held.seek(0)
            rows = _write(held, file, run_id, found.reasons, seconds_left)
            lacks = list(found.lacks(len(parts), folder))
            if rows < found.rows:
                lacks.append("There was no time to write more.")
            if not rows:
                return RejectedFile(None, 0, tuple(lacks))
            file.seek(0)
            try:
                with aws_faults(_DOING, self._client):
                    self._client.put_object(
                        Bucket=self._bucket, Key=key, Body=file, ContentType="text/csv; charset=utf-8"
                    )
            except AwsError as error:
                return RejectedFile(None, 0, (str(error), f"Its parts are in {folder}."))
        return RejectedFile(f"s3://{self._bucket}/{key}", rows, tuple(lacks))

    def _fetch(
        self, prefix: str, parts: Sequence[str], to: IO[bytes], seconds_left: Callable[[], float]
    ) -> "_Found":
        """Fetch parts, many at once, into a file with a line for each, in their order, while there is time."""
        found = _Found()
        # Half of the time for fetching, which waits for S3, is more than writing takes.
        until_left = seconds_left() / 2

        def fetch(part: str) -> bytes | AwsError:
            try:
                with aws_faults(_DOING, self._client):
                    return self._client.get_object(Bucket=self._bucket, Key=f"{prefix}{part}")["Body"].read()
            except AwsError as error:
                return error

        pool = ThreadPoolExecutor(PARTS_AT_ONCE)
        try:
            for some in batched(parts, 4 * PARTS_AT_ONCE, strict=False):
                fetched = [pool.submit(fetch, part) for part in some]
                for part, content in zip(some, fetched, strict=True):
                    found.add(part, content.result(max(0.0, seconds_left() - until_left)), to)
                    if found.rows >= MOST_ROWS:
                        return found
        except TimeoutError:
            pass
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return found


@dataclass(slots=True)
class _Found:
    """How many parts and rows were fetched."""

    parts: int = 0
    rows: int = 0
    reasons: int = 0
    """The most that any row has."""
    lost: dict[str, str] = field(default_factory=dict)
    """The parts that could not be had, and why."""

    def add(self, part: str, content: bytes | AwsError, to: IO[bytes]) -> None:
        if isinstance(content, AwsError):
            self.lost[part] = str(content)
            return
        try:
            rows = _ROWS.validate_json(content)
        except ValidationError:
            self.lost[part] = "It is no part of this version."
            return
        self.parts += 1
        self.rows += len(rows)
        self.reasons = max([self.reasons, *(len(row.reasons) for row in rows)])
        # Within a text a line break is escaped; so those that are there part nothing.
        to.write(content.replace(b"\n", b" ") + b"\n")

    def lacks(self, parts: int, folder: str) -> Iterator[str]:
        """Yield which of so many parts are not there."""
        if self.lost:
            first, why = next(iter(self.lost.items()))
            more = f", and {count(len(self.lost) - 1, 'other part')}" if len(self.lost) > 1 else ""
            yield f"{folder}{first} could not be read{more}: {why}"
        left = parts - self.parts - len(self.lost)
        if left and self.rows >= MOST_ROWS:
            yield f"No file has many more than {MOST_ROWS:,} rows; {count(left, 'part')} of it more are in {folder}."
        elif left:
            yield f"There was no time for {count(left, 'part')} of it: see {folder}."


def _file(run_id: str) -> str:
    return f"runs/{run_id}/rejected.csv"


def _parts(run_id: str) -> str:
    return f"runs/{run_id}/parts/"


def _write(
    parts: IO[bytes], to: IO[bytes], run_id: str, reasons: int, seconds_left: Callable[[], float]
) -> int:
    """Write parts, a line each, as a table, while there is time; return how many rows that are."""
    in_time = takewhile(lambda _: seconds_left() > 0, parts)
    text = TextIOWrapper(to, encoding="utf-8", newline="")
    rows = (row for part in in_time for row in _ROWS.validate_json(part))
    number = write_rows(rows, text, run_id=run_id, reasons=reasons)
    # It would close the file.
    text.detach()
    return number


def write_rows(rows: Iterable[RejectedRow], to: TextIO, *, run_id: str, reasons: int) -> int:
    """Write rows to a file opened with ``newline=""``, and return how many; any has so many reasons at most, three columns each."""
    writer = csv.writer(to)
    to.write(_BYTE_ORDER_MARK)
    numbers = ["", *(f" {number}" for number in range(2, reasons + 1))][:reasons]
    of_reasons = [f"{name}{number}" for number in numbers for name in _OF_A_REASON]
    writer.writerow([*COLUMNS, *of_reasons, *_LAST_COLUMNS])
    written = 0
    for written, row in enumerate(rows, 1):  # noqa: B007 - it is returned
        value = row.value
        element, period, org_unit, *combos = value.key
        cells = [run_id, row.outcome, value.store, value.item, value.metric.label, element, org_unit, period]
        cells += [*(combo or "" for combo in combos), value.value]
        for why in row.reasons:
            cells += (why.code, why.text, explain(why.code, why.text).cure)
        cells += [""] * (len(_OF_A_REASON) * (reasons - len(row.reasons)))
        cells += (value.kind, value.document)
        writer.writerow([safe(cell) for cell in cells])
    return written


def safe(cell: str) -> str:
    """Return a text that a spreadsheet shows as it is; numbers stay numbers.

    An apostrophe before it makes it text. Line breaks and other control characters, which may begin another cell where
    the file is taken apart carelessly, become blanks.
    """
    if _NUMBER.fullmatch(cell):
        return cell
    text = "".join(
        character if character.isprintable() or character in _JOINERS else " " for character in cell
    )
    text = _FORMULA_AFTER_A_SEMICOLON.sub(";'", text)
    return f"'{text}" if _FORMULA.match(text) else text
