"""The preflight of the connection test: one fault after the other in what is set up, and the sentence that it gives."""

from datetime import UTC, date, datetime
from threading import Event
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from cli.report import as_text
from msupply_dhis2.dhis2 import metadata
from msupply_dhis2.dhis2.client import Dhis2Client
from msupply_dhis2.dhis2.models import DataSet, Query
from msupply_dhis2.domain.mapped import DatabaseAnswer, MappedItem, MappedNames, MappedStore
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import SourceUnreachableError
from msupply_dhis2.periods import Basis, Calendar, PeriodFormat, window
from msupply_dhis2.preflight import job
from msupply_dhis2.preflight.check import DETAILS, Check
from msupply_dhis2.preflight.periods import days_of
from sandbox.dhis2 import FaultKind, PersonalAccessToken, StandIn, Version, new_token, stock_metadata, uid
from sandbox.dhis2.metadata import (
    CategoryCombo,
    CategoryOptionCombo,
    DataInputPeriod,
    MetadataAccess,
    OptionSet,
)
from tests.support.preflight import (
    ATTRIBUTE,
    CATEGORY,
    ELEMENTS,
    PER_ITEM,
    PUSHER,
    SINGLE,
    STORES,
    WITH_CATEGORIES,
    WITH_COMBOS,
    approved,
    every_version,
    items,
    mapped,
    report_of,
    requiring_combos,
    row,
    row_with_combo,
    with_data_elements,
    with_data_set,
    with_option,
    with_org_unit,
    world,
)


def check_of(report: job.ConnectionReport, name: str) -> Check:
    (check,) = (check for check in report.checks if check.name == name)
    return check


def only_fault(report: job.ConnectionReport, name: str) -> Check:
    """The check of this name, which is the only one that is not well."""
    assert report.connected
    assert report.message == "Connection successful"
    assert [check.name for check in report.checks if not check.ok] == [name], report.summary
    assert not report.all_well
    return check_of(report, name)


# All is well


@every_version
@pytest.mark.parametrize("setup", [{}, WITH_COMBOS, WITH_CATEGORIES], ids=["single", "attribute", "category"])
def test_all_well(version: str, setup: dict[str, Any]) -> None:
    report = report_of(world(), version, **setup)
    assert [check.message for check in report.checks if not check.ok] == []
    assert report.all_well
    assert report.not_asked == ()
    assert report.summary == (f"All {len(report.checks)} checks are well.",)


@every_version
def test_metric_by_metric(version: str) -> None:
    names = mapped(items=items(("SOH_368c74bf", "OUT_368c74bf"), ("SOH_7a8e5b10", "OUT_7a8e5b10")))
    rows = [row("stock_on_hand", custom_field_name="a"), row("stocked_out", custom_field_name="b")]
    report = report_of(
        world(),
        version,
        names=names,
        setup="data_element_per_item",
        data_set_id=PER_ITEM,
        data_elements=rows,
        item_field_reference=None,
    )
    assert [check.message for check in report.checks if not check.ok] == []
    without = check_of(report, "data elements without an item")
    assert without.note
    assert without.message.startswith("mSupply has no item for 2 of 6 data elements")
    assert "Issued, Amoxicillin 250mg tabs (ISSUED_368c74bf)" in without.details[0]


# Who and where


@every_version
def test_missing_authority(version: str) -> None:
    report = report_of(world(), version, user=PUSHER.model_copy(update={"authorities": ()}))
    assert "F_DATAVALUE_ADD" in only_fault(report, "authority").message
    assert check_of(report, "zeros").ok


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("2.35.14", "older than what is supported"),
        ("2.44.0", "newer than what is supported"),
        ("?", "unknown"),
    ],
)
def test_unsupported_version(release: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Version, "release", property(lambda _: release))
    message = only_fault(report_of(world()), "server").message
    assert words in message
    assert "2.36 to 2.43 are supported" in message


@every_version
def test_lookalike_data_set(version: str) -> None:
    report = report_of(world(), version, data_set_id="ST\u041eCK_SINGLE")
    assert only_fault(report, "data set").message.endswith(
        "Did you mean 'STOCK_SINGLE' (Stock, one metric)? Character 3 is a CYRILLIC CAPITAL LETTER O (U+041E) in the settings, a LATIN CAPITAL LETTER O "
        "(U+004F) in DHIS2."
    )


@every_version
def test_org_units_outside_hierarchy(version: str) -> None:
    reach = tuple(uid("organisationUnit", code) for code in ("KAMO", "OPUA"))
    report = report_of(world(), version, user=PUSHER.model_copy(update={"org_unit_ids": reach}))
    check = only_fault(report, "org unit reach")
    assert check.message.startswith("pusher may not enter data in 1 of 3 org units. Add the org unit")
    assert check.details == ("Paihia Hospital (PAIHIA)",)


