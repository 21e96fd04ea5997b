"""What real servers said of each push, against what they then had in their databases."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

import pytest

from msupply_dhis2.dhis2.client import Answer
from msupply_dhis2.dhis2.error_catalogue import HELD_BACK, read_catalogue
from msupply_dhis2.dhis2.import_summary import ImportSummary, read_import_summary
from msupply_dhis2.domain.outcome import Counts, OutcomeKind
from msupply_dhis2.errors import Dhis2TransientError
from tests.support.paths import SHARED

RECORDINGS = SHARED / "dhis2"
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

REASONS = {
    "push_number_format_same_value": ("E7619 value 1", "E8122 value 1"),
    "push_unknown_data_element_code": ("E7610 value 2", "held_back request 0 1 3 4; E8103 value 2"),
    "push_unknown_org_unit_code": ("E7612 value 2", "held_back request 0 1 3 4; E8107 value 2"),
    "push_unknown_org_unit_code_group": (
        "E7612 value 5 6 7 8 9",
        "held_back request 0 1 2 3 4 6 7 8 9; E8107 value 5",
    ),
    "push_wrong_coc": ("", "E8024 group 0 1 2 3 4"),
    "push_unknown_coc": ("E7613 value 2", "held_back request 0 1 3 4; E8108 value 2"),
    "push_default_coc_aoc_by_code": ("", "E8111 value 0; held_back request 1 2 3 4"),
    "push_value_not_numeric": ("E7619 value 2", "E8122 value 2"),
    "push_value_decimal_for_integer": ("E7619 value 0 1", "E8122 value 1"),
    "push_value_negative_for_zero_or_positive": ("E7619 value 0", "E8122 value 0"),
    "push_value_decimal_integer_only_5_0": ("E7619 value 0", ""),
    "push_value_null": ("E7618 value 0", "E8120 value 0"),
    "push_value_empty_string": ("E7618 value 0", "E8120 value 0"),
    "push_value_number_formats": ("E7619 value 0 1 2 3", "E8122 value 0 1 2 3"),
    "push_value_number_formats2": ("E7619 value 0 1 2", "E8122 value 0 1 2"),
    "push_boolean_yes": ("E7619 value 0", ""),
    "push_dsclosed_current_month": ("E7641 value 0", "E8030 value 0"),
    "push_dsclosed_mixed_current_previous": ("E7641 value 1", "E8030 group 0 1"),
    "push_future_month": ("E7641 value 0", "E8030 group 0 1"),
    "push_far_future_month": ("E7641 value 0", "E8030 value 0"),
    "push_wrong_period_type": ("", "E8021 group 0 1"),
    "push_wrong_period_type_only": ("", "E8021 value 0"),
    "push_period_garbage": ("E7611 value 0", ""),
    "push_org_unit_not_assigned": ("", "E8022 group 0 1 2"),
    "push_closed_org_unit": ("", "E8031 group 0 1 2"),
    "push_org_unit_before_opening": ("", "E8031 value 0"),
    "push_de_not_in_dataset": ("", "E8020 group 0 1 2"),
    "push_de_of_other_dataset": ("", "E8020 group 0 1 2"),
    "push_no_dataset_not_in_dataset": ("", "E8020 group 0 1"),
    "push_no_dataset_two_datasets": ("", "E8002 group 0 1"),
    "push_no_dataset_org_unit_not_assigned": ("", "E8022 value 0"),
    "push_dataset_code_without_scheme": ("E7600 request 0 1 2 3 4", "E8004 request 0 1 2 3 4"),
    "push_dataset_uid_with_code_scheme": ("E7600 request 0 1 2 3 4", "E8005 request 0 1 2 3 4"),
    "push_dataset_unknown_uid": ("E7600 request 0 1 2 3 4", "E8020 group 0 1 2 3 4"),
    "push_dataset_unknown_code": ("E7600 request 0 1 2 3 4", "E8005 request 0 1 2 3 4"),
    "push_duplicate_rows_same": ("", "E8128 group 0 1"),
    "push_duplicate_rows_different": ("", "E8128 group 0 1"),
    "push_daily_ok": ("E7641 value 1", "E8030 group 0 1"),
    "push_weekly_ok": ("E7641 value 1", "E8030 group 0 1"),
    "push_missing_orgunit": ("E7612 value 0", "E8105 value 0; held_back request 1"),
    "push_missing_dataelement": ("E7610 value 0", "E8102 value 0; held_back request 1"),
    "push_missing_period": ("E7611 value 0", "E8100 value 0; held_back request 1"),
    "push_as_nowrite_no_sharing": ("E7601 request 0 1 2 3 4", "E8010 group 0 1 2 3 4"),
    "push_as_narrow_ou_outside": ("E7617 value 2", "E8011 group 0 1 2"),
    "push_as_narrow_all_outside": ("E7617 value 0 1", "E8011 group 0 1"),
    "push_uid_schemes_unknown_de": ("E7610 value 2", "E8020 group 0 1 2"),
    "push_uid_schemes_unknown_ou": ("E7612 value 2", "E8022 group 0 1 2"),
    "push_codes_sent_as_uid": ("E7610 value 0 1 2 3 4", "E8104 value 0; held_back request 1 2 3 4"),
    "push_dry_run_bad_row": ("E7610 value 2", "held_back request 0 1; E8103 value 2"),
    "push_opt_strictPeriods": ("E7632 value 1", "E8021 group 0 1"),
    "push_opt_strictDataElements": ("E7633 value 1", "E8020 group 0 1"),
    "push_opt_strictOrganisationUnits": ("E7636 value 1", "E8022 group 0 1"),
    "push_opt_strictCategoryOptionCombos": ("E7634 value 1", "E8024 group 0 1"),
    "push_opt_strictAttributeOptionCombos": ("E7635 value 1", "held_back request 0; E8111 value 1"),
    "push_opt_requireCategoryOptionCombo": ("E7630 value 0 1", ""),
    "push_skip_existing_orgunit": ("", "E8022 group 0 1"),
    "push_skip_existing_de": ("unknown", "E8020 group 0 1"),
    "push_x_bad_value_plain": ("E7619 value 1", "E8122 value 1"),
    "push_x_bad_value_atomic": ("E7619 value 1", "E8000 group 0 1 2"),
    "push_x_force_future_as_pusher": ("E7641 value 0", "E8030 value 0"),
    "push_x_two_bad_rows_two_reasons": ("E7619 value 0 1 2", "E8122 value 0 1 2"),
    "push_x_wrong_ou_and_wrong_de": ("", "E8020 group 0 1 2"),
    "push_x_two_unknown_codes": ("E7610 value 0 1", "E8103 value 0; held_back request 1 2"),
    "push_x_no_dataset_one_unknown_ou": ("E7612 value 2 3", "held_back request 0 1 3; E8107 value 2"),
    "push_x_expired_period": ("E7640 value 0", "E8030 value 0"),
    "push_x_expired_period_mixed": ("E7640 value 0 1", "E8030 group 0 1"),
    "push_x_not_input_period": ("E7643 value 0 1", "E8030 group 0 1"),
    "push_w_aoc_by_code_coc_scheme": ("", "E8111 value 0; held_back request 1 2"),
    "push_w_aoc_missing": ("", "E8023 group 0 1 2"),
    "push_w_aoc_missing_strict": ("E7635 value 0 1 2", "E8023 group 0 1 2"),
    "push_w_aoc_in_coc_field": ("", "E8023 group 0 1 2"),
    "push_w_aoc_in_coc_field_strict": ("E7634 value 0 1 2", "E8023 group 0 1 2"),
    "push_w_category_option_instead_of_combo": ("E7615 value 0 1 2", "E8023 group 0 1 2"),
    "push_w_coc_category_option_instead_of_combo": ("E7613 value 0", "E8024 value 0"),
    "push_x_autogroup_two_datasets": ("", "E8002 group 0 1 2"),
    "push_x_autogroup_two_datasets_one_bad": ("", "E8002 group 0 1 2"),
    "push_x_autogroup_de_without_set": ("", "E8020 group 0 1 2"),
}
"""What is told of each push's rows: up to 2.42, and from 2.43; "" where nothing is refused.

