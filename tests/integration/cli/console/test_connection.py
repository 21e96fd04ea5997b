"""Test connection as a page: it tries what was typed, and keeps what DHIS2 lets in."""

import csv
import io
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from msupply_dhis2.settings import parse_settings
from sandbox.dhis2 import StandIn
from tests.integration.cli.console.conftest import PASSWORD, SCRIPT
from tests.support.console import Browser, Page, browser

LOGIN = {"login.username": "pusher", "login.password": PASSWORD}


def at(settings: Path, sample: str, dhis2: StandIn) -> Browser:
    return browser(settings, sample, dhis2_url=dhis2.url, time_zone="Pacific/Auckland")


def tried(officer: Browser, **typed: str | None) -> Page:
    officer.submit(officer.open("/tab"), "/tab", action="test", **typed)
    return officer.wait("/connection")


def test_not_tested_yet(officer: Browser) -> None:
    assert "Type the login in the DHIS2 tab, and press Test connection" in officer.open("/connection").text


def test_no_login(officer: Browser) -> None:
    page = tried(officer)
    assert "The console has no login of DHIS2. Type it in the DHIS2 tab" in page.text
    assert "Authentication failed" not in page.text


def test_accepted_login(settings: Path, sample: str, dhis2: StandIn) -> None:
    officer = at(settings, sample, dhis2)
    page = tried(officer, **LOGIN)
    assert "Connection successful" in page.text
    assert "(Pacific/Auckland)" in page.text
    tab = officer.open("/tab")
    assert "The console knows the login of pusher, until it ends." in tab.text
    assert "Last test: Connection successful, 20" in tab.text
    assert not any(PASSWORD in shown.source for shown in (page, tab))
    assert PASSWORD not in settings.read_text()
    officer.submit(page, "/connection")
    assert "Connection successful" in officer.wait("/connection").text


def test_typed_login_is_saved(settings: Path, sample: str, dhis2: StandIn) -> None:
    officer = at(settings, sample, dhis2)
    page = tried(officer, items_per_payload="321", **LOGIN)
    assert "What you typed is saved in" in page.text
    assert parse_settings(settings.read_text()).items_per_payload == 321


def test_refused_login(settings: Path, sample: str, dhis2: StandIn) -> None:
    officer = at(settings, sample, dhis2)
    tried(officer, **LOGIN)
    page = tried(officer, items_per_payload="321", **{**LOGIN, "login.password": "another-secret"})
    assert "Authentication failed" in page.text
    assert "another-secret" not in page.source
    assert parse_settings(settings.read_text()).items_per_payload == 1000
    assert officer.state.login
    assert PASSWORD in officer.state.login.text
    page = officer.submit(page, "/connection/save")
    assert parse_settings(settings.read_text()).items_per_payload == 321
    assert officer.state.login
    assert "another-secret" in officer.state.login.text


def test_no_connection(settings: Path, sample: str) -> None:
    page = tried(browser(settings, sample, dhis2_url="http://127.0.0.1:9"), **LOGIN)
    assert "Authentication failed" not in page.text
    assert "127.0.0.1" in page.text


def test_faults_first(settings: Path, sample: str, dhis2: StandIn) -> None:
    officer = at(settings, sample, dhis2)
    page = tried(officer, data_set_id="ANOTHER", **LOGIN)
    assert "Connection successful" in page.text
    wrong, well = page.text.index("Not well ("), page.text.index(" Well (")
    assert wrong < page.text.index("data set DHIS2 has no data set") < well
    assert "What you typed is saved in" in page.text


def test_table_of_checks(with_login: Callable[[], Browser]) -> None:
    officer = with_login()
    officer.submit(officer.open("/connection"), "/connection")
    officer.wait("/connection")
    text = officer.client.get("/connection/checks.csv").text.removeprefix("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["check"] for row in rows} >= {"login", "database", "stores", "items"}
    assert {row["outcome"] for row in rows} <= {"well", "note", "not well"}


def test_script_as_name(with_login: Callable[[], Browser]) -> None:
    officer = with_login()
    officer.submit(officer.open("/connection"), "/connection")
    assert SCRIPT not in officer.wait("/connection").source


def test_what_dhis2_has_is_offered(settings: Path, sample: str, dhis2: StandIn) -> None:
    officer = at(settings, sample, dhis2)
    assert "<datalist" not in officer.open("/tab").source
    tried(officer, **LOGIN)
    chosen = parse_settings(settings.read_text()).data_set_id
    page = officer.submit(officer.open("/tab"), "/tab", action="check", setup="category_option_combo").source
    lists = {
        part.partition('"')[0]: part.partition("</datalist>")[0] for part in page.split('<datalist id="')[1:]
    }
    assert f'value="{chosen}" list="offered-data_set_id"' in page
    assert f'<option value="{chosen}">' in lists["offered-data_set_id"]
    assert '<option value="Monthly">' in lists["offered-period_format"]
    row = r'name="data_elements\.0\.category_option_id"[^>]* list="(offered-category_option_id-(?:uid|code))"'
    offered = re.search(row, page)
    assert offered
    assert '<option value="' in lists[offered[1]]


def test_firewall_only_where_nothing_answers(settings: Path, sample: str, dhis2: StandIn) -> None:
    hint = "A firewall of DHIS2 must admit the public address of your network"
    assert hint in tried(browser(settings, sample, dhis2_url="http://127.0.0.1:9"), **LOGIN).text
    refused = tried(at(settings, sample, dhis2), **{**LOGIN, "login.password": "another-secret"})
    assert hint not in refused.text
    assert hint not in tried(at(settings, sample, dhis2), **LOGIN).text


def test_unmatched_both_ways_as_csv(settings: Path, sample: str, dhis2: StandIn, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    shutil.copy(sample.removeprefix("sqlite:///"), other)
    with closing(sqlite3.connect(other)) as database, database:
        database.execute(
            "UPDATE item SET universal_code = 'nothing-like-it' WHERE id = (SELECT min(id) FROM item)"
        )
    officer = at(settings, f"sqlite:///{other}", dhis2)
    page = tried(officer, **LOGIN)
    assert "/connection/checks.csv?of=matching" in page.links
    answer = officer.client.get("/connection/checks.csv?of=matching")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert {"items", "data elements without an item"} <= {row["check"] for row in rows}
    assert "login" not in {row["check"] for row in rows}
