"""Files for people and their programs in the stack's bucket, which keeps them for seven days."""

import gzip
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from msupply_dhis2.aws.errors import aws_faults

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX = "exports/"


class ExportFile(AbstractContextManager["ExportFile"]):
    """JSON lines, compressed by gzip. They wait on the function's disk, so that they never fill its memory."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._file = TemporaryFile()  # noqa: SIM115 - closed with this
        self._gzip = gzip.GzipFile(fileobj=self._file, mode="wb", mtime=0)

    def __exit__(self, *_raised: object) -> None:
        self._gzip.close()
        self._file.close()

    def write(self, line: Mapping[str, object]) -> None:
        """Add a line."""
        self._gzip.write(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n")

    def address(self, name: str) -> str:
        """Return the address, ``s3://…``, of a file of this name in the bucket."""
        return f"s3://{self._bucket}/{PREFIX}{name}"

    def upload(self, name: str) -> str:
        """Put the file into the bucket, in the place of one that has its name, and return its address."""
        self._gzip.close()
        self._file.seek(0)
        address = self.address(name)
        with aws_faults(f"writing the file {address}", self._client):
            self._client.put_object(
                Bucket=self._bucket, Key=f"{PREFIX}{name}", Body=self._file, ContentType="application/gzip"
            )
        return address
