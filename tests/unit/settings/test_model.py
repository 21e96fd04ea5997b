import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from cli.schema import json_schema
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.errors import SettingsError
from msupply_dhis2.periods import Basis, Interval, PeriodFormat
from msupply_dhis2.settings import (
    OptionComboField,
    ReadBack,
    Scheme,
    Settings,
    Setup,
    parse_settings,
)
from tests.support.paths import PROJECT

ROW = {
    "metric": "stock_on_hand",
    "active": True,
    "category_option_id": "HllvX50cXC0",
    "interval": "monthly",
    "basis": "previous_month",
}
COMPLETE = {
    "use_dhis2": True,
    "url": "https://dhis2.example.org/hmis",
    "setup": "category_option_combo",
    "data_set_id": "lyLU2wR22tC",
    "period_format": "YYYYMM",
    "item_field_reference": "universal_code",
    "data_element_id_scheme": "code",
    "org_unit_scheme": "code",
    "data_elements": [ROW],
}


def document(*rows: dict[str, Any], **changes: object) -> str:
    values = COMPLETE | ({"data_elements": list(rows)} if rows else {}) | changes
    return json.dumps({name: value for name, value in values.items() if value is not ...})


def row(**changes: object) -> dict[str, Any]:
    return {name: value for name, value in (ROW | changes).items() if value is not ...}


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        parse_settings(text)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


def fault_of(text: str) -> str:
    faults = faults_of(text)
    assert len(faults) == 1, faults
    return faults[0]


# -------------------------------------------------------------------------------------- what is understood


def test_complete_document() -> None:
    settings = parse_settings(
        document(
            row(prefix="SOH_", category_option_combo_id_scheme="code", custom_field_name="user_field_1"),
            basic_authentication=True,
            data_set_id="STOCK",
            data_set_id_scheme="code",
            store_field_reference="DHIS2 code",
            round_off=True,
            items_per_payload=500,
            include_field="user_field_4",
            option_combo_field="category",
            expiring_within_days=30,
            include_returns=True,
        )
    )
    (only,) = settings.active_rows
    assert (only.metric, only.active, only.category_option_id) == (Metric.STOCK_ON_HAND, True, "HllvX50cXC0")
    assert (only.interval, only.basis, only.prefix) == (Interval.MONTHLY, Basis.PREVIOUS_MONTH, "SOH_")
    assert only.category_option_combo_id_scheme is Scheme.CODE
    assert only.custom_field_name == "user_field_1"
    assert (settings.use_dhis2, settings.basic_authentication, settings.round_off) == (True, True, True)
    assert settings.url == "https://dhis2.example.org/hmis"
    assert settings.setup is Setup.CATEGORY_OPTION_COMBO
    assert (settings.data_set_id, settings.data_set_id_scheme) == ("STOCK", Scheme.CODE)
    assert (settings.data_element_id_scheme, settings.org_unit_scheme) == (Scheme.CODE, Scheme.CODE)
    assert (settings.item_field_reference, settings.store_field_reference) == ("universal_code", "DHIS2 code")
    assert (settings.items_per_payload, settings.expiring_within_days) == (500, 30)
    assert (settings.include_field, settings.include_returns) == ("user_field_4", True)
    assert settings.option_combo_field is OptionComboField.CATEGORY
    assert settings.period == PeriodFormat.parse("YYYYMM")


def test_blanks_stay_in_a_prefix() -> None:
    settings = parse_settings(
        document(row(prefix="SOH "), store_field_reference=" Dhis2 ", url=" https://x.org ")
    )
    assert settings.data_elements[0].prefix == "SOH "
    assert (settings.store_field_reference, settings.url) == ("Dhis2", "https://x.org")


def test_defaults() -> None:
    settings = parse_settings(document(include_field="", round_off=None, store_field_reference="  "))
    assert settings.basic_authentication is True
    assert settings.data_set_id_scheme is Scheme.UID
    assert settings.store_field_reference == "Dhis2Code"
    assert (settings.round_off, settings.include_returns) == (False, False)
    assert (settings.items_per_payload, settings.expiring_within_days) == (1000, 90)
    assert settings.include_field is None
    assert settings.option_combo_field is OptionComboField.AUTO
    assert (settings.database_ca_certificate, settings.dhis2_ca_certificate) == (None, None)
    assert settings.read_back is ReadBack.NONE
    assert settings.data_elements[0].category_option_combo_id_scheme is Scheme.UID
    assert settings.data_elements[0].prefix == ""