Each reason is a code, how far it reaches, and the places of the rows that it is told of. From 2.43 a row that is
guilty stands by itself where the server names it, and with its whole group where it does not.
"""

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


def body_of(request: dict[str, Any]) -> dict[str, Any] | None:
    """The body of a push; ``None`` where it is not what this integration sends."""
    body = request["body"]
    if isinstance(body, str):
        try:
            body = json.loads(body.removeprefix("gzip of "))
        except json.JSONDecodeError:
            return None
    return body if isinstance(body, dict) else None


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
            body = body_of(case["request"])
            response = case["response"]
            if body is not None and response["status"] in {200, 409}:
                answer = Answer(response["status"], response["body"])
                rows = tuple(body.get("dataValues") or ())
                yield Case(case["case"], version, rows, answer, +before, +database)


CASES = [case for case in recorded_pushes() if case.rows and "async" not in case.name]
# All pushes of a version in one test: each takes less than it takes to announce a test, and there are hundreds.
each_version = pytest.mark.parametrize("version", VERSIONS)


def pushes(version: str) -> list[tuple[Case, ImportSummary | None]]:
    """Each recorded push of a version, with its outcome."""
    return [(case, outcome_of(case)) for case in CASES if case.version == version]


def pushes_of_ours(version: str) -> list[tuple[Case, ImportSummary | None]]:
    return [(case, outcome) for case, outcome in pushes(version) if case.name not in NEVER_SENT]


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


def outcome_of(case: Case) -> ImportSummary | None:
    try:
        return read_import_summary(case.answer, len(case.rows))
    except Dhis2TransientError:
        return None


@each_version
def test_counts_add_up(version: str) -> None:
    sent = {
        case.name: Counts.of(outcome.outcomes.values()).sent
        for case, outcome in pushes(version)
        if outcome is not None
    }
    assert sent == {case.name: len(case.rows) for case, _ in pushes(version) if case.name in sent}


@each_version
def test_stored_as_counted(version: str) -> None:
    stored: dict[str, int] = {}
    said: dict[str, int] = {}
    for case, outcome in pushes_of_ours(version):
        if outcome is None:
            assert case.before == case.after, case.name
            continue
        counts = Counts.of(outcome.outcomes.values())
        accepted = [
            row for row, each in zip(case.rows, outcome.outcomes.values(), strict=True) if not each.reasons
        ]
        stored[case.name] = sum(is_in(case.after, row) for row in accepted)
        said[case.name] = counts.stored + counts.unchanged
    assert stored == said


@each_version
def test_rejected_not_stored(version: str) -> None:
    come_in = [
        (case.name, row)
        for case, outcome in pushes_of_ours(version)
        for row, each in zip(case.rows, outcome.outcomes.values() if outcome else (), strict=False)
        if each.kind is OutcomeKind.REJECTED and is_in(case.after - case.before, row)
    ]
    assert come_in == []


@each_version
def test_stored_as_written(version: str) -> None:
    written: dict[str, int] = {}
    said: dict[str, int] = {}
    for case, outcome in pushes_of_ours(version):
        if outcome is not None:
            written[case.name] = len([row for row in case.after - case.before if row.split("|")[6] == "f"])
            said[case.name] = Counts.of(outcome.outcomes.values()).stored
    if version != "2.43.1":
        assert said == written
    else:
        assert {name: number for name, number in said.items() if number < written[name]} == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_deletes_as_counted(version: str) -> None:
    (case,) = (
        case for case in CASES if case.version == version and case.name == "push_import_strategy_delete"
    )
    outcome = read_import_summary(case.answer, len(case.rows), deletes=True)
    assert Counts.of(outcome.outcomes.values()) == Counts(deleted=len(case.rows))
    assert all(is_in(case.before, row) and not is_in(case.after, row) for row in case.rows)


def told(outcome: ImportSummary | None) -> str:
    """The reasons of an outcome, as ``REASONS`` has them."""
    if outcome is None:
        return "unknown"
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for index, each in enumerate(outcome.outcomes.values()):
        for reason in each.reasons:
            places[reason.code, reason.extent].append(str(index))
    return "; ".join(f"{code} {extent} {' '.join(rows)}" for (code, extent), rows in places.items())


@each_version
def test_reason_of_every_row(version: str) -> None:
    reasons = {
        case.name: told(outcome)
        for case, outcome in pushes(version)
        if not case.name.startswith("push_import_strategy_")
    }
    column = 1 if version == "2.43.1" else 0
    assert reasons == {name: REASONS.get(name, ("", ""))[column] for name in reasons}


def test_reasons_are_recorded() -> None:
    assert REASONS.keys() <= {case.name for case in CASES}


@each_version
def test_codes_in_catalogue(version: str) -> None:
    codes = {
        reason.code
        for _, outcome in pushes(version)
        if outcome is not None
        for each in outcome.outcomes.values()
        for reason in each.reasons
    }
    assert codes
    assert codes - read_catalogue().ours.keys() - read_catalogue().dhis2.keys() <= {HELD_BACK}


def test_all_four_versions() -> None:
    assert Counter(case.version for case in CASES).keys() == set(VERSIONS)
    assert min(Counter(case.version for case in CASES).values()) > 100