def test_user_without_org_unit() -> None:
    report = report_of(world(), user=PUSHER.model_copy(update={"org_unit_ids": ()}))
    assert 'no "data capture and maintenance" org units' in only_fault(report, "org unit reach").message


@every_version
def test_missing_data_set(version: str) -> None:
    report = report_of(world(), version, data_set_id="NOWHERE")
    assert "no data set whose code is NOWHERE" in only_fault(report, "data set").message
    assert report.not_asked == (
        "write access",
        "period format",
        "open period, previous month",
        "a manual push now",
        "option combos",
        "category options",
    )
    for name in ("stores", "items", "org unit reach", "value types", "zeros", "aggregation"):
        assert check_of(report, name).ok
    assert any(line.startswith("Not checked because of that: write access; ") for line in report.summary)


@every_version
def test_data_set_not_writable(version: str) -> None:
    report = report_of(with_data_set(SINGLE, writers=())(world()), version)
    assert "pusher may not enter data" in only_fault(report, "write access").message


@every_version
@pytest.mark.parametrize("access", list(MetadataAccess)[1:])
def test_hidden_metadata(version: str, access: MetadataAccess) -> None:
    report = report_of(world(), version, user=PUSHER.model_copy(update={"metadata_access": access}))
    assert report.connected
    assert not check_of(report, "data set").ok
    assert "option combos" in report.not_asked
    assert check_of(report, "authority").ok
    assert check_of(report, "database").ok


# Periods


@every_version
def test_period_format(version: str) -> None:
    report = report_of(with_data_set(SINGLE, period_type="Weekly")(world()), version)
    message = only_fault(report, "period format").message
    assert "makes 202601, which is a period of the type Monthly" in message
    assert message.endswith("every value is refused. Set period_format: Weekly.")
    assert report.not_asked == ("open period, previous month", "a manual push now")


def test_period_type_without_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    read = metadata.read_data_set

    def read_as_two_yearly(*asked: Any) -> DataSet | None:  # noqa: ANN401 - handed on
        data_set = read(*asked)
        return data_set and data_set.model_copy(update={"period_type": "TwoYearly"})

    monkeypatch.setattr(metadata, "read_data_set", read_as_two_yearly)
    message = only_fault(report_of(world()), "period format").message
    assert message.endswith("such periods: use a data set of another period type, such as Monthly.")


@every_version
def test_future_period(version: str) -> None:
    rows = [row("stock_on_hand", basis="current_day")]
    report = report_of(world(open_future_periods=0), version, data_elements=rows)
    message = only_fault(report, "open period, current day").message
    assert "202602 is not open yet" in message
    assert 'raise the data set\'s "open future periods" to 1' in message


def test_each_basis() -> None:
    rows = [
        row_with_combo("stock_on_hand"),
        row_with_combo("issued", basis="current_day"),
        row_with_combo("stocked_out", basis="current_day"),
    ]
    report = report_of(world(open_future_periods=0), **{**WITH_COMBOS, "data_elements": rows})
    assert not only_fault(report, "open period, current day").ok
    assert (
        check_of(report, "open period, previous month").message
        == "Period 202601, 1 January 2026 to 31 January 2026, is open."
    )


@every_version
def test_refused_manual_push(version: str) -> None:
    said = "Manual push, current day: period 202602, 1 February 2026 to 5 February 2026 so far."
    check = check_of(report_of(world(), version), "a manual push now")
    assert (check.ok, check.note, check.message) == (True, False, f"{said} It is open.")
    report = report_of(world(open_future_periods=0), version)
    check = check_of(report, "a manual push now")
    assert (check.ok, check.note) == (True, True)
    assert check.message == (
        f"{said} DHIS2 would refuse every value. 202602 is not open yet: the data set's open future periods are 0. "
        "Values of the current period: push as scheduled (make push AS_SCHEDULED=yes, or the option --as-scheduled), with Push "
        'data basis previous_month. Or raise the data set\'s "open future periods" to 1, or to 2 if the clock of DHIS2 is behind '
        "the stack's time zone, because the month begins later there."
    )
    assert f"Note: {check.message}" in report.summary