@pytest.mark.parametrize(
    ("words", "scheme"),
    [
        ("code", Scheme.CODE),
        ("item code", Scheme.CODE),
        ("Name Code", Scheme.CODE),
        ("name-code", Scheme.CODE),
        ("UUID", Scheme.UID),
        ("uid", Scheme.UID),
        ("Uid", Scheme.UID),
    ],
)
def test_scheme_words(words: str, scheme: Scheme) -> None:
    settings = parse_settings(document(data_element_id_scheme=words, org_unit_scheme=words))
    assert (settings.data_element_id_scheme, settings.org_unit_scheme) == (scheme, scheme)


def test_choices() -> None:
    settings = parse_settings(
        document(
            row(metric="Months of Stock", interval="First day of month", basis="Previous month"),
            setup="Category option combo",
        )
    )
    assert settings.active_rows[0].metric is Metric.MONTHS_OF_STOCK
    assert settings.active_rows[0].interval is Interval.FIRST_DAY_OF_MONTH


@pytest.mark.parametrize("word", ["on", "yes", "true", "ON", '"on"', '"Yes"'])
def test_switch_spellings(word: str) -> None:
    assert parse_settings(f"use_dhis2: off\nround_off: {word}").round_off is True


@pytest.mark.parametrize(
    "written",
    [
        "https://dhis2.example.org/hmis",
        "https://dhis2.example.org/hmis/",
        "https://dhis2.example.org/hmis//",
        "https://dhis2.example.org/hmis/api",
        "https://dhis2.example.org/hmis/api/",
        "https://dhis2.example.org/hmis/dhis-web-dashboard",
        "https://dhis2.example.org/hmis/dhis-web-maintenance/index.html",
        "HTTPS://dhis2.example.org/hmis/api",
        "https://DHIS2.Example.org:443/hmis",
        "https://dhis2.example.org/hmis/dhis-web-dashboard/#/",
        "https://dhis2.example.org/hmis/apps/dashboard#/",
        "https://dhis2.example.org/hmis/login/#/",
        "https://dhis2.example.org/hmis/login/?redirect=%2Fhmis",
        "https://dhis2.example.org/hmis/api/40",
        "https://dhis2.example.org/hmis/api/apps/dashboard/index.html#/x",
        "https://dhis2.example.org/hmis/api/dataValueSets?dataSet=x",
        "https://dhis2.example.org/hmis/api/42/dataValueSets",
        "https://dhis2.example.org/hmis/index.html",
    ],
)
def test_url_is_shortened(written: str) -> None:
    assert parse_settings(document(url=written)).url == "https://dhis2.example.org/hmis"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080",
        "http://[::1]:8080",
        "https://dhis2.example.org/api/hmis",
        "https://x.org:8443/a/b",
    ],
)
def test_url_keeps_port_and_path(url: str) -> None:
    assert parse_settings(document(url=url)).url == url


def test_item_fields_of_setup() -> None:
    rows = (
        row(custom_field_name="user_field_1"),
        row(metric="issued", custom_field_name="dhis2_issued"),
        row(metric="received", custom_field_name="user_field_1", prefix="R_"),
        row(metric="expired", custom_field_name="user_field_6", active=False),
    )
    per_item = parse_settings(document(*rows, setup="data_element_per_item", item_field_reference=...))
    assert per_item.item_fields == ("user_field_1", "dhis2_issued")
    single = parse_settings(document(row(), setup="single_data_element", item_field_reference="user_field_2"))
    assert single.item_fields == ("user_field_2",)


@pytest.mark.parametrize(
    ("scalar", "text"),
    [
        ("0123", "0123"),
        ("12345678901", "12345678901"),
        ("1_000", "1_000"),
        ("1e5", "1e5"),
        ("1.10", "1.10"),
        ("2026-01-01", "2026-01-01"),
        ("12:30:45", "12:30:45"),
        ("'NO'", "NO"),
        ("0x1F", "0x1F"),
    ],
)
def test_identifier_unaltered(scalar: str, text: str) -> None:
    settings = parse_settings(f"use_dhis2: off\ndata_set_id_scheme: code\ndata_set_id: {scalar}\n")
    assert settings.data_set_id == text


def test_json_number() -> None:
    settings = parse_settings('{"use_dhis2": false, "data_set_id": 12345678901234567890.10}')
    assert settings.data_set_id == "12345678901234567890.10"


def test_json_tabs_and_yaml_braces() -> None:
    assert parse_settings('{\n\t"use_dhis2": false,\n\t"round_off": true\n}').round_off is True
    assert parse_settings("{use_dhis2: off, round_off: on}").round_off is True


