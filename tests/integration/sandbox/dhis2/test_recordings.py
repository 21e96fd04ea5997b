"""The stand-in against what real servers said and stored: every recorded case, in order, by version."""

import re

import pytest

from sandbox.dhis2 import Version
from tests.support.dhis2_recordings import (
    LEFT_OUT,
    RECORDINGS,
    VERSIONS,
    Agreement,
    agreement_table,
    documented_table,
    recorded_cases,
    replay,
)

pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recorded answers of real servers (../shared/dhis2) are not here"
)


@pytest.fixture(scope="module")
def agreements() -> list[Agreement]:
    return [replay(version) for version in VERSIONS]


@pytest.mark.parametrize("version", VERSIONS)
def test_as_recorded(version: Version, agreements: list[Agreement]) -> None:
    agreement = agreements[VERSIONS.index(version)]
    assert agreement.agree > 250
    assert not agreement.differences, "\n".join(
        f"{name}: {line}" for name, lines in agreement.differences.items() for line in lines
    )


def test_exclusions_are_needed() -> None:
    names = {case.name for version in VERSIONS for case in recorded_cases(version)}
    assert [pattern for pattern in LEFT_OUT if not any(re.match(pattern, name) for name in names)] == []


def test_documented_count(agreements: list[Agreement]) -> None:
    assert documented_table() == agreement_table(agreements), (
        "uv run python -m tests.support.dhis2_recordings writes the table"
    )