@pytest.mark.parametrize(
    ("basis", "written", "days"),
    [
        ("current_day", "YYYYMM", "period 202611, 1 November 2026 to 29 November 2026 so far"),
        ("previous_month", "YYYYMM", "period 202610, 1 October 2026 to 31 October 2026"),
        ("current_day", "YYYYMMDD", "period 20261129, 29 November 2026 so far"),
        ("current_day", "Weekly", "period 2026W48, 23 November 2026 to 29 November 2026 so far"),
        ("previous_month", "Weekly", "period 2026W44, 26 October 2026 to 1 November 2026"),
        ("previous_month", "FinancialApril", "period 2026April, 1 April 2026 to 31 March 2027"),
    ],
)
def test_days_of_period(basis: str, written: str, days: str) -> None:
    as_of = datetime(2026, 11, 29, 12, tzinfo=UTC)
    asked = window(Basis(basis), as_of, Calendar(ZoneInfo("UTC")), PeriodFormat.parse(written))
    assert days_of(asked) == days


@every_version
def test_expiry_days(version: str) -> None:
    report = report_of(with_data_set(SINGLE, expiry_days=2)(world()), version)
    message = only_fault(report, "open period, previous month").message
    assert "202601 has been closed since 2026-02-02: the data set's expiry days are 2." in message
    may = PUSHER.model_copy(update={"authorities": ("F_DATAVALUE_ADD", "F_EDIT_EXPIRED")})
    assert report_of(with_data_set(SINGLE, expiry_days=2)(world()), version, user=may).all_well
    assert report_of(with_data_set(SINGLE, expiry_days=10)(world()), version).all_well


@every_version
def test_input_periods(version: str) -> None:
    other = DataInputPeriod(period="202512")
    report = report_of(with_data_set(SINGLE, data_input_periods=[other.model_dump()])(world()), version)
    assert (
        "not among the data set's data input periods."
        in only_fault(report, "open period, previous month").message
    )
    closed = DataInputPeriod(period="202601", closing_date=date(2026, 2, 1))
    report = report_of(with_data_set(SINGLE, data_input_periods=[closed.model_dump()])(world()), version)
    if version == "2.43":
        check = check_of(report, "open period, previous month")
        assert report.all_well
        assert check.note
        assert "open only until 2026-02-01, but DHIS2 2.43.1 takes its values anyway" in check.message
        return
    assert "open only until 2026-02-01" in only_fault(report, "open period, previous month").message


def test_inverted_input_periods() -> None:
    given = DataInputPeriod(period="202601", closing_date=date(2026, 12, 31))
    metadata = with_data_set(SINGLE, data_input_periods=[given.model_dump()])(world())
    assert report_of(metadata, "2.42").all_well
    message = only_fault(report_of(metadata, "2.43"), "open period, previous month").message
    assert (
        "202601 is open by the data set's data input periods, and DHIS2 2.43.1 refuses it for that" in message
    )
    assert "Upgrade DHIS2 to 2.43.2 or later. Until then remove the data input periods" in message


def test_other_calendar() -> None:
    metadata = world().model_copy(update={"calendar": "ethiopian"})
    check = only_fault(report_of(metadata), "period format")
    assert check.message.startswith("DHIS2 keeps its periods in the calendar 'ethiopian'")
    assert "Use a DHIS2 whose calendar is ISO 8601" in check.message


# Option combos


@every_version
def test_option_combo_place(version: str) -> None:
    attribute = check_of(report_of(world(), version, **WITH_COMBOS), "option combos")
    assert (
        "stock on hand: Stock on hand (STOCK_ON_HAND) is sent as attribute option combo (of the data set)."
        in (attribute.details)
    )
    category = check_of(report_of(world(), version, **WITH_CATEGORIES), "option combos")
    assert category.message.endswith("3 as category option combo (of the data elements).")


@every_version
@pytest.mark.parametrize("scheme", ["code", "uid"])
def test_category_option_for_combo(version: str, scheme: str) -> None:
    code = scheme == "code"
    given = "OPTION_ISSUED" if code else uid("categoryOption", "ISSUED")
    meant = "ISSUED" if code else uid("categoryOptionCombo", "ISSUED")
    rows = [
        row_with_combo("stock_on_hand"),
        row_with_combo("issued", category_option_id=given, category_option_combo_id_scheme=scheme),
    ]
    report = report_of(world(), version, **{**WITH_COMBOS, "data_elements": rows})
    check = only_fault(report, "option combos")
    assert check.message.startswith("The option combos of 1 of 2 metrics do not fit")
    assert f"issued: '{given}' is the {scheme} of a category option" in check.details[0]
    assert check.details[0].endswith(f"write category_option_id: {meant}.")


