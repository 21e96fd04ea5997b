"""The DHIS2 tab as a page: its fields, their faults, and what saving changes."""

from pathlib import Path

import pytest

from cli.console.tab import Draft, as_yaml
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.settings.model import written_fields
from tests.support.console import Page, browser
from tests.support.paths import PROJECT

SCRIPT = "<script>alert(1)</script>"
WORKED = [PROJECT / "settings.yaml", *sorted((PROJECT / "docs" / "examples").glob("*.yaml"))]


@pytest.mark.parametrize("worked", WORKED, ids=lambda worked: worked.stem)
def test_unchanged_submit(tmp_path: Path, worked: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(worked.read_text(encoding="utf-8"))
    officer = browser(file)
    page = officer.submit(officer.open("/tab"), "/tab", action="review")
    assert "There is nothing to save." in page.text
    document = page.form("/tab/save").values["document"]
    assert parse_settings(document) == parse_settings(file.read_text())


def test_several_lines_stay(settings: Path) -> None:
    with settings.open("a") as file:
        file.write("database_ca_certificate: |\n  -----BEGIN CERTIFICATE-----\n  MIIB\n")
    officer = browser(settings)
    page = officer.submit(officer.open("/tab"), "/tab", action="review")
    assert "Nothing differs from" in page.text


def test_order_and_words(settings: Path) -> None:
    text = browser(settings).open("/tab").text
    titles = [
        *("Use DHIS2", "Basic authentication", "URL", "Setup", "Data elements to push", "Active", "Interval"),
        *(
            "Push data basis",
            "Prefix",
            "Data set ID",
            "Data set ID scheme",
            "Period format",
            "Item field reference",
        ),
        *(
            "Data element ID scheme",
            "Org unit scheme",
            "Store field reference",
            "Round off",
            "No. of items per payload",
        ),
    ]
    text = text[text.index("The settings are complete.") :]
    places = [text.index(f" {title} ") for title in titles]
    assert places == sorted(places)


def test_words_of_choices(settings: Path) -> None:
    content = browser(settings).open("/tab").source
    assert ">user_field_6</option>" in content, "names of fields of mSupply are their own words"
    assert ">Push only 1 data element</option>" in content


def test_fault_under_its_field(settings: Path) -> None:
    officer = browser(settings)
    page = officer.submit(
        officer.open("/tab"),
        "/tab",
        action="check",
        **{"items_per_payload": "many", "data_elements.2.prefix": "ADJ_", "data_element_id_scheme": "uid"},
    )
    under = page.source.partition('id="fault-items_per_payload">')[2].partition("</p>")[0]
    assert under.startswith("No. of items per payload is &#39;many&#39;. Write a whole number.")
    under = page.source.partition('id="fault-data_elements-2-prefix">')[2].partition("</p>")[0]
    assert under.startswith(
        "Data elements to push, adjustments: Prefix is &#39;ADJ_&#39;, but Data element ID scheme"
    )
    assert page.form("/tab").values["items_per_payload"] == "many"


def test_difference_before_saving(settings: Path) -> None:
    before = settings.read_text()
    officer = browser(settings)
    page = officer.submit(
        officer.open("/tab"),
        "/tab",
        action="review",
        **{"round_off": "true", "data_set_id": "0123", "data_elements.0.active": None},
    )
    assert "Data set ID MSUPPLY_STOCK 0123 Round off off on stock on hand: Active on off" in page.text
    assert "The comments between the fields" in page.text
    assert settings.read_text() == before
    page = officer.submit(page, "/tab/save")
    assert "The settings are saved in" in page.text
    saved = parse_settings(settings.read_text())
    assert (saved.round_off, saved.data_set_id, len(saved.active_rows)) == (True, "0123", len(Metric) - 1)
    assert settings.read_text().startswith("# yaml-language-server:")
    assert settings.with_name("settings.yaml.before").read_text() == before
    assert settings.with_name("settings.yaml.new").exists() is False


def test_two_officers(settings: Path) -> None:
    first, second = browser(settings), browser(settings)
    pages = [
        officer.submit(officer.open("/tab"), "/tab", action="review", items_per_payload=number)
        for officer, number in ((first, "500"), (second, "900"))
    ]
    assert first.submit(pages[0], "/tab/save").status == 200
    refused = second.submit(pages[1], "/tab/save")
    assert refused.status == 400
    assert (
        "Somebody saved the settings after you opened this page. Nothing of yours was saved." in refused.text
    )
    assert parse_settings(settings.read_text()).items_per_payload == 500


def test_faulty_is_not_saved(settings: Path) -> None:
    before = settings.read_text()
    officer = browser(settings)
    page = officer.submit(officer.open("/tab"), "/tab", action="review", data_set_id="")
    assert "This cannot be saved while Use DHIS2 is on." in page.text
    assert "Save these settings" not in page.text
    officer.submit(page, "/tab/save")
    assert settings.read_text() == before
    page = officer.submit(page, "/tab/save", at="/tab/edit")
    assert page.form("/tab").values["data_set_id"] == ""
    page = officer.submit(page, "/tab", action="review", use_dhis2=None)
    assert "Save these settings" in page.text
    assert officer.submit(page, "/tab/save").status == 200
    assert parse_settings(settings.read_text()).use_dhis2 is False


def test_unreadable_is_not_saved(settings: Path) -> None:
    officer = browser(settings)
    page = officer.submit(
        officer.open("/tab"), "/tab", action="review", use_dhis2=None, items_per_payload="many"
    )
    assert "This cannot be saved, because a part of it cannot be read." in page.text
    assert "Save these settings" not in page.text


def test_added_row(settings: Path) -> None:
    officer = browser(settings)
    page = officer.submit(officer.open("/tab"), "/tab", action="add_row", new_metric="issued")
    added = f"data_elements.{len(Metric)}."
    assert page.form("/tab").values[f"{added}metric"] == "issued"
    assert f"Data elements to push, row {len(Metric) + 1} (issued): Interval is missing." in page.text
    row = {"custom_field_name": "universal_code", "prefix": "ISSUED_NOW_"}
    row |= {"interval": "daily", "basis": "current_day"}
    page = officer.submit(
        page, "/tab", action="review", **{f"{added}{name}": value for name, value in row.items()}
    )
    officer.submit(page, "/tab/save")
    assert [row.metric.value for row in parse_settings(settings.read_text()).active_rows].count("issued") == 2


def test_fields_of_setup(settings: Path) -> None:
    officer = browser(settings)
    assert "Category option ID" not in officer.open("/tab").text
    empty = {f"data_elements.{row}.custom_field_name": "" for row in range(len(Metric))}
    page = officer.submit(
        officer.open("/tab"), "/tab", action="check", setup="category_option_combo", **empty
    )
    assert "Category option ID" in page.text
    assert "stock on hand: Custom field name" not in page.text


def test_new_file(tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    officer = browser(file)
    page = officer.open("/tab")
    assert "does not exist. Fill in the fields and press Save" in page.text
    assert (
        "Use DHIS2 is off, so nothing is sent. Before it can be on, and for a preview: URL is missing."
        in page.text
    )
    page = officer.submit(page, "/tab", action="review", url="https://dhis2.example.org")
    assert "The settings are saved in" in officer.submit(page, "/tab/save").text
    assert written_fields(file.read_text()) == {"use_dhis2": False, "url": "https://dhis2.example.org"}


def test_yaml_in_and_out(settings: Path) -> None:
    officer = browser(settings)
    answer = officer.client.get("/tab/settings.yaml")
    assert answer.text == settings.read_text()
    version = officer.open("/tab").form("/tab/review").values["version"]
    file = {"document": ("my.yaml", answer.text.replace("items_per_payload: 1000", "items_per_payload: 250"))}
    answer = officer.client.post("/tab/review", data={"version": version}, files=file)
    page = Page(answer.status_code, answer.text)
    assert "No. of items per payload 1000 250" in page.text
    officer.submit(page, "/tab/save")
    assert "items_per_payload: 250" in settings.read_text()
    assert "# With port and path if it has them." in settings.read_text()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"use_dhis2: [", "The settings document cannot be read as YAML: line"),
        (b"caf\xe9: 1", "The file is not text in UTF-8."),
    ],
)
def test_unreadable_file(settings: Path, content: bytes, said: str) -> None:
    officer = browser(settings)
    answer = officer.client.post(
        "/tab/review", data={"version": ""}, files={"document": ("my.yaml", content)}
    )
    assert answer.status_code == 400
    assert said in answer.text


def test_script_in_a_field(settings: Path) -> None:
    officer = browser(settings)
    changes = {"data_set_id": SCRIPT, "data_elements.0.category_option_id": f'"{SCRIPT}'}
    page = officer.submit(officer.open("/tab"), "/tab", action="check", **changes)
    assert SCRIPT not in page.source
    assert page.form("/tab").values["data_set_id"] == SCRIPT
    page = officer.submit(page, "/tab", action="review")
    assert SCRIPT not in page.source


@pytest.mark.parametrize(
    "text", ["0123", "yes", "1_000", "a: b", "# no comment", "two\nlines\n", " SOH ", "1", "é", "~"]
)
def test_round_trip(text: str) -> None:
    assert written_fields(as_yaml({"use_dhis2": True, "data_set_id": text}))["data_set_id"] == text


def test_unknown_field(settings: Path) -> None:
    settings.write_text(settings.read_text() + "period_fromat: x\n")
    officer = browser(settings)
    page = officer.open("/tab")
    assert "Did you mean period_format?" in page.text
    page = officer.submit(page, "/tab", action="review")
    assert "period_fromat x (empty)" in page.text
    assert Draft(page.form("/tab/save").values["document"]).faults == ()