def test_compact_form() -> None:
    settings = parse_settings((PROJECT / "settings.yaml").read_text(encoding="utf-8"))
    compact = settings.compact()
    assert parse_settings(compact) == settings
    assert "items_per_payload" not in compact
    assert len(compact.encode()) < 4096


# ---------------------------------------------------------------------------------------------- the switch


def test_off_may_be_incomplete() -> None:
    settings = parse_settings("use_dhis2: off")
    assert settings.use_dhis2 is False
    assert settings.active_rows == ()
    assert settings.misread == ()
    assert settings.warnings() == ()
    with pytest.raises(SettingsError) as caught:
        settings.require_complete()
    assert caught.value.faults == settings.complete_faults()
    assert [fault.split(" is missing")[0].split(" has no")[0] for fault in settings.complete_faults()] == [
        "URL",
        "Setup",
        "Data elements to push",
        "Data set ID",
        "Period format",
        "Data element ID scheme",
        "Org unit scheme",
    ]


def test_off_skips_unusable() -> None:
    settings = parse_settings(
        "use_dhis2: off\nurl: ftp://x\nround_off: perhaps\nexpiring_within_days: 30\nfoo: 1"
    )
    assert settings.expiring_within_days == 30
    assert [fault.split()[0] for fault in settings.misread] == ["URL", "Round", "'foo'"]
    assert set(settings.misread) < set(settings.complete_faults())


def test_complete_when_off() -> None:
    parse_settings(document(use_dhis2=False)).require_complete()


@pytest.mark.parametrize(
    "text", ["round_off: on", "use_dhis2: maybe", "use_dhis2: off\nuse_dhis2: off", "use_dhis2:"]
)
def test_unreadable_switch_is_not_off(text: str) -> None:
    faults = faults_of(text)
    assert faults[0].startswith("Use DHIS2 ")
    assert any(fault.startswith("URL is missing") for fault in faults)


# ------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "have no fields"),
        ("# only a comment", "have no fields"),
        ("null", "have no fields"),
        ("true", "have no fields"),
        ("- use_dhis2: true", "have no fields"),
        ("[]", "have no fields"),
        ("use_dhis2: true\n\turl: x", "line 2, column 1"),
        ("use_dhis2: true\nurl: [", "line 2"),
        ('url: "x\nuse_dhis2: true # "on" soon', "a quote that is not closed may be further up"),
        ('{"use_dhis2": true,\n "url" "x"}', "cannot be read as JSON: line 2, column 8"),
        ("use_dhis2: true\nurl: *x", "Line 2: a value that begins with '*'"),
        ("use_dhis2: !!python/none x", "Line 1: a value that begins with '!'"),
        ("use_dhis2: true\n[1]: x", "Line 2: a field's name must be a word"),
        ("use_dhis2: true\nurl: \x07", "unprintable character on line 2"),
        ('url: "\\UFFFFFFFF"', "an escape"),
        ("\n" + "[" * 8_000, "Line 2: fields are nested too deeply"),
        (
            '\n{"a":' + '{"a":' * 1_300 + "1" + "}" * 1_301,
            "Line 2: fields are nested too deeply",
        ),
        (
            '{"url": "[[[{\\"",\n"a":' + '{"a":' * 25 + "1" + "}" * 26,
            "Line 2: fields are nested too",
        ),
        ("{a:\n " * 600 + "1" + "}" * 600, "Line 21: fields are nested too deeply"),
        (
            "\n".join(" " * depth + "a:" for depth in range(25)),
            "Line 21: fields are nested too",
        ),
        ("data_elements: [" + "[" * 30, "Line 1: fields are nested too deeply"),
        ("url: " + "x" * 50_000, "have 50,005 characters, and at most 50,000"),
        ("use_dhis2: true\n---\nuse_dhis2: true", "another document"),
    ],
)
def test_syntax_error_place(text: str, part: str) -> None:
    assert part in fault_of(text)