@every_version
@pytest.mark.parametrize(
    ("setup", "field", "right"),
    [(WITH_COMBOS, "category", "attribute"), (WITH_CATEGORIES, "attribute", "category")],
)
def test_wrong_option_combo_field(version: str, setup: dict[str, Any], field: str, right: str) -> None:
    check = only_fault(report_of(world(), version, **setup, option_combo_field=field), "option combos")
    assert f"Option combo field is '{field}', but STOCK_ON_HAND belongs to the" in check.details[0]
    assert f"Set option_combo_field: auto, or {right}." in check.details[0]
    assert report_of(world(), version, **setup, option_combo_field=right).all_well


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("STOCK_ONHAND", "has no category option combo whose code is 'STOCK_ONHAND'"),
        ("STOCK_ONHAND", "Correct Category option ID. Did you mean 'STOCK_ON_HAND' (Stock on hand)?"),
        (
            "STOCK_ON\u200b_HAND",
            "? Character 9 is a ZERO WIDTH SPACE (U+200B) in the settings, nothing in DHIS2.",
        ),
        (uid("categoryOptionCombo", "STOCK_ON_HAND"), "is the uid of the option combo Stock on hand"),
        ("MALE", "belongs neither to the category combination of the data set"),
    ],
)
def test_unfit_option_combo(given: str, words: str) -> None:
    male = CategoryOptionCombo(id=uid("categoryOptionCombo", "MALE"), code="MALE", name="Male")
    sex = CategoryCombo(id=uid("categoryCombo", "SEX"), code="SEX", name="Sex", option_combos=(male,))
    metadata = world()
    metadata = metadata.model_copy(update={"category_combos": (*metadata.category_combos, sex)})
    rows = [row_with_combo("stock_on_hand", category_option_id=given)]
    report = report_of(metadata, **{**WITH_COMBOS, "data_elements": rows})
    assert words in only_fault(report, "option combos").details[0]


def test_row_number() -> None:
    rows = [
        row_with_combo("stock_on_hand"),
        {**row("issued"), "active": False},
        row_with_combo("stock_on_hand", category_option_id="NOWHERE"),
    ]
    report = report_of(world(), **{**WITH_COMBOS, "data_elements": rows})
    (detail,) = only_fault(report, "option combos").details
    assert detail.startswith(
        "row 3 (stock on hand): DHIS2 has no category option combo whose code is 'NOWHERE'"
    )


def test_data_set_option_combos() -> None:
    report = report_of(world(), data_set_id=ATTRIBUTE)
    assert "has a category combination of its own" in only_fault(report, "option combos").message


def test_data_element_option_combos() -> None:
    names = mapped(prefix="STOCK_")
    report = report_of(
        world(), names=names, data_set_id=CATEGORY, data_elements=[row("stock_on_hand", prefix="STOCK_")]
    )
    check = only_fault(report, "option combos")
    assert "2 data elements" in check.message
    assert "Amoxicillin 250mg tabs, by metric (STOCK_368c74bf)" in check.details


def test_hidden_option_combos() -> None:
    hidden = CategoryCombo(id=uid("categoryCombo", "HIDDEN"), code="HIDDEN", name="Hidden", option_combos=())
    metadata = with_data_set(SINGLE, category_combo_id=hidden.id)(world())
    metadata = metadata.model_copy(update={"category_combos": (*metadata.category_combos, hidden)})
    message = only_fault(report_of(metadata), "option combos").message
    assert message.startswith("DHIS2 does not let the user see the option combos")


# What else a push may fail on


@every_version
@pytest.mark.parametrize(
    ("changes", "cause", "fault"),
    [
        ({"writers": ("somebody",)}, "not shared", "pusher may not enter data for it."),
        (
            {"start_date": date(2026, 2, 1)},
            "not valid then",
            "it is valid only from 2026-02-01, and takes no values for 202601.",
        ),
        (
            {"org_unit_ids": (uid("organisationUnit", "KAMO"),)},
            "not valid there",
            "it is limited to others than 2 org units of stores (Opua Health Centre (OPUA), Paihia Hospital (PAIHIA)).",
        ),
    ],
)
def test_closed_category_option(version: str, changes: dict[str, object], cause: str, fault: str) -> None:
    report = report_of(with_option("ISSUED", **changes)(world()), version, **WITH_COMBOS)
    if cause == "not shared" and version in {"2.37", "2.40"}:
        # These take the values all the same.
        assert report.all_well
        return
    check = only_fault(report, "category options")
    assert f"of 1 of 4 option combos, because of their category options ({cause})" in check.message
    assert check.details == (
        f"Option combo Issued (ISSUED), category option Issued (OPTION_ISSUED): {fault}",
    )


def test_category_option_end() -> None:
    ended = with_option("ISSUED", end_date=date(2025, 12, 31))(world())
    assert not report_of(ended, **WITH_COMBOS).all_well

    class OpensMore(Dhis2Client):
        def get(self, path: str, params: Query | None = None) -> object:
            answer = super().get(path, params)
            if path == "/api/dataSets" and isinstance(answer, dict):
                answer["dataSets"][0]["openPeriodsAfterCoEndDate"] = 1
            return answer

    assert report_of(ended, client=OpensMore, **WITH_COMBOS).all_well


