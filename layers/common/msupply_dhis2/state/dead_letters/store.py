"""Dead letters in the stack's bucket, which keeps them longer than the 14 days that a queue can."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msupply_dhis2.aws.errors import aws_faults
from msupply_dhis2.errors import AwsError
from msupply_dhis2.state.dead_letters.letter import FOLDER, DeadLetter

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class NoDeadLetterError(AwsError):
    """A file in the folder of dead letters is something else."""


class DeadLetterStore:
    """The folder ``dead-letters/`` of a bucket. Every method raises a ``AwsError`` where the bucket refuses."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def keep(self, letter: DeadLetter) -> None:
        """Keep a dead letter, in place of what was said of it before."""
        with aws_faults("keeping a dead letter", self._client):
            self._client.put_object(
                Bucket=self._bucket,
                Key=letter.key,
                Body=letter.model_dump_json().encode(),
                ContentType="application/json",
            )

    def keys(self, run: str | None = None) -> Iterator[str]:
        """Yield the places of all dead letters, or of a run's."""
        more: dict[str, Any] = {}
        while True:
            with aws_faults("listing the dead letters", self._client):
                answer = self._client.list_objects_v2(
                    Bucket=self._bucket, Prefix=FOLDER if run is None else f"{FOLDER}{run}/", **more
                )
            for found in answer.get("Contents", ()):
                yield found["Key"]
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def read(self, key: str) -> DeadLetter | None:
        """Read a dead letter; ``None`` where it is gone.

        Raises
        ------
        NoDeadLetterError
            The file is something else.
        """
        with aws_faults("reading a dead letter", self._client):
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            except self._client.exceptions.NoSuchKey:
                return None
        try:
            return DeadLetter.model_validate_json(body)
        except ValueError as error:
            raise NoDeadLetterError(
                f"The file {key} in the bucket {self._bucket} is no dead letter of this version. Move it elsewhere."
            ) from error

    def forget(self, key: str) -> None:
        """Forget a dead letter, once its message is on the queue again; one that is gone is forgotten."""
        with aws_faults("forgetting a dead letter", self._client):
            self._client.delete_object(Bucket=self._bucket, Key=key)
