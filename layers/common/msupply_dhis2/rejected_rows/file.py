"""Rejected rows in the stack's bucket: what each delivery of a batch leaves, and the run's file made of it.

A delivery leaves its rows before it notes what became of the values. So no row is lost where push breaks off between
the two; the next delivery, which finds nothing noted, writes them again in the same place. What was never noted is not
taken into the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from msupply_dhis2.configuration import aws_faults
from msupply_dhis2.rejected_rows.rows import RejectedRow
from msupply_dhis2.rejected_rows.spreadsheet import write_rows

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_ROWS = 200_000
"""A file has so many at most: more than anybody reads, and about 100 MB, which a function can write in a minute."""

_ROWS: TypeAdapter[tuple[RejectedRow, ...]] = TypeAdapter(tuple[RejectedRow, ...])
_DOING = "keeping the rows that DHIS2 refused"


@dataclass(frozen=True, slots=True)
class RejectedFile:
    """A run's file.

    Attributes
    ----------
    address
        ``s3://…``.
    rows
        How many it holds.
    is_cut
        Whether there are more, which the log of push names.
    """

    address: str
    rows: int
    is_cut: bool


class RejectedRows:
    """The rows in the bucket.

    Parameters
    ----------
    client
        Of S3.
    bucket
        Its name.
    """

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def keep(self, rows: Sequence[RejectedRow], *, run_id: str, part: str, number: int) -> None:
        """Keep the rows of one delivery; in the same place once more does no harm.

        Parameters
        ----------
        part
            The batch and its sending.
        number
            One more than the batch has left before: it is noted next, together with what became of the values.

        Raises
        ------
        ConfigurationError
            The bucket refused.
        """
        with aws_faults(_DOING, self._client):
            self._client.put_object(
                Bucket=self._bucket,
                Key=f"{_parts(run_id)}{part}-{number}.json",
                Body=_ROWS.dump_json(tuple(rows)),
                ContentType="application/json",
            )

    def write_file(self, run_id: str, noted: Mapping[str, int]) -> RejectedFile | None:
        """Make the file of a run out of what its deliveries left; ``None`` where there is nothing.

        Made again, it takes the place of the one before.

        Parameters
        ----------
        noted
            How many of its files are noted of each batch with its sending: of what was left after them nothing is noted
            yet, or never was.

        Raises
        ------
        ConfigurationError
            The bucket refused.
        """
        keys = [key for key in self._keys(run_id) if _is_noted(key, noted)]
        number, reasons, chosen = 0, 0, list[str]()
        for key in keys:
            rows = self._rows(key)
            number += len(rows)
            reasons = max([reasons, *(len(row.why) for row in rows)])
            chosen.append(key)
            if number >= MOST_ROWS:
                break
        if not number:
            return None
        key = f"runs/{run_id}/rejected.csv"
        with TemporaryFile() as held, TextIOWrapper(held, encoding="utf-8", newline="") as text:
            write_rows(
                (row for part in chosen for row in self._rows(part)), text, run_id=run_id, reasons=reasons
            )
            text.flush()
            held.seek(0)
            with aws_faults(_DOING, self._client):
                self._client.put_object(
                    Bucket=self._bucket, Key=key, Body=held, ContentType="text/csv; charset=utf-8"
                )
        return RejectedFile(f"s3://{self._bucket}/{key}", number, is_cut=len(chosen) < len(keys))

    def _keys(self, run_id: str) -> Iterator[str]:
        more: dict[str, Any] = {}
        while True:
            with aws_faults(_DOING, self._client):
                answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=_parts(run_id), **more)
            for found in answer.get("Contents", ()):
                yield found["Key"]
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def _rows(self, key: str) -> tuple[RejectedRow, ...]:
        with aws_faults(_DOING, self._client):
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return _ROWS.validate_json(body)


def _parts(run_id: str) -> str:
    return f"runs/{run_id}/parts/"


def _is_noted(key: str, noted: Mapping[str, int]) -> bool:
    part, _, number = key.rpartition("/")[2].removesuffix(".json").rpartition("-")
    return int(number) <= noted.get(part, 0)