@pytest.mark.parametrize(
    ("changes", "beginning"),
    [
        ({"url": ...}, "URL is missing. "),
        ({"setup": ...}, "Setup is missing. "),
        ({"data_set_id": " "}, "Data set ID is missing. "),
        ({"period_format": None}, "Period format is missing. "),
        ({"data_element_id_scheme": ...}, "Data element ID scheme is missing. "),
        ({"org_unit_scheme": ...}, "Org unit scheme is missing. "),
        ({"data_elements": ...}, "Data elements to push has no active row"),
        ({"data_elements": []}, "Data elements to push has no active row"),
        ({"data_elements": [row(active=False)]}, "Data elements to push has no active row"),
        (
            {"item_field_reference": ...},
            "Item field reference is missing; Setup is 'Using category option combo'. Write it as in item_field_reference: univ",
        ),
        (
            {"item_field_reference": ..., "setup": "single_data_element"},
            "Item field reference is missing; Setup is 'Push only 1 data element'. ",
        ),
        (
            {"data_elements": {"stock_on_hand": "x"}},
            "Data elements to push is a group of fields, but must be a list",
        ),
        (
            {"data_elements": ["x"]},
            "Data elements to push, row 1: is 'x', but must be a group of fields. Begin each row with",
        ),
        (
            {"data_elements": [row(), None]},
            "Data elements to push, row 2: is empty, but must be a group of fields",
        ),
        ({"basic_authentication": "perhaps"}, "Basic authentication is 'perhaps'. Write true or false."),
        ({"round_off": 2}, "Round off is '2'. Write true or false."),
        ({"round_off": []}, "Round off is a list. Write true or false."),
        (
            {"setup": "per item"},
            "Setup is 'per item'. It takes one of: category_option_combo, data_element_per_item",
        ),
        ({"items_per_payload": 0}, "No. of items per payload is '0'. Write a whole number, 1 or more."),
        ({"items_per_payload": 1.5}, "No. of items per payload is '1.5'. "),
        ({"items_per_payload": True}, "No. of items per payload is 'true'. Write a whole number."),
        # What is within a group may be a password.
        ({"items_per_payload": {"a": "b"}}, "No. of items per payload is a group of fields. Write a whole"),
        ({"restate_months": 25}, "Restate months is '25'. Write a whole number, 24 or less."),
        ({"items_per_payload": "9" * 5000}, "No. of items per payload is '999"),
        ({"expiring_within_days": -1}, "Expiring within days is '-1'. "),
        (
            {"option_combo_field": "both"},
            "Option combo field is 'both'. It takes one of: auto, attribute, category.",
        ),
        (
            {"data_set_id": "stock"},
            "Data set ID is 'stock', which is not a UID, but Data set ID scheme is 'uid'",
        ),
        ({"data_set_id": "1yLU2wR22tC"}, "Data set ID is '1yLU2wR22tC', which is not a UID"),
        ({"data_set_id": "lyLU2wR22tCx"}, "Data set ID is 'lyLU2wR22tCx', which is not a UID"),
        ({"data_set_id": False}, "Data set ID is read as false, not as text"),
        ({"data_set_id": {"id": "x"}}, "Data set ID is a group of fields, but must be a text."),
        ({"data_set_id": "\ud800"}, "Data set ID has a character that is not text."),
        (
            {"period_format": "MMDD"},
            "Period format is 'MMDD', which DHIS2 does not understand.",
        ),
        (
            {"item_field_reference": "user_field_4"},
            "Item field reference is 'user_field_4'. It takes one of: univ",
        ),
        (
            {"include_field": "user_field_1"},
            "Include in DHIS2 data push is 'user_field_1', which is not a checkbox.",
        ),
        ({"org_unit_scheme": "name"}, "Org unit scheme is 'name'."),
        (
            {"data_elements": [row(interval="yearly")]},
            "Data elements to push, stock on hand: Interval is 'yearly'.",
        ),
        (
            {"data_elements": [row(basis="month")]},
            "Data elements to push, stock on hand: Push data basis is 'month'.",
        ),
        (
            {"data_elements": [row(basis=...)]},
            "Data elements to push, stock on hand: Push data basis is missing.",
        ),
        (
            {"data_elements": [row(interval=...)]},
            "Data elements to push, stock on hand: Interval is missing.",
        ),
        ({"data_elements": [row(active=...)]}, "Data elements to push, stock on hand: Active is missing."),
        ({"data_elements": [row(metric=...)]}, "Data elements to push, row 1: Metric is missing."),
        ({"data_elements": [row(), row(metric="sohn")]}, "Data elements to push, row 2: Metric is 'sohn'."),
        (
            {"data_elements": [row(category_option_id=...)]},
            (
                "Data elements to push, stock on hand: Category option ID is missing; "
                "Setup is 'Using category option combo'. "
            ),
        ),
        (
            {"data_elements": [row(category_option_id="SOH")]},
            "Data elements to push, stock on hand: Category option ID is 'SOH', which is not a UID",
        ),
        (
            {"setup": "data_element_per_item", "data_elements": [row(custom_field_name="")]},
            (
                "Data elements to push, stock on hand: Custom field name is missing; "
                "Setup is 'Different data elements per item'. "
            ),
        ),
        (
            {"data_element_id_scheme": "uid", "data_elements": [row(prefix="SOH_")]},
            "Data elements to push, stock on hand: Prefix is 'SOH_', but Data element ID scheme is 'uid'",
        ),
        (
            {"data_elements": [row(prefix=False)]},
            "Data elements to push, stock on hand: Prefix is read as false, not as text",
        ),
        (
            {"setup": "single_data_element", "data_elements": [row(), row(metric="issued")]},
            (
                "Data elements to push has 2 active rows (stock on hand, issued), not one; "
                "Setup is 'Push only 1 data element'. "
            ),
        ),
        (
            {"data_elements": [row(), row(metric="issued")]},
            "Data elements to push, issued: sends the same as row 1 (stock on hand), and would overwrite it in DHIS2. Change Category option ID",
        ),
        (
            {"data_elements": [row(), row(interval="daily")]},
            "Data elements to push, row 2 (stock on hand): sends the same as row 1",
        ),
        (
            {
                "setup": "data_element_per_item",
                "data_elements": [
                    row(custom_field_name="user_field_1"),
                    row(metric="issued", custom_field_name="user_field_1", category_option_id="abcdefghijk"),
                ],
            },
            "Data elements to push, issued: sends the same as row 1 (stock on hand), and would overwrite it in DHIS2. Change Custom field name",
        ),
    ],
)
def test_one_fault_one_place(changes: dict[str, object], beginning: str) -> None:
    fault = fault_of(document(**changes))
    assert fault.startswith(beginning)
    assert fault.endswith(".")


