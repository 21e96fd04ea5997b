"""Rejected rows in the stack's bucket: what each delivery of a batch leaves, and the run's file made of it.

A delivery leaves its rows before it notes what became of the values. So no row is lost where push breaks off between
the two; the next delivery, which finds nothing noted, writes them again in the same place. What was never noted is not
taken into the file.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from io import TextIOWrapper
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.domain.rejected_row import RejectedRow
from msupply_dhis2.errors import AwsError
from msupply_dhis2.state.rejected_rows.spreadsheet import write_rows
from msupply_dhis2.text import count

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_ROWS = 200_000
"""A file has so many at most: more than anybody reads, and about 100 MB, which a function can write in a minute."""

PARTS_AT_ONCE = 10
"""So many are fetched at the same time: the connections that the client of S3 keeps."""

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
        if self.address is None:
            return f"The file of what DHIS2 refused could not be written. {_all_are_in(self.lacks)}"
        said = f"What DHIS2 refused, and what to do, is in {self.address}"
        if not self.lacks:
            return f"{said}."
        return f"{said}, which holds {self.rows:,} of them only. {_all_are_in(self.lacks)}"


def _all_are_in(lacks: Iterable[str]) -> str:
    return " ".join([*lacks, "The log of push names all."])


class RejectedRows:
    """The rows in the bucket."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def keep(self, rows: Sequence[RejectedRow], *, run_id: str, part: str, number: int) -> None:
        """Keep the rows of one delivery of a message (``part``); in the same place once more does no harm.

        ``number`` is one more than the message has left before: it is noted next, together with what became of the values.

        Raises
        ------
        AwsError
            The bucket refused.
        """
        with aws_faults(_DOING, self._client):
            self._client.put_object(
                Bucket=self._bucket,
                Key=f"{_parts(run_id)}{part}-{number}.json",
                Body=_ROWS.dump_json(tuple(rows)),
                ContentType="application/json",
            )

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
        with TemporaryFile() as held, TemporaryFile() as file:
            # Half of the time for fetching, which waits for S3, is more than writing takes.
            found = self._gather(run_id, parts, held, seconds_left, seconds_left() / 2)
            rows = 0
            if found.rows:
                held.seek(0)
                rows = _write(held, file, run_id, found.reasons, seconds_left)
            lacks = list(found.lacks(len(parts), folder))
            if rows < found.rows:
                lacks.append("There was no time to write more.")
            if not rows:
                return RejectedFile(None, 0, tuple(lacks))
            key = f"runs/{run_id}/rejected.csv"
            file.seek(0)
            try:
                with aws_faults(_DOING, self._client):
                    self._client.put_object(
                        Bucket=self._bucket, Key=key, Body=file, ContentType="text/csv; charset=utf-8"
                    )
            except AwsError as error:
                return RejectedFile(None, 0, (str(error), f"Its parts are in {folder}."))
        return RejectedFile(f"s3://{self._bucket}/{key}", rows, tuple(lacks))

    def _gather(
        self,
        run_id: str,
        parts: Sequence[str],
        to: IO[bytes],
        seconds_left: Callable[[], float],
        until_left: float,
    ) -> "_Found":
        """Fetch parts, many at once, into a file with a line for each, in their order, while there is time."""
        found = _Found()
        pool = ThreadPoolExecutor(PARTS_AT_ONCE)
        rest = iter(parts)
        under_way: deque[tuple[str, Future[bytes]]] = deque()
        try:
            while found.rows < MOST_ROWS:
                while len(under_way) < 2 * PARTS_AT_ONCE and (part := next(rest, None)) is not None:
                    under_way.append((part, pool.submit(self._body, f"{_parts(run_id)}{part}")))
                if not under_way:
                    break
                part, body = under_way.popleft()
                try:
                    content = body.result(max(0.0, seconds_left() - until_left))
                    found.add(_ROWS.validate_json(content))
                except TimeoutError:
                    break
                except AwsError as error:
                    found.lost[part] = str(error)
                except ValidationError:
                    found.lost[part] = "It is no part of this version."
                else:
                    # Within a text a line break is escaped; so those that are there part nothing.
                    to.write(content.replace(b"\n", b" ") + b"\n")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return found

    def _body(self, key: str) -> bytes:
        with aws_faults(_DOING, self._client):
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()


@dataclass(slots=True)
class _Found:
    """How many parts and rows were fetched."""

    parts: int = 0
    rows: int = 0
    reasons: int = 0
    """The most that any row has."""
    lost: dict[str, str] = field(default_factory=dict)
    """The parts that could not be had, and why."""

    def add(self, rows: Sequence[RejectedRow]) -> None:
        self.parts += 1
        self.rows += len(rows)
        self.reasons = max([self.reasons, *(len(row.why) for row in rows)])

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
            yield f"There was no time for {count(left, 'part')} of it, which are in {folder}."


def _write(
    parts: IO[bytes], to: IO[bytes], run_id: str, reasons: int, seconds_left: Callable[[], float]
) -> int:
    """Write parts, a line each, as a table, while there is time; return how many rows that are."""
    number = 0

    def rows() -> Iterator[RejectedRow]:
        nonlocal number
        for part in parts:
            if seconds_left() <= 0:
                return
            for row in _ROWS.validate_json(part):
                number += 1
                yield row

    text = TextIOWrapper(to, encoding="utf-8", newline="")
    write_rows(rows(), text, run_id=run_id, reasons=reasons)
    # It would close the file.
    text.detach()
    return number


def _parts(run_id: str) -> str:
    return f"runs/{run_id}/parts/"