def test_approved_data() -> None:
    check = only_fault(report_of(approved("KAMO", "202601")(world()), "2.42"), "approved data")
    assert check.message.startswith(
        "The data of 1 of 3 org units are approved; DHIS2 refuses values for them."
    )
    assert check.details == ("Kamo Clinic (KAMO): the data of 202601 are approved.",)
    report = report_of(approved("KAMO", "202512")(world()), "2.42")
    assert check_of(report, "approved data").message.endswith("nothing is approved in 3 org units.")


def test_approval_ignored_by_release() -> None:
    report = report_of(approved("KAMO", "202601")(world()), "2.43")
    check = check_of(report, "approved data")
    assert report.all_well
    assert check.note
    assert "DHIS2 2.43.1 does not protect approved data: a push overwrites them" in check.message


def test_unreadable_approval() -> None:
    def forbid(dhis2: StandIn) -> None:
        dhis2.faults.next(FaultKind.STATUS, status=403, path="/api/dataApprovals/approvals")

    report = report_of(approved("KAMO", "202601")(world()), "2.42", prepare=forbid)
    assert check_of(report, "approved data").note
    assert "approval workflow closes approved periods" in check_of(report, "approved data").message


@every_version
def test_required_option_combos(version: str) -> None:
    report = report_of(requiring_combos(world()), version)
    assert report.all_well
    if version == "2.43":
        assert "import settings" not in [check.name for check in report.checks]
        return
    assert "'Require category option combo' and 'Require attribute option combo'" in (
        check_of(report, "import settings").message
    )


def test_read_only_token() -> None:
    text = new_token("only-get")
    token = PersonalAccessToken(username="pusher", token=SecretStr(text), methods=("GET",))

    def give_token(dhis2: StandIn) -> None:
        dhis2.tokens[text] = token

    report = report_of(world(), prepare=give_token, login={"token": text})
    assert "Both GET and POST are needed" in only_fault(report, "trial call").message


def test_blocked_post() -> None:
    def forbid(dhis2: StandIn) -> None:
        dhis2.faults.next(FaultKind.STATUS, status=405, method="POST")

    check = only_fault(report_of(world(), prepare=forbid), "trial call")
    assert check.message.startswith(
        "DHIS2 refuses a call without values that is posted as push posts its values."
    )


# Data elements


@every_version
@pytest.mark.parametrize(
    ("metric", "value_type", "words"),
    [
        ("months_of_stock", "INTEGER", "(1 of the type INTEGER, which takes no 1.5). Tick Round off"),
        ("adjustments", "INTEGER_ZERO_OR_POSITIVE", "takes no -20). Use value type Number"),
        ("stock_on_hand", "INTEGER_POSITIVE", "takes no 0). Use value type Number"),
        ("stock_on_hand", "PERCENTAGE", "takes no 1200"),
        ("stock_on_hand", "BOOLEAN", "holds 'stocked out' only"),
        ("stock_on_hand", "TRUE_ONLY", "holds 'stocked out' only"),
        ("stock_on_hand", "TEXT", "never added up"),
        ("stock_on_hand", "DATE", "holds no numbers"),
    ],
)
def test_unfit_value_type(version: str, metric: str, value_type: str, words: str) -> None:
    metadata = with_data_elements("368c74bf", value_type=value_type)(world())
    check = only_fault(report_of(metadata, version, data_elements=[row(metric)]), "value types")
    assert check.message.startswith("1 of 2 data elements cannot hold what is sent there")
    assert words in check.message
    assert check.details[0].startswith("Amoxicillin 250mg tabs (368c74bf): ")


@pytest.mark.parametrize(
    ("metric", "value_type", "round_off"),
    [
        ("months_of_stock", "INTEGER", True),
        ("months_of_stock", "NUMBER", False),
        ("adjustments", "INTEGER", True),
        ("days_out_of_stock", "INTEGER_ZERO_OR_POSITIVE", False),
        ("stocked_out", "BOOLEAN", False),
        ("stocked_out", "INTEGER_ZERO_OR_POSITIVE", False),
    ],
)
def test_fit_value_type(metric: str, value_type: str, *, round_off: bool) -> None:
    metadata = with_data_elements(*ELEMENTS, value_type=value_type)(world())
    report = report_of(metadata, data_elements=[row(metric)], round_off=round_off)
    assert report.all_well
    assert not check_of(report, "value types").note


