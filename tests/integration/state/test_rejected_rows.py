"""The file of rejected rows in the bucket."""

import csv
import threading
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from io import StringIO
from typing import TYPE_CHECKING

import boto3
import pytest

from msupply_dhis2.domain.outcome import Reason, RejectedRow
from msupply_dhis2.errors import AwsError
from msupply_dhis2.state import rejected_rows
from msupply_dhis2.state.rejected_rows import RejectedFile, RejectedRows
from tests.conftest import Aws
from tests.support.batches import value_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "rejected-rows"
WHY = Reason("E7612", "Org unit not assigned")


@pytest.fixture
def s3(aws: Aws) -> Iterator["S3Client"]:  # noqa: ARG001 - it makes AWS
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    boto3.resource("s3").Bucket(BUCKET).objects.all().delete()
    client.delete_bucket(Bucket=BUCKET)


def at_leisure() -> float:
    return 300


def row(item: str, *reasons: Reason) -> RejectedRow:
    return RejectedRow(value_of("de", "12", item=item), "rejected", reasons or (WHY,))


def items_of(client: "S3Client", run_id: str = "run") -> list[str]:
    body = client.get_object(Bucket=BUCKET, Key=f"runs/{run_id}/rejected.csv")["Body"].read()
    assert body.startswith(BOM_UTF8), "by which Excel knows the encoding"
    return [line["item"] for line in csv.DictReader(StringIO(body.decode("utf-8-sig")))]


def test_all_deliveries_once(s3: "S3Client") -> None:
    rows = RejectedRows(s3, BUCKET)
    rows.keep([row("first"), row("second", WHY, WHY)], run_id="run", part="run-a-1f", number=1)
    rows.keep([row("third")], run_id="run", part="run-a-1f", number=2)
    rows.keep([row("third")], run_id="run", part="run-a-1f", number=2)
    rows.keep([row("fourth")], run_id="run", part="run-b-", number=1)
    rows.keep([row("other")], run_id="run-2", part="run-2-a-1f", number=1)
    written = rows.write_file("run", {"run-a-1f": 2, "run-b-": 1}, at_leisure)
    assert written is not None
    assert written == RejectedFile(f"s3://{BUCKET}/runs/run/rejected.csv", 4)
    assert sorted(items_of(s3)) == ["first", "fourth", "second", "third"]


def test_unnoted_rows(s3: "S3Client") -> None:
    rows = RejectedRows(s3, BUCKET)
    rows.keep([row("noted")], run_id="run", part="run-a-1f", number=1)
    rows.keep([row("not noted")], run_id="run", part="run-a-1f", number=2)
    rows.keep([row("unknown")], run_id="run", part="run-c-1f", number=1)
    rows.write_file("run", {"run-a-1f": 1}, at_leisure)
    assert items_of(s3) == ["noted"]


def test_no_file(s3: "S3Client") -> None:
    assert RejectedRows(s3, BUCKET).write_file("run", {"run-a-1f": 0}, at_leisure) is None
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_replaced(s3: "S3Client") -> None:
    rows = RejectedRows(s3, BUCKET)
    rows.keep([row("first")], run_id="run", part="run-a-1f", number=1)
    rows.write_file("run", {"run-a-1f": 1}, at_leisure)
    rows.keep([row("second")], run_id="run", part="run-b-1f", number=1)
    rows.write_file("run", {"run-a-1f": 1, "run-b-1f": 1}, at_leisure)
    assert sorted(items_of(s3)) == ["first", "second"]


def test_shortened(s3: "S3Client", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected_rows, "MOST_ROWS", 2)
    rows = RejectedRows(s3, BUCKET)
    for number in range(4):
        rows.keep([row(str(number))], run_id="run", part=f"run-{number}-1f", number=1)
    written = rows.write_file("run", {f"run-{number}-1f": 1 for number in range(4)}, at_leisure)
    assert written is not None
    assert written.rows == 2
    assert "2 parts of it more are in s3://rejected-rows/runs/run/parts/" in written.sentence()
    assert "has only 2 of them" in written.sentence()