def test_unknown_field_suggestion() -> None:
    assert "Did you mean data_set_id?" in fault_of(document(data_sett_id="x"))
    assert "Did you mean data_set_id?" in fault_of(document(**{"Data set ID": "x"}))
    assert "Did you mean interval?" in fault_of(document(row(intervall="daily")))
    assert "is a field of a row of data_elements. Move it there." in fault_of(document(custom_field_name="x"))
    assert "is a field of the settings. Move it there." in fault_of(document(row(round_off=True)))
    assert "The fields are: use_dhis2, " in fault_of(document(zzz="x"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "use_dhis2: false\nurl: \u201chttps://dhis2.example.org\u201d",
            "Line 2 has a LEFT DOUBLE QUOTATION MARK (U+201C)",
        ),
        ("use_dhis2: false\n\u2018url\u2019: x", "Line 2 has a LEFT SINGLE QUOTATION MARK (U+2018)"),
        ("use_dhis2:\u00a0false", "Line 1 has a NO-BREAK SPACE (U+00A0) where YAML needs a space"),
        ("use_dhis2: false\ndata_elements:\n\u00a0 - metric: issued", "Line 3 has a NO-BREAK SPACE (U+00A0)"),
    ],
)
def test_word_processor_characters(text: str, said: str) -> None:
    assert said in fault_of(text)


def test_harmless_curly_quote() -> None:
    text = "use_dhis2: false # \u201coff\u201d\nstore_field_reference: 'A \u201cB\u201d'"
    assert parse_settings(text).store_field_reference == "A \u201cB\u201d"


def test_tab_words() -> None:
    in_the_tabs_words = """
Use DHIS2: on
Basic authentication: yes
URL: https://dhis2.example.org/hmis
Setup: Using category option combo
Data elements to push:
  - {Metric: Current stock on hand, Active: yes, Category option ID: SOH, Category option combo ID scheme: item codes,
     Interval: First day of the month, Push data basis: Current day}
  - {Metric: AMC, Active: yes, Category option ID: AMC, Category option combo ID scheme: name codes,
     Interval: Last day of the month, Push data basis: Previous month}
Data set ID: BfMAe6Itzgt
Data set ID scheme: UUIDs
Period format: YYYYMM
Item field reference: Custom field user_field_2
Data element ID scheme: Item code
Org unit scheme: Name code
Include in DHIS2 data push: user_field_4
No. of items per payload: 500
"""
    in_ours = """
use_dhis2: true
basic_authentication: true
url: https://dhis2.example.org/hmis
setup: category_option_combo
data_elements:
  - {metric: stock_on_hand, active: true, category_option_id: SOH, category_option_combo_id_scheme: code,
     interval: first_day_of_month, basis: current_day}
  - {metric: average_monthly_consumption, active: true, category_option_id: AMC, category_option_combo_id_scheme: code,
     interval: last_day_of_month, basis: previous_month}
data_set_id: BfMAe6Itzgt
data_set_id_scheme: uid
period_format: YYYYMM
item_field_reference: user_field_2
data_element_id_scheme: code
org_unit_scheme: code
include_field: user_field_4
items_per_payload: 500
"""
    assert parse_settings(in_the_tabs_words) == parse_settings(in_ours)