@pytest.mark.parametrize(
    ("metric", "value_type", "words"),
    [
        ("stocked_out", "TRUE_ONLY", "a 'true' of the same period stays"),
        (
            "stock_on_hand",
            "INTEGER",
            "if mSupply counts parts of a unit, DHIS2 refuses such values of stock on hand",
        ),
    ],
)
def test_value_type_with_a_catch(metric: str, value_type: str, words: str) -> None:
    metadata = with_data_elements(*ELEMENTS, value_type=value_type)(world())
    report = report_of(metadata, data_elements=[row(metric)])
    check = check_of(report, "value types")
    assert check.ok
    assert check.note
    assert words in check.details[0]


def test_option_set() -> None:
    option_set = OptionSet(id=uid("optionSet", "YES"), code="YES", name="Yes", options=())
    metadata = with_data_elements("368c74bf", option_set_id=option_set.id)(world())
    metadata = metadata.model_copy(update={"option_sets": (option_set,)})
    (detail,) = only_fault(report_of(metadata), "value types").details
    assert detail.endswith("and it is limited to an option set, which takes only its own codes.")


@pytest.mark.parametrize("version", ["2.37", "2.40", "2.42"])
def test_lost_zeros(version: str) -> None:
    metadata = with_data_elements("368c74bf", zero_is_significant=False)(world())
    check = only_fault(report_of(metadata, version), "zeros")
    assert check.message.startswith("Zeros are lost in 1 of 2 data elements")
    assert "Tick 'Store zero data values'" in check.message
    assert check.details == ("Amoxicillin 250mg tabs (368c74bf)",)


def test_zeros_from_2_43() -> None:
    report = report_of(with_data_elements(*ELEMENTS, zero_is_significant=False)(world()), "2.43")
    assert report.all_well


@every_version
@pytest.mark.parametrize("metric", list(Metric))
def test_summed_stock_levels(version: str, metric: Metric) -> None:
    metadata = with_data_elements(*ELEMENTS, aggregation_type="SUM")(world())
    report = report_of(metadata, version, data_elements=[row(metric.value)])
    flows = {Metric.RECEIVED, Metric.ISSUED, Metric.ADJUSTMENTS, Metric.DAYS_OUT_OF_STOCK, Metric.STOCKED_OUT}
    if metric in flows:
        assert report.all_well
        return
    check = only_fault(report, "aggregation")
    assert check.message.startswith("Stock levels are added up over time in 2 of 2 data elements")
    assert metric.label in check.message
    right = (
        "average in org unit"
        if metric is Metric.MONTHS_OF_STOCK
        else "Last value (sum in org unit hierarchy)"
    )
    assert right in check.details[0]


@pytest.mark.parametrize("aggregation", ["LAST", "LAST_AVERAGE_ORG_UNIT", "AVERAGE", "AVERAGE_SUM_ORG_UNIT"])
def test_sound_stock_levels(aggregation: str) -> None:
    metadata = with_data_elements(*ELEMENTS, aggregation_type=aggregation)(world())
    assert report_of(metadata).all_well


def test_unsummed_flows() -> None:
    report = report_of(world(), **WITH_COMBOS)
    assert report.all_well
    assert (
        "With the aggregation type LAST, a quarter shows issued of one month, not the sum"
        in check_of(report, "aggregation").message
    )


# What mSupply has mapped


@every_version
def test_unknown_org_unit(version: str) -> None:
    stores = (MappedStore("Kamo Clinic", "KAM", "Kamo "), MappedStore("Opua H.C.", "OPU", "OPUAA"), STORES[2])
    report = report_of(world(), version, names=mapped(stores=stores))
    check = only_fault(report, "stores")
    assert check.message == (
        "2 of 3 stores of mSupply cannot be sent: the org units are wrong (2 unknown to DHIS2). "
        "Compare the store's Dhis2Code in mSupply (or what Store field reference names) with the org unit in DHIS2; codes are "
        "case sensitive. If they look right, check Org unit scheme."
    )
    assert check.details == (
        (
            "Kamo Clinic (KAM): no org unit has the code 'Kamo ', or the user may not see it. "
            "Did you mean 'KAMO' (Kamo Clinic)? Character 5 is a space in mSupply, nothing in DHIS2. "
            "Capital and small letters differ, first at character 2."
        ),
        (
            "Opua H.C. (OPU): no org unit has the code 'OPUAA', or the user may not see it. "
            "Did you mean 'OPUA' (Opua Health Centre)?"
        ),
    )
    without = check_of(report, "org units without a store")
    assert without.ok
    assert without.note
    assert "Kamo Clinic (KAMO): is it Kamo Clinic, which has 'Kamo ' in mSupply?" in without.details


def test_org_unit_by_store_name() -> None:
    stores = (MappedStore("Kamo clinic", "KAM", "10045"), *STORES[1:])
    check = only_fault(report_of(world(), names=mapped(stores=stores)), "stores")
    assert check.details[0].endswith("Did you mean 'KAMO' (Kamo Clinic)?")


