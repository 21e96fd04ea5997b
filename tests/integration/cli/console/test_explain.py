"""Explain a value as a page: its formula, the stock over time, and the movements."""

import re
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import urlencode

from tests.integration.cli.console.conftest import AS_OF, SCRIPT
from tests.support.console import Browser


def test_no_value_chosen(officer: Browser) -> None:
    assert "Name a store, an item and a metric." in officer.open("/explain").text


def test_linked_from_preview(officer: Browser) -> None:
    officer.submit(
        officer.open("/preview"), "/preview", as_of=AS_OF, basis="previous_month", metrics="issued"
    )
    officer.wait("/preview")
    page = officer.open("/preview?sort=-value")
    link = next(link for link in page.links if link.startswith("/explain?"))
    value = max(officer.state.preview.result.preview.values, key=lambda each: Decimal(each.value))  # type: ignore[union-attr]
    page = officer.open(f"{link}&as_of={AS_OF}")
    assert page.status == 200
    assert value.value in page.text
    assert "How it is worked out:" in page.text
    assert "The times are those of Pacific/Auckland." in page.text
    assert "MSUPPLY_STOCK" in page.text
    points = re.search(r'<polyline class="stock" points="([^"]+)"', page.source)
    assert points
    assert all(0 <= float(number) <= 640 for number in re.findall(r"[\d.]+", points[1]))


def test_value_not_found(officer: Browser) -> None:
    page = officer.open("/explain?store=Nowhere&item=Nothing&metric=issued")
    assert "Nowhere" in page.text
    page = officer.open("/explain?store=Nowhere&item=Nothing&metric=nonsense")
    assert page.status == 400
    assert "metric" in page.text
    page = officer.open(f"/explain?{urlencode({'store': SCRIPT + '2', 'item': 'x', 'metric': 'issued'})}")
    assert SCRIPT not in page.source


def test_as_of_the_push(with_login: Callable[[], Browser]) -> None:
    officer = with_login()
    choices = {"basis": "current_day", "as_of": AS_OF, "metrics": "closing_stock", "all_stores": "true"}
    officer.submit(officer.open("/push"), "/push/plan", **choices)
    officer.submit(officer.wait("/push"), "/push/send")
    officer.wait("/push")
    officer.submit(officer.open("/preview"), "/preview", **choices)
    page = officer.wait("/preview")
    value = next(line.value for line in officer.state.preview.result.lines)  # type: ignore[union-attr]
    link = next(link for link in page.links if link.startswith("/explain?"))
    assert "as_of=2026-10-31T22%3A30" in link
    page = officer.open(link)
    assert f"202610: {value.value}." in page.text
    assert f"DHIS2 holds {value.value}, the same: stored by pusher" in page.text
    found = officer.open(next(link for link in page.links if link.startswith("/runs/value?")))
    assert "It is not among the values that are not in DHIS2 (the run: complete)." in found.text
