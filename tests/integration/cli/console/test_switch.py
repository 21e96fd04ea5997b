"""Switching sending on and off is a step of its own, and earlier versions of the settings can be used again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.console.tab import Draft
from msupply_dhis2.settings import parse_settings
from tests.support.console import Browser, browser


@pytest.fixture
def off(settings: Path) -> Path:
    settings.write_text(settings.read_text().replace("use_dhis2: true", "use_dhis2: false"))
    return settings


def test_greyed_while_off(off: Path) -> None:
    officer = browser(off)
    page = officer.open("/tab")
    assert '<fieldset class="all" disabled>' in page.source
    assert "/tab?setup=yes" in page.links
    assert "disabled" not in officer.open("/tab?setup=yes").source
    assert "use_dhis2" not in page.form("/tab").values


def test_not_greyed_while_on(settings: Path) -> None:
    page = browser(settings).open("/tab")
    assert "disabled" not in page.source
    assert page.form("/tab").values["use_dhis2"] == "true"


def test_saving_leaves_it_off(off: Path) -> None:
    officer = browser(off)
    page = officer.submit(
        officer.open("/tab?setup=yes"), "/tab", action="review", use_dhis2="true", round_off="true"
    )
    assert "Use DHIS2" not in page.text
    officer.submit(page, "/tab/save")
    saved = parse_settings(off.read_text())
    assert (saved.use_dhis2, saved.round_off) == (False, True)


def test_a_file_leaves_it_off(off: Path) -> None:
    officer = browser(off)
    text = off.read_text().replace("use_dhis2: false", "use_dhis2: true").replace("1000", "250")
    page = officer.submit(officer.open("/tab"), "/tab/review", document=text)
    officer.submit(page, "/tab/save")
    saved = parse_settings(off.read_text())
    assert (saved.use_dhis2, saved.items_per_payload) == (False, 250)


def test_not_on_before_a_good_test(off: Path) -> None:
    officer = browser(off)
    page = officer.open("/switch")
    assert "It cannot be switched on before a good connection test" in page.text
    assert officer.submit(page, "/switch", action="on").status == 400
    assert parse_settings(off.read_text()).use_dhis2 is False


def test_on_and_off(off: Path, with_login: Callable[[], Browser]) -> None:
    before = off.read_text()
    officer = with_login()
    officer.client.post("/connection")
    officer.wait("/connection")
    page = officer.submit(officer.open("/switch"), "/switch", action="on")
    assert "Use DHIS2 is on" in page.text
    # Its comments stay.
    assert off.read_text() == before.replace("use_dhis2: false", "use_dhis2: true")
    assert "Use DHIS2 is off" in officer.submit(officer.open("/switch"), "/switch", action="off").text
    assert off.read_text() == before


def test_not_on_with_what_was_not_tested(off: Path, with_login: Callable[[], Browser]) -> None:
    officer = with_login()
    officer.client.post("/connection")
    officer.wait("/connection")
    off.write_text(off.read_text().replace("1000", "250"))
    assert "before a good connection test" in officer.open("/switch").text


@pytest.mark.parametrize(
    "document",
    [
        "use_dhis2: false\nround_off: true\n",
        "Use DHIS2: no\n",
        "{use_dhis2: off, round_off: true}",
        '{"use_dhis2": false}',
        "round_off: true\n",
    ],
)
def test_switched(document: str) -> None:
    draft = Draft(document)
    switched = draft.switched(on=True)
    assert switched.settings.use_dhis2 is True
    assert {**switched.written, "use_dhis2": None} == {**draft.written, "use_dhis2": None}
    assert switched.switched(on=False).settings.use_dhis2 is False


def test_former_file_is_used_again(settings: Path) -> None:
    officer = browser(settings)
    page = officer.submit(officer.open("/tab"), "/tab", action="review", items_per_payload="321")
    officer.submit(page, "/tab/save")
    page = officer.open("/tab/history")
    assert "No. of items per payload: 1000 → 321" in page.text
    page = officer.submit(page, "/tab/again")
    assert "No. of items per payload 321 1000" in page.text
    officer.submit(page, "/tab/save")
    assert parse_settings(settings.read_text()).items_per_payload == 1000