@every_version
def test_org_unit_without_data_set(version: str) -> None:
    kept = [uid("organisationUnit", code) for code in ("KAMO", "OPUA")]
    report = report_of(with_data_set(SINGLE, org_unit_ids=kept)(world()), version)
    check = only_fault(report, "stores")
    assert "1 not assigned to the data set" in check.message
    assert "Assign the org unit to the data set" in check.message
    assert check.details == (
        "Paihia Hospital (PAI): the org unit Paihia Hospital (PAIHIA) is not assigned to the data set.",
    )


# The run is for January, of which 5 February is the day.
@every_version
@pytest.mark.parametrize(
    ("dates", "hint"),
    [
        ({"closed_date": date(2020, 12, 31)}, "it closed on 2020-12-31"),
        ({"closed_date": date(2025, 12, 31)}, "it closed on 2025-12-31"),
        ({"closed_date": date(2026, 1, 1)}, None),
        ({"closed_date": date(2026, 1, 15)}, None),
        ({"opening_date": date(2026, 1, 1)}, None),
        ({"opening_date": date(2026, 1, 15)}, "from 2.43 on: it opened on 2026-01-15"),
        ({"opening_date": date(2026, 2, 1)}, "it opened on 2026-02-01"),
    ],
)
def test_closed_org_unit(version: str, dates: dict[str, date], hint: str | None) -> None:
    report = report_of(with_org_unit("OPUA", **dates)(world()), version)
    if hint is not None and hint.startswith("from 2.43 on: "):
        hint = hint.removeprefix("from 2.43 on: ") if version == "2.43" else None
    if hint is None:
        assert report.all_well
        return
    check = only_fault(report, "stores")
    assert (
        "(1 closed for the period of the run). Correct the org unit's opening or closed date" in check.message
    )
    assert check.details == (
        f"Opua Health Centre (OPU): the org unit Opua Health Centre (OPUA) takes no values for 202601: {hint}.",
    )


def test_uids_under_code_scheme() -> None:
    stores = tuple(store._replace(org_unit=uid("organisationUnit", store.org_unit)) for store in STORES)
    check = only_fault(report_of(world(), names=mapped(stores=stores)), "stores")
    assert check.message.endswith("Most of them are uids of what is meant: set Org unit scheme to 'uid'.")
    assert "It is the uid of Kamo Clinic (KAMO)." in check.details[0]


@every_version
def test_unknown_data_element(version: str) -> None:
    names = mapped(items=items(("368c74bF",), ("7a8e5b10",)))
    report = report_of(world(), version, names=names)
    check = only_fault(report, "items")
    assert check.message.startswith(
        "1 of 2 items of mSupply cannot be sent: the data elements are wrong (1 unknown"
    )
    assert check.details == (
        (
            "Amoxicillin 250mg tabs (368C): no data element has the code '368c74bF', or the user may not see it. "
            "Did you mean '368c74bf' (Amoxicillin 250mg tabs)? Only capital and small letters differ, first at "
            "character 8."
        ),
    )
    without = check_of(report, "data elements without an item")
    assert without.message.startswith("mSupply has no item for 1 of 2 data elements of the data set")


@every_version
def test_data_element_outside(version: str) -> None:
    kept = [uid("dataElement", "368c74bf")]
    report = report_of(with_data_set(SINGLE, data_element_ids=kept)(world()), version)
    check = only_fault(report, "items")
    assert "1 not assigned to the data set" in check.message
    assert check.details == (
        "Paracetamol 500mg tabs (7A8E): the data element Paracetamol 500mg tabs (7a8e5b10) is not assigned to the data set.",
    )


def test_metrics_of_an_item() -> None:
    names = mapped(items=items(("SOH_368c74bf", "OUT_368c"), (None, "OUT_7a8e5b10")))
    rows = [row("stock_on_hand", custom_field_name="a"), row("stocked_out", custom_field_name="b")]
    report = report_of(
        world(),
        names=names,
        setup="data_element_per_item",
        data_set_id=PER_ITEM,
        data_elements=rows,
        item_field_reference=None,
    )
    (detail,) = only_fault(report, "items").details
    assert detail.startswith(
        "Amoxicillin 250mg tabs (368C), stocked out: no data element has the code 'OUT_368c'"
    )
    assert "Did you mean 'OUT_368c74bf'" in detail


def test_long_list() -> None:
    stores = tuple(
        MappedStore(f"Clinic {number}", f"C{number}", f"nowhere-{number}") for number in range(200)
    )
    report = report_of(world(), names=mapped(stores=stores))
    check = check_of(report, "stores")
    assert len(check.details) == DETAILS
    assert len(check.details) + check.more_details == 200
    assert "          - and 180 more" in as_text(report).splitlines()


