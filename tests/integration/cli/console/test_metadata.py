"""Set DHIS2 up as a page: the plan, its files, and the import by a login that is typed for it."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.dhis2 import StandIn, User, stock_metadata
from tests.integration.cli.console.conftest import PASSWORD, SCRIPT
from tests.support.console import Browser, Page, browser

CHIEF = {"login.username": "chief", "login.password": PASSWORD}


@pytest.fixture
def empty() -> Iterator[StandIn]:
    """Yield a DHIS2 in which nothing is set up but one org unit."""
    users = [
        User(username="chief", password=PASSWORD),
        User(username="reader", password=PASSWORD, authorities=()),
    ]
    metadata = stock_metadata([("OU_OTHER", "Other")], [], []).model_copy(update={"data_sets": ()})
    with StandIn(metadata, version="2.43", users=users) as server:
        yield server


@pytest.fixture
def officer(settings: Path, sample: str, empty: StandIn) -> Browser:
    settings.write_text(settings.read_text().replace("STOCK_ATTRIBUTE", "MSUPPLY_STOCK"))
    return browser(settings, sample, dhis2_url=empty.url)


def planned(officer: Browser, **typed: str | None) -> Page:
    officer.submit(officer.open("/metadata"), "/metadata/plan", **typed)
    return officer.wait("/metadata")


def imported(officer: Browser, page: Page, empty: StandIn, **typed: str | None) -> Page:
    name = {"name": empty.url.removeprefix("http://")}
    said = officer.submit(page, "/metadata/apply", **{**name, **CHIEF, **typed})
    return said if said.status != 200 or "alert" in said.source else officer.wait("/metadata")


def test_a_plan_without_a_login(officer: Browser, empty: StandIn) -> None:
    page = planned(officer)
    assert "DHIS2 was not asked" in page.text
    assert "4 items x 12 metrics" in page.text
    assert not empty.metadata.data_sets


def test_the_files(officer: Browser) -> None:
    assert "There is no plan yet." in officer.open("/metadata/files.zip").text
    planned(officer, access="true", **CHIEF)
    packed = zipfile.ZipFile(io.BytesIO(officer.client.get("/metadata/files.zip").content))
    assert {"dhis2-plan/0-access.json", "dhis2-plan/plan.html", "dhis2-plan/settings.yaml"} <= set(
        packed.namelist()
    )
    data_set = json.loads(packed.read("dhis2-plan/1-metadata.json"))["dataSets"][0]
    assert data_set["sharing"]["public"] == "--------"
    # It is a name in the database.
    assert SCRIPT.encode() not in packed.read("dhis2-plan/plan.html")


def test_an_import(officer: Browser, empty: StandIn) -> None:
    page = planned(officer, **CHIEF)
    page = imported(officer, page, empty, zeros="true", periods="true")
    assert "DHIS2 has all" in page.text
    assert "Zeros are in analytics from the next time" in page.text
    assert "Output period types that were added: Monthly, Quarterly, Yearly." in page.text
    assert len(empty.metadata.data_sets) == 1
    # Of the sample's stores this DHIS2 has no org unit.
    assert "DHIS2 has no org unit" in page.text
    assert not any(action == "/metadata/apply" for action in (form.action for form in page.forms))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"name": "dhis2.example.org"}, "Nothing was changed."),
        ({"login.username": None, "login.password": None}, "Type the login of an administrator"),
        ({"plan": "another"}, "Another plan was made meanwhile."),
    ],
)
def test_nothing_is_changed(
    officer: Browser, empty: StandIn, typed: dict[str, str | None], said: str
) -> None:
    page = imported(officer, planned(officer, **CHIEF), empty, **typed)
    assert said in page.text
    assert not empty.metadata.data_sets


def test_who_may_not_is_told_what_to_do(officer: Browser, empty: StandIn) -> None:
    page = imported(officer, planned(officer, **CHIEF), empty, **{"login.username": "reader"})
    assert "E3000" in page.text
    assert "Ask whoever runs DHIS2 for the authority to add it" in page.text
    # The plan is still there: another login may be tried.
    assert page.form("/metadata/apply")


def test_no_login_is_kept(officer: Browser, empty: StandIn) -> None:
    page = imported(officer, planned(officer, **CHIEF), empty)
    assert officer.state.login is None
    assert PASSWORD not in page.source
    assert PASSWORD not in repr(officer.state.metadata)
