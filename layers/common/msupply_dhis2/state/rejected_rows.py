"""The rows that are not in DHIS2, in the stack's bucket: what each delivery of a batch leaves, and a run's file made of it.

A delivery leaves its rows before it notes what became of the values: where push breaks off between the two, the next delivery
writes them again in the same place. What was never noted is not taken into the file.

The file is CSV (RFC 4180) that a spreadsheet opens as it is, and takes no cell for a formula.
"""

import csv
import re
from codecs import iterdecode
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import batched
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from pydantic import ValidationError

from msupply_dhis2.aws.dynamodb import reader_of
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
    "code",
    "reason",
    "what to do",
    "kind",
    "document",
)
_JOINERS = "\u200c\u200d"
"""Between the letters of many scripts; nobody sees them before a formula."""

_FORMULA = re.compile(f"[ {_JOINERS}]*[=+\\-@|%＝＋－＠]")  # noqa: RUF001 - Excel takes the wide ones for the narrow
"""How a cell must not begin (OWASP, CSV injection)."""

_FORMULA_AFTER_A_SEMICOLON = re.compile(f";(?={_FORMULA.pattern})")
"""Where a comma is part of a number a spreadsheet parts cells by semicolons."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
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


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """The rows in the bucket."""

    client: "S3Client"
    bucket: str

    def keep(self, rows: Sequence[RejectedRow], *, run_id: str, part: str, number: int) -> None:
        """Keep the rows of one delivery of a message (``part``); in the same place once more does no harm.

        ``number`` is one more than the message has left before: it is noted next, together with what became of the values.
        """
        with aws_faults(_DOING, self.client):
            self.client.put_object(
                Bucket=self.bucket,
                Key=f"{_parts(run_id)}{part}-{number}.json",
                Body=reader_of(tuple[RejectedRow, ...]).dump_json(tuple(rows)),
                ContentType="application/json",
            )

    def read_file(self, run_id: str) -> Iterator[dict[str, str]]:
        """Yield the rows of a run's file, by the names of its columns; an AwsError tells that it cannot be had."""
        with aws_faults("reading the rows that DHIS2 refused", self.client):
            body = self.client.get_object(Bucket=self.bucket, Key=_file(run_id))["Body"]
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
        key, folder = _file(run_id), f"s3://{self.bucket}/{_parts(run_id)}"
        lost: dict[str, str] = {}
        read = written = 0
        # Excel knows the encoding by its mark.
        with TemporaryFile() as file:
            text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
            writer = csv.writer(text)
            writer.writerow(COLUMNS)
            for part, rows in self._fetch(_parts(run_id), parts, seconds_left):
                if isinstance(rows, str):
                    lost[part] = rows
                    continue
                writer.writerows(cells_of(row, run_id) for row in rows)
                read += 1
                written += len(rows)
                if written >= MOST_ROWS:
                    break
            # It would close the file.
            text.detach()
            lacks = list(_lacks(lost, len(parts) - read - len(lost), written, folder))
            if not written:
                return RejectedFile(None, 0, tuple(lacks))
            file.seek(0)
            try:
                with aws_faults(_DOING, self.client):
                    self.client.put_object(
                        Bucket=self.bucket, Key=key, Body=file, ContentType="text/csv; charset=utf-8"
                    )
            except AwsError as error:
                return RejectedFile(None, 0, (str(error), f"Its parts are in {folder}."))
        return RejectedFile(f"s3://{self.bucket}/{key}", written, tuple(lacks))

    def _fetch(
        self, prefix: str, parts: Sequence[str], seconds_left: Callable[[], float]
    ) -> Iterator[tuple[str, tuple[RejectedRow, ...] | str]]:
        """Yield parts, fetched many at once, and the rows of each or why it cannot be had, while there is time."""
        # The rest is for the upload.
        until_left = seconds_left() / 2

        def fetch(part: str) -> tuple[RejectedRow, ...] | str:
            try:
                with aws_faults(_DOING, self.client):
                    body = self.client.get_object(Bucket=self.bucket, Key=f"{prefix}{part}")["Body"].read()
                return reader_of(tuple[RejectedRow, ...]).validate_json(body)
            except AwsError as error:
                return str(error)
            except ValidationError:
                return "It is no part of this version."

        pool = ThreadPoolExecutor(PARTS_AT_ONCE)
        try:
            for some in batched(parts, 4 * PARTS_AT_ONCE, strict=False):
                for part, rows in [(part, pool.submit(fetch, part)) for part in some]:
                    yield part, rows.result(max(0.0, seconds_left() - until_left))
        except TimeoutError:
            return
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _lacks(lost: Mapping[str, str], left: int, rows: int, folder: str) -> Iterator[str]:
    """Yield which parts a file lacks: those that were ``lost``, and why, and those that are ``left``."""
    if lost:
        first, why = next(iter(lost.items()))
        more = f", and {count(len(lost) - 1, 'other part')}" if len(lost) > 1 else ""
        yield f"{folder}{first} could not be read{more}: {why}"
    if left and rows >= MOST_ROWS:
        yield f"No file has many more than {MOST_ROWS:,} rows; {count(left, 'part')} of it more are in {folder}."
    elif left:
        yield f"There was no time for {count(left, 'part')} of it: see {folder}."


def _file(run_id: str) -> str:
    return f"runs/{run_id}/rejected.csv"


def _parts(run_id: str) -> str:
    return f"runs/{run_id}/parts/"


def cells_of(row: RejectedRow, run_id: str) -> list[str]:
    """Return the cells of a row, as ``COLUMNS`` names them; of several reasons each cell names all."""
    value = row.value
    element, period, org_unit, *combos = value.key
    why = [(each.code, each.text, explain(each.code, each.text).cure) for each in row.reasons]
    cells = [run_id, row.outcome, value.store, value.item, value.metric.label, element, org_unit, period]
    cells += [*(combo or "" for combo in combos), value.value]
    cells += ["; ".join(texts) for texts in zip(*why, strict=True)] or ["", "", ""]
    cells += (value.origin.kind, value.origin.document)
    return [safe(cell) for cell in cells]


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
