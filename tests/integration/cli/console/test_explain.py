"""Explain a value as a page: its formula, the stock over time, and the movements."""

import re
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
