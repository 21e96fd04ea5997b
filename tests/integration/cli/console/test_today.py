"""The first page without a stack: what is known in memory, and where to go on."""

import re
from collections.abc import Callable

from tests.integration.cli.console.conftest import AS_OF
from tests.support.console import Browser, Page


def step(page: Page, name: str) -> str:
    found = re.search(rf"{name} (done|to do) ", page.text.partition("The way to the first push")[2])
    assert found, page.text
    return found[1]


def test_empty(officer: Browser) -> None:
    page = officer.open("/")
    assert page.status == 200
    assert step(page, "mSupply database") == step(page, "Test connection") == "to do"
    assert step(page, "DHIS2 tab") == "done"
    assert "this page knows only what the console did since it started" in page.text
    assert "Nothing was sent yet." in page.text
    assert {"/tab", "/connection", "/preview", "/push"} <= set(page.links)


def test_one_store(with_login: Callable[[], Browser]) -> None:
    officer = with_login()
    officer.client.post("/connection")
    officer.wait("/connection")
    officer.submit(officer.open("/preview"), "/preview", basis="previous_month", as_of=AS_OF)
    officer.wait("/preview")
    store = officer.state.preview.result.lines[-1].value.store  # type: ignore[union-attr]
    officer.submit(officer.open("/push"), "/push/plan", basis="previous_month", as_of=AS_OF, stores=store)
    officer.submit(officer.wait("/push"), "/push/send")
    officer.wait("/push")
    page = officer.open("/")
    assert step(page, "Push one store") == "done"
    assert step(page, "Push all") == "to do"
    assert re.search(r"Last successful connection 20\d\d-\S+ \S+ \(Pacific/Auckland\), as pusher", page.text)
    assert re.search(r"manual (complete|with rejections) (\d+ ){3,}", page.text)