def test_tab_words_in_faults() -> None:
    settings = parse_settings(
        "use_dhis2: off\nRound off: perhaps\nData elements to push:\n  - {Metric: issued, Push data basis: year}"
    )
    assert [fault.partition(" is ")[0] for fault in settings.misread] == [
        "Data elements to push, issued: Push data basis",
        "Round off",
    ]


def test_other_url_replaces() -> None:
    for name in ("url", "URL"):
        settings = parse_settings(
            f"use_dhis2: off\n{name}: https://a.example.org", url="https://b.example.org"
        )
        assert (settings.url, settings.misread) == ("https://b.example.org", ())


@pytest.mark.parametrize(
    ("words", "setup"),
    [
        ("Using category option combo", Setup.CATEGORY_OPTION_COMBO),
        ("Different data elements per item", Setup.DATA_ELEMENT_PER_ITEM),
        ("Push only 1 data element", Setup.SINGLE_DATA_ELEMENT),
    ],
)
def test_setup_names(words: str, setup: Setup) -> None:
    assert setup.label == words
    assert parse_settings(f"use_dhis2: off\nSetup: {words}").setup is setup


def test_unknown_choice_suggestion() -> None:
    assert "Did you mean months_of_stock? It takes one of: stock_on_hand," in fault_of(
        document(row(metric="months of stok"))
    )


@pytest.mark.parametrize("name", ["password", "Username", "client", "secret"])
def test_credentials_refused(name: str) -> None:
    fault = fault_of(document(**{name: "hunter2"}))
    assert "Secrets Manager only" in fault
    assert "hunter2" not in fault


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("dhis2.example.org", "is not a web address."),
        ("ftp://dhis2.example.org", "is not a web address."),
        ("https://", "is not a web address."),
        ("https:///hmis", "is not a web address."),
        ("https://dhis2.example.org:0", "is not a web address."),
        ("https://dhis2.example.org:https", "is not a web address."),
        ("https://dhis2.example.org:99999", "is not a web address."),
        ("https://[::1", "is not a web address."),
        ("https://dhis2.example.org/a b", "without blanks"),
        (
            "https://dhis2.example.org/hmis/?a=b",
            "Write the address of DHIS2 only: 'https://dhis2.example.org/hmis'",
        ),
        ("https://dhis2.example.org/hmis?", "after a '?' or '#'"),
    ],
)
def test_impossible_url(url: str, part: str) -> None:
    assert part in fault_of(document(url=url))


