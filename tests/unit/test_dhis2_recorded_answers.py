"""What real servers said of each push, against what they then had in their databases."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path

import pytest

from msupply_dhis2.dhis2.answer import PushOutcome, read_answer
from msupply_dhis2.dhis2.client import Answer
from msupply_dhis2.dhis2.error_catalogue import EXPLANATIONS
from msupply_dhis2.errors import Dhis2TransientError

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "dhis2"
VERSIONS = ("2.40.12", "2.41.9.1", "2.42.5.2", "2.43.1")

pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recordings of real DHIS2 servers are not beside the repository"
)

NEVER_SENT = {
    "push_dry_run": "a dry run stores nothing and counts what it would store",
    "push_dry_run_bad_row": "the same",
    "push_row_deleted_flag": "a row that asks for its own deletion counts as updated from 2.43",
    "push_duplicate_rows_same": "the same key twice: both rows are in the database, one of them is counted",
    "push_missing_dataelement": "a row without a data element has no key to look for",
    "push_missing_orgunit": "a row without an org unit has none either",
    "push_missing_period": "nor one without a period",
    "push_period_orgunit_at_top": "period and org unit stand at the top, not in the rows",
    "push_complete_date": "the same",
}
"""Pushes that this integration never makes, and why what is stored cannot be compared with what is said."""

TRUTH = {
    "1": "true",
    "t": "true",
    "yes": "true",
    "true": "true",
    "0": "false",
    "f": "false",
    "false": "false",
}


@dataclass(frozen=True)
class Case:
    """A recorded push, and the live rows of the server's database before and after it."""

    name: str
    version: str
    rows: tuple[dict[str, str], ...]
    answer: Answer
    before: Counter[str]
    after: Counter[str]

    @property
    def id(self) -> str:
        return f"{self.version}-{self.name}"


def recorded_pushes() -> Iterator[Case]:
    if not RECORDINGS.is_dir():
        return
    for version in VERSIONS:
        database: Counter[str] = Counter()
        for line in (RECORDINGS / f"{version}.jsonl").read_text().splitlines():
            case = json.loads(line)
            if not case.get("stored"):
                continue
            before = database.copy()
            database.update(case["stored"]["added"])
            database.subtract(case["stored"]["removed"])
            body = case["request"]["body"]
            response = case["response"]
            if isinstance(body, dict) and response["status"] in {200, 409}:
                answer = Answer(response["status"], {}, response["body"])
                rows = tuple(body.get("dataValues") or ())
                yield Case(case["case"], version, rows, answer, +before, +database)


CASES = [case for case in recorded_pushes() if case.rows and "async" not in case.name]
every_push = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
every_push_of_ours = pytest.mark.parametrize(
    "case", [case for case in CASES if case.name not in NEVER_SENT], ids=lambda case: case.id
)


@cache
def codes_by_uid() -> dict[str, str]:
    metadata = json.loads((RECORDINGS / "metadata.json").read_text())
    return {
        thing["id"]: thing["code"]
        for kind in ("dataElements", "organisationUnits")
        for thing in metadata[kind]
    }


def first_day(period: str) -> date | None:
    """The first day of a monthly, daily or weekly period; ``None`` for what is no period."""
    try:
        if week := re.fullmatch(r"(\d{4})W(\d{1,2})", period):
            return date.fromisocalendar(int(week[1]), int(week[2]), 1)
        digits = period.replace("-", "")
        return date.fromisoformat(digits if len(digits) > 6 else f"{digits}01")
    except ValueError:
        return None


def normal(value: str) -> str | Decimal:
    """A value such that those that DHIS2 stores alike are equal."""
    if value.lower() in TRUTH and not value.isdigit():
        return TRUTH[value.lower()]
    try:
        return Decimal(value)
    except InvalidOperation:
        return value


def is_in(rows: Counter[str], row: dict[str, str]) -> bool:
    """Whether a value that was sent is a live row of the database."""
    code = codes_by_uid()
    data_element = code.get(row["dataElement"], row["dataElement"])
    org_unit = code.get(row["orgUnit"], row["orgUnit"])
    day = first_day(row["period"])
    sent = {normal(str(row["value"])), TRUTH.get(str(row["value"]).lower())}
    for stored in rows:
        stored_element, stored_unit, start, _, _, value, deleted, *_ = stored.split("|")
        same_key = (stored_element, stored_unit, start) == (data_element, org_unit, str(day))
        if same_key and deleted == "f" and (value in sent or normal(value) in sent):
            return True
    return False


def outcome_of(case: Case) -> PushOutcome | None:
    try:
        return read_answer(case.answer, len(case.rows))
    except Dhis2TransientError:
        return None


@every_push
def test_the_counts_of_a_recorded_push_add_up(case: Case) -> None:
    outcome = outcome_of(case)
    if outcome is not None:
        assert outcome.stored + outcome.unchanged + len(outcome.rejected) + outcome.unaccounted == len(
            case.rows
        )


@every_push_of_ours
def test_as_many_values_are_in_the_database_as_are_said_to_be(case: Case) -> None:
    outcome = outcome_of(case)
    if outcome is None:
        assert case.before == case.after
        return
    rejected = {rejection.index for rejection in outcome.rejected}
    accepted = [row for index, row in enumerate(case.rows) if index not in rejected]
    assert sum(is_in(case.after, row) for row in accepted) == outcome.stored + outcome.unchanged


@every_push_of_ours
def test_no_rejected_value_has_come_into_the_database(case: Case) -> None:
    outcome = outcome_of(case)
    new = case.after - case.before
    for rejection in outcome.rejected if outcome else ():
        assert not is_in(new, case.rows[rejection.index])


@every_push_of_ours
def test_up_to_2_42_what_is_stored_is_what_was_written(case: Case) -> None:
    outcome = outcome_of(case)
    written = [row for row in case.after - case.before if row.split("|")[6] == "f"]
    if case.version != "2.43.1" and outcome is not None:
        assert outcome.stored == len(written)
    elif outcome is not None:
        assert outcome.stored >= len(written)


@every_push
def test_every_code_of_a_recorded_push_is_in_the_catalogue(case: Case) -> None:
    outcome = outcome_of(case)
    if outcome is not None:
        codes = {reason.code for rejection in outcome.rejected for reason in rejection.reasons}
        assert codes <= EXPLANATIONS.keys()


def test_the_recordings_hold_pushes_of_all_four_versions() -> None:
    assert Counter(case.version for case in CASES).keys() == set(VERSIONS)
    assert min(Counter(case.version for case in CASES).values()) > 100