@pytest.mark.slow
def test_a_thousand_parts(s3: "S3Client") -> None:
    rows = RejectedRows(s3, BUCKET)
    parts = [f"run-{number:04}-1f" for number in range(1_003)]
    for part in parts:
        rows.keep([row(part)], run_id="run", part=part, number=1)
    written = rows.write_file("run", dict.fromkeys(parts, 1), at_leisure)
    assert written is not None
    assert written.rows == len(set(items_of(s3))) == 1_003


def test_missing_bucket(s3: "S3Client") -> None:
    with pytest.raises(AwsError, match="keeping the rows that DHIS2 refused"):
        RejectedRows(s3, "no-such-bucket").keep([row("a")], run_id="run", part="p", number=1)


def test_parallel_reads(s3: "S3Client") -> None:
    rows = RejectedRows(s3, BUCKET)
    parts = [f"run-{number}-1f" for number in range(3 * rejected_rows.PARTS_AT_ONCE)]
    for part in parts:
        rows.keep([row(part)], run_id="run", part=part, number=1)
    together = threading.Barrier(rejected_rows.PARTS_AT_ONCE)
    fetched: list[str] = []
    real: Callable[..., object] = s3.get_object

    def get_object(**asked: str) -> object:
        # Nobody goes on before so many have asked: fetched one after the other, this would never end.
        together.wait(timeout=30)
        fetched.append(asked["Key"])
        return real(**asked)

    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(s3, "get_object", get_object)
        written = rows.write_file("run", dict.fromkeys(parts, 1), at_leisure)
    assert written == RejectedFile(f"s3://{BUCKET}/runs/run/rejected.csv", len(parts))
    assert sorted(fetched) == sorted(f"runs/run/parts/{part}-1.json" for part in parts)


def test_no_time_for_parts(s3: "S3Client") -> None:
    rows = RejectedRows(s3, BUCKET)
    for number in range(4):
        rows.keep([row(str(number))], run_id="run", part=f"run-{number}-1f", number=1)
    hangs = threading.Event()
    real: Callable[..., object] = s3.get_object

    def get_object(**asked: str) -> object:
        if "run-2" in asked["Key"]:
            hangs.wait(timeout=30)
        return real(**asked)

    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(s3, "get_object", get_object)
        left = iter([100.0, 99.0, 98.0, 50.0])
        written = rows.write_file(
            "run", {f"run-{number}-1f": 1 for number in range(4)}, lambda: next(left, 40.0)
        )
        hangs.set()
    assert written is not None
    assert (written.rows, items_of(s3)) == (2, ["0", "1"])
    assert "has only 2 of them. There was no time for 2 parts of it" in written.sentence()


def test_no_time(s3: "S3Client") -> None:
    rows = RejectedRows(s3, BUCKET)
    rows.keep([row("first")], run_id="run", part="run-a-1f", number=1)
    hangs, real = threading.Event(), s3.get_object

    def get_object(**asked: str) -> object:
        hangs.wait(timeout=30)
        return real(**asked)  # type: ignore[arg-type]  # as asked

    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(s3, "get_object", get_object)
        written = rows.write_file("run", {"run-a-1f": 1}, lambda: 0.0)
        hangs.set()
    assert written is not None
    assert written.sentence() == (
        "The file of rejected values could not be written. There was no time for 1 part of it: see "
        "s3://rejected-rows/runs/run/parts/. The log of push names all."
    )


@pytest.mark.parametrize("damage", [b"", b"{}", b"[{}]", b"not JSON", b"[" * 100_000, None])
@pytest.mark.slow
def test_damaged_part(s3: "S3Client", damage: bytes | None) -> None:
    rows = RejectedRows(s3, BUCKET)
    for part in ("run-a-1f", "run-b-1f"):
        rows.keep([row(part)], run_id="run", part=part, number=1)
    key = "runs/run/parts/run-a-1f-1.json"
    if damage is None:
        s3.delete_object(Bucket=BUCKET, Key=key)
    else:
        s3.put_object(Bucket=BUCKET, Key=key, Body=damage)
    # What else lies in the folder is nobody's business.
    s3.put_object(Bucket=BUCKET, Key="runs/run/parts/notes", Body=b"by hand")
    written = rows.write_file("run", {"run-a-1f": 1, "run-b-1f": 1}, at_leisure)
    assert written is not None
    assert (written.rows, items_of(s3)) == (1, ["run-b-1f"])
    assert f"s3://{BUCKET}/{key} could not be read" in written.sentence()