@pytest.mark.parametrize(
    "url",
    [
        "https://admin:hunter2@x.org",
        "admin:hunter2@x.org",
        "https://admin:hunter2",
        "https://x.org/?p=hunter2",
    ],
)
def test_url_with_password(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(document(url=url))
    assert caught.value.faults[0].startswith("URL ")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_faults_in_tab_order() -> None:
    faults = faults_of(
        """
use_dhis2: on
org_unit_scheme: what
password: x
data_elements:
  - metric: months_of_stock
    active: on
    interval: hourly
  - metric: expierd
    active: on
    prefix: NO
  - metric: issued
    active: off
url: x
setup: category_option_combo
period_format: Weekly
data_set_id: one
data_set_id: two
"""
    )
    assert [fault.split(". ")[0] for fault in faults] == [
        "URL is not a web address",
        (
            "Data elements to push, months of stock: Category option ID is missing; "
            "Setup is 'Using category option combo'"
        ),
        "Data elements to push, months of stock: Interval is 'hourly'",
        "Data elements to push, months of stock: Push data basis is missing",
        "Data elements to push, row 2: Metric is 'expierd'",
        "Data elements to push, row 2: Category option ID is missing; Setup is 'Using category option combo'",
        "Data elements to push, row 2: Interval is missing",
        "Data elements to push, row 2: Push data basis is missing",
        (
            "Data elements to push, row 2: Prefix is read as false, not as text: YAML takes yes, no, on, off, "
            "true and false so"
        ),
        "Data set ID is written more than once (lines 17, 18)",
        "Item field reference is missing; Setup is 'Using category option combo'",
        "Data element ID scheme is missing",
        "Org unit scheme is 'what'",
        "'password' does not belong in the settings: credentials are kept in Secrets Manager only",
    ]


def test_repeated_row_field() -> None:
    text = document().replace('"metric": "stock_on_hand"', '"metric": "issued", "metric": "stock_on_hand"')
    assert (
        fault_of(text) == "Data elements to push, row 1: Metric is written more than once. Keep one of them."
    )


def test_inactive_row() -> None:
    inactive = {"metric": "issued", "active": False}
    parse_settings(document(row(), inactive, inactive | {"prefix": "", "category_option_id": "no uid"}))
    assert "Interval is 'hourly'" in fault_of(document(row(), inactive | {"interval": "hourly"}))


def test_rows_of_one_metric() -> None:
    rows = (
        row(),
        row(category_option_id="abcdefghijk"),
        row(prefix="A_"),
        row(prefix="B_", category_option_combo_id_scheme="code"),
    )
    assert len(parse_settings(document(*rows)).active_rows) == 4


# ----------------------------------------------------------------------------------- periods and warnings


@pytest.mark.parametrize("period_format", ["Weekly", "Daily", "YYYYMMDD", "BiWeekly"])
@pytest.mark.parametrize("metric", ["adjustments", "received", "issued", "days_out_of_stock"])
def test_flows_in_a_shorter_period(metric: str, period_format: str) -> None:
    fault = fault_of(document(row(metric=metric), period_format=period_format))
    assert (
        f"Push data basis is 'previous_month', but Period format '{period_format}' has periods shorter than a"
        in fault
    )
    settings = parse_settings(document(row(metric=metric, basis="current_day"), period_format=period_format))
    assert settings.warnings() == ()


def test_stock_in_a_shorter_period() -> None:
    (warning,) = parse_settings(document(period_format="Weekly")).warnings()
    assert warning.startswith(
        "Data elements to push, stock on hand: Push data basis is 'previous_month', but Period format"
    )


def test_months_without_flows() -> None:
    of_past = row(basis="previous_month", interval="monthly")
    assert parse_settings(document(of_past, restate_months=2)).warnings() == ()
    for other in (
        row(basis="current_day", interval="monthly"),
        row(basis="previous_month", interval="daily"),
    ):
        (warning,) = parse_settings(document(other, restate_months=2)).warnings()
        assert "Restate months is 2, but no active row has the interval 'monthly'" in warning


def test_pattern_without_month() -> None:
    (warning,) = parse_settings(document(period_format="YYYY")).warnings()
    assert "has no month (MM)" in warning
    assert parse_settings(document(row(basis="current_day"), period_format="YYYY")).warnings() == ()
    for period_format in ("Yearly", "Quarterly", "Monthly", "YYYY-MM"):
        assert parse_settings(document(period_format=period_format)).warnings() == ()


def test_unencrypted_url() -> None:
    (warning,) = parse_settings(document(url="http://dhis2.example.org")).warnings()
    assert warning.startswith("NOT SAFE: URL begins with http://")
    assert parse_settings(document(url="http://localhost:8080")).warnings() == ()


def test_large_payloads() -> None:
    (warning,) = parse_settings(document(items_per_payload=5001)).warnings()
    assert warning.startswith("No. of items per payload is 5001")


def test_unused_fields() -> None:
    (per_item,) = parse_settings(
        document(row(custom_field_name="user_field_1"), setup="data_element_per_item")
    ).warnings()
    assert per_item == (
        "Item field reference and Category option ID: filled in but not used; "
        "Setup is 'Different data elements per item'."
    )


# ----------------------------------------------------------------------------------------- the certificate


@pytest.fixture(scope="module")
def certificate() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


CERTIFICATES = {
    "database_ca_certificate": "Database CA certificate",
    "dhis2_ca_certificate": "DHIS2 CA certificate",
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificate_kept(certificate: str, name: str) -> None:
    settings = parse_settings(yaml.safe_dump(COMPLETE | {name: certificate}))
    assert getattr(settings, name) == certificate.strip()
    both = parse_settings(yaml.safe_dump(COMPLETE | {name: certificate + certificate}))
    assert getattr(both, name) is not None


@pytest.mark.parametrize(("name", "title"), CERTIFICATES.items())
@pytest.mark.parametrize("text", ["x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "é"])
def test_not_a_certificate(text: str, name: str, title: str) -> None:
    fault = fault_of(yaml.safe_dump(COMPLETE | {name: text}))
    assert fault.startswith(f"{title} is not a certificate.")


def test_private_key_refused() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n-----END PRIVATE KEY-----"
    fault = fault_of(document(database_ca_certificate=key))
    assert "private key" in fault
    assert "MIGHAgEA" not in fault


# --------------------------------------------------------------------------------------------------- schema


def test_committed_schema() -> None:
    assert json.loads((PROJECT / "settings.schema.json").read_text(encoding="utf-8")) == json_schema()


def test_sample() -> None:
    text = (PROJECT / "settings.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=settings.schema.json\n")
    # As it is, with its comments, `aws ssm put-parameter` takes it.
    assert len(text.encode()) <= 4096
    settings = parse_settings(text)
    assert {only.metric for only in settings.active_rows} == set(Metric)
    assert settings.setup is Setup.DATA_ELEMENT_PER_ITEM
    assert settings.warnings() == ()
    jsonschema.Draft7Validator(json_schema()).validate(yaml.safe_load(text))


def test_schema_is_valid() -> None:
    jsonschema.Draft7Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    "changes",
    [
        {"foo": 1},
        {"url": ...},
        {"use_dhis2": ...},
        {"items_per_payload": 0},
        {"setup": "x"},
        {"item_field_reference": ...},
        {"data_elements": [row(metric="x")]},
        {"data_elements": [row(active=...)]},
        {"data_elements": [row(interval=...)]},
        {"data_elements": [row(category_option_id=...)]},
        {"data_elements": [row()], "setup": "data_element_per_item"},
    ],
)
def test_schema_refuses_the_same(changes: dict[str, object]) -> None:
    validator = jsonschema.Draft7Validator(json_schema())
    assert validator.is_valid(json.loads(document()))
    assert not validator.is_valid(json.loads(document(**changes)))
    faults_of(document(**changes))


def test_schema_when_off() -> None:
    jsonschema.Draft7Validator(json_schema()).validate({"use_dhis2": False})


def test_schema_descriptions() -> None:
    schema = json_schema()
    fields = [*schema["properties"].values(), *schema["$defs"]["DataElementRow"]["properties"].values()]
    assert all(field["title"] and field["description"].endswith(".") for field in fields)


# ------------------------------------------------------------------------------------------------- laws

TITLES = ["URL", "Round off", "Data set ID", "Data elements to push", "Metric", "Push data basis", "Interval"]
NAMES = st.sampled_from([*Settings.model_fields, *ROW, "prefix", "password", "metrics", *TITLES]) | st.text(
    max_size=5
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(codec=None), max_size=20)
    | st.sampled_from(["code", "uid", "monthly", "https://x.org", "YYYYMM", "lyLU2wR22tC", "universal_code"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=20,
)
CHANGED = st.dictionaries(NAMES, VALUES | st.lists(st.just(ROW) | VALUES, max_size=4), max_size=6).map(
    lambda changes: COMPLETE | changes
)


def settings_or_faults(text: str) -> Settings | None:
    try:
        return parse_settings(text)
    except SettingsError as error:
        faults = error.faults
    assert faults
    assert len(set(faults)) == len(faults)
    for fault in faults:
        assert fault.endswith((".", "?"))
        # The words of the machinery that checks are not the user's.
        for foreign in (
            "pydantic",
            "Input should",
            "validation error",
            "Value error",
            "Traceback",
            "NoneType",
        ):
            assert foreign not in fault
    return None


@given(VALUES | CHANGED)
def test_any_json(value: object) -> None:
    settings = settings_or_faults(json.dumps(value))
    if settings is not None:
        settings.warnings()
        settings.complete_faults()
        assert parse_settings(settings.compact()).compact() == settings.compact()


@given(VALUES | CHANGED)
def test_any_yaml(value: object) -> None:
    settings_or_faults(yaml.safe_dump(value, allow_unicode=True))


@given(st.text(alphabet=st.sampled_from("use_dhis2: on\n\t-[]{},'\"&*!|>%@`#?~0a\\\x00é\ud800")))
def test_any_text(text: str) -> None:
    settings_or_faults(text)


@given(st.sampled_from([name for name in COMPLETE if name != "use_dhis2"]), st.booleans())
def test_missing_fields_when_off(name: str, on: bool) -> None:  # noqa: FBT001 - drawn
    text = document(**{"use_dhis2": on, name: ...})
    faults = faults_of(text) if on else parse_settings(text).complete_faults()
    assert len(faults) == 1


def test_deletes_need_delta() -> None:
    with pytest.raises(SettingsError, match=r"Delete vanished values is on, but Only changes is off"):
        parse_settings(document(row(), delete_vanished=True))

    settings = parse_settings(document(row(), delete_vanished=True, only_changes=True))
    assert settings.delete_vanished
