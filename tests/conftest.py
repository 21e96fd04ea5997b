"""What several tests share: AWS on 127.0.0.1, and settings for each setup of the DHIS2 tab."""

from collections.abc import Iterator

import pytest

from msupply_dhis2.state import dead_letters
from sandbox.aws_on_moto import BUCKET, Aws, moto_server, stack_on_moto

__all__ = ["BUCKET", "Aws"]


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """AWS as a deployment leaves it: secrets without a value, no settings yet."""
    # Moto knows at once what a queue holds; SQS has to be waited for.
    monkeypatch.setattr(dead_letters, "_WAIT_SECONDS", 0)
    with stack_on_moto(moto_url, monkeypatch.setenv) as it:
        yield it