def test_skipped_by_database() -> None:
    names = mapped(skipped=("store Old: it is disabled in mSupply",), more_skipped=2, skipped_stores=1)
    report = report_of(world(), names=names)
    assert report.all_well
    check = check_of(report, "database")
    assert check.note
    assert check.message.endswith("Not sent: 1 store and 2 items.")
    assert check.more_details == 2


def test_database_notes() -> None:
    report = report_of(world(), names=mapped(notes=("All 2 items are sent.",)))
    assert report.all_well
    check = check_of(report, "database")
    assert (check.note, check.details) == (True, ("All 2 items are sent.",))


def test_long_list_of_stores() -> None:
    report = report_of(world(), names=mapped(stores=STORES[:1], more_stores=2))
    assert check_of(report, "stores").message.endswith(
        "2 more were not checked, because their list is too long for one answer."
    )
    assert "org units without a store" not in [check.name for check in report.checks]


def test_database_down() -> None:
    metadata = with_data_elements("368c74bf", zero_is_significant=False, aggregation_type="SUM")(world())

    def database() -> DatabaseAnswer:
        raise SourceUnreachableError("mSupply's database does not answer.")

    report = report_of(metadata, database=database)
    assert [check.name for check in report.checks if not check.ok] == ["database", "zeros", "aggregation"]
    assert report.not_asked == ("stores", "items")


def test_singular() -> None:
    names = mapped(stores=STORES[:1], items=mapped().items[:1])
    report = report_of(world(), names=names)
    assert check_of(report, "stores").message == "1 store of mSupply has its org unit."
    assert check_of(report, "items").message == "1 item of mSupply has its data element."
    assert check_of(report, "value types").message == "1 data element can hold what is sent to it."
    assert check_of(report, "org unit reach").message == "pusher may enter data in the only org unit."


# The summary and the time


def test_summary_order() -> None:
    metadata = with_data_elements("368c74bf", aggregation_type="SUM", zero_is_significant=False)(world())
    user = PUSHER.model_copy(update={"authorities": ()})
    stores = (MappedStore("Kamo Clinic", "KAM", "nowhere"), *STORES[1:])
    summary = report_of(metadata, user=user, names=mapped(stores=stores)).summary
    assert summary[0].endswith("checks need attention:")
    assert [line.partition(":")[0] for line in summary[1:6]] == [
        "authority",
        "stores",
        "zeros",
        "aggregation",
        "Note",
    ]
    assert summary[-1].startswith("OK: settings; credentials; login; server; data set")


def test_slow_server() -> None:
    def slow(dhis2: StandIn) -> None:
        dhis2.faults.next(FaultKind.DELAY, seconds=60.0, path="/api/dataSets")

    before = datetime.now(UTC)
    report = report_of(world(), prepare=slow, time_limit=1.0)
    assert (datetime.now(UTC) - before).total_seconds() < 60
    assert report.connected
    assert "within 1 seconds" in check_of(report, "data set").message
    assert check_of(report, "authority").ok
    assert not check_of(report, "stores").ok


def test_one_failing_question() -> None:
    def fail(dhis2: StandIn) -> None:
        dhis2.faults.next(FaultKind.STATUS, status=502, path="/api/system/info")

    report = report_of(world(), prepare=fail)
    assert not only_fault(report, "server").ok
    assert report.server is None
    assert report.not_asked == ("zeros",)
    assert check_of(report, "open period, previous month").ok


def test_largest_country() -> None:
    units = [(f"OU{number:05}", f"Clinic {number}") for number in range(3_000)]
    references = [(f"{number:08x}", f"Medicine {number}") for number in range(1_000)]
    metadata = stock_metadata(units, references, ["stock_on_hand"])
    names = MappedNames(
        stores=tuple(MappedStore(name, code, f"{code[:2]}-{code[2:]}x") for code, name in units),
        items=tuple(MappedItem(name, code, (f"{code}x",)) for code, name in references),
    )
    before = datetime.now(UTC)
    report = report_of(metadata, names=names)
    message = check_of(report, "stores").message
    assert "(2,700 not among those of the data set and 300 unknown to DHIS2). Compare the store's" in message
    assert not check_of(report, "items").ok
    assert (datetime.now(UTC) - before).total_seconds() < 30


def test_slow_database() -> None:
    given_up = Event()

    def database() -> DatabaseAnswer:
        given_up.wait(10)
        return DatabaseAnswer(message="too late")

    report = report_of(world(), database=database, time_limit=1.0)
    given_up.set()
    assert "did not answer in time" in only_fault(report, "database").message
    assert report.not_asked == ("stores", "items")
