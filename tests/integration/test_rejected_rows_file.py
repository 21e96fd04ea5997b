"""The file of rejected rows in the bucket."""

import csv
from collections.abc import Iterator
from io import StringIO
from typing import TYPE_CHECKING

import boto3
import pytest

from msupply_dhis2.errors import ConfigurationError
from msupply_dhis2.rejected_rows import file
from msupply_dhis2.rejected_rows.file import RejectedRows
from msupply_dhis2.rejected_rows.rows import RejectedRow, Why
from tests.conftest import Aws

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "rejected-rows"
WHY = Why(code="E7612", reason="Org unit not assigned", what_to_do="Assign it.")


@pytest.fixture
def s3(aws: Aws) -> Iterator["S3Client"]:  # noqa: ARG001 - it makes AWS
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    boto3.resource("s3").Bucket(BUCKET).objects.all().delete()
    client.delete_bucket(Bucket=BUCKET)


def row(item: str, *why: Why) -> RejectedRow:
    return RejectedRow(
        fate="rejected",
        store="Kamo",
        item=item,
        metric="Stock on hand",
        data_element="de",
        org_unit="KAMO",
        period="202601",
        category_option_combo=None,
        attribute_option_combo=None,
        value="12",
        why=why or (WHY,),
    )


def items_of(client: "S3Client", run_id: str = "run") -> list[str]:
    body = client.get_object(Bucket=BUCKET, Key=f"runs/{run_id}/rejected.csv")["Body"].read()
    return [line["item"] for line in csv.DictReader(StringIO(body.decode("utf-8-sig")))]


def test_the_file_holds_the_rows_of_all_deliveries_of_the_run_once(s3: "S3Client") -> None:
    rows = RejectedRows(s3, BUCKET)
    rows.keep([row("first"), row("second", WHY, WHY)], run_id="run", part="run-a-1f", number=1)
    rows.keep([row("third")], run_id="run", part="run-a-1f", number=2)
    rows.keep([row("third")], run_id="run", part="run-a-1f", number=2)
    rows.keep([row("fourth")], run_id="run", part="run-b-", number=1)
    rows.keep([row("other")], run_id="run-2", part="run-2-a-1f", number=1)
    written = rows.write_file("run", {"run-a-1f": 2, "run-b-": 1})
    assert written is not None
    assert (written.address, written.rows, written.is_cut) == (
        f"s3://{BUCKET}/runs/run/rejected.csv",
        4,
        False,
    )
    assert sorted(items_of(s3)) == ["first", "fourth", "second", "third"]


def test_what_was_left_by_a_push_that_broke_off_before_it_noted_anything_is_not_in_it(s3: "S3Client") -> None:
    rows = RejectedRows(s3, BUCKET)
    rows.keep([row("noted")], run_id="run", part="run-a-1f", number=1)
    rows.keep([row("not noted")], run_id="run", part="run-a-1f", number=2)
    rows.keep([row("unknown")], run_id="run", part="run-c-1f", number=1)
    rows.write_file("run", {"run-a-1f": 1})
    assert items_of(s3) == ["noted"]


def test_where_nothing_was_refused_there_is_no_file(s3: "S3Client") -> None:
    assert RejectedRows(s3, BUCKET).write_file("run", {}) is None
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_a_file_made_again_takes_the_place_of_the_one_before(s3: "S3Client") -> None:
    rows = RejectedRows(s3, BUCKET)
    rows.keep([row("first")], run_id="run", part="run-a-1f", number=1)
    rows.write_file("run", {"run-a-1f": 1})
    rows.keep([row("second")], run_id="run", part="run-b-1f", number=1)
    rows.write_file("run", {"run-a-1f": 1, "run-b-1f": 1})
    assert sorted(items_of(s3)) == ["first", "second"]


def test_a_file_that_would_be_too_long_is_cut_and_says_so(
    s3: "S3Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "MOST_ROWS", 2)
    rows = RejectedRows(s3, BUCKET)
    for number in range(4):
        rows.keep([row(str(number))], run_id="run", part=f"run-{number}-1f", number=1)
    written = rows.write_file("run", {f"run-{number}-1f": 1 for number in range(4)})
    assert written is not None
    assert (written.rows, written.is_cut) == (2, True)


def test_more_parts_than_one_listing_names_are_all_taken(s3: "S3Client") -> None:
    rows = RejectedRows(s3, BUCKET)
    parts = [f"run-{number:04}-1f" for number in range(1_003)]
    for part in parts:
        rows.keep([row(part)], run_id="run", part=part, number=1)
    written = rows.write_file("run", dict.fromkeys(parts, 1))
    assert written is not None
    assert written.rows == len(set(items_of(s3))) == 1_003


def test_a_bucket_that_is_not_there_is_told_in_words(s3: "S3Client") -> None:
    with pytest.raises(ConfigurationError, match="keeping the rows that DHIS2 refused"):
        RejectedRows(s3, "no-such-bucket").keep([row("a")], run_id="run", part="p", number=1)
