"""What stands above every page: which systems these are, and whether they are for testing."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.console import Browser, Page, browser


def head(page: Page) -> str:
    return page.source.partition("<header")[2].partition("<nav")[0]


@pytest.mark.parametrize(
    ("setting", "kind", "word"),
    [("", "production", "Production"), ("test_server: true\n", "test", "Test")],
    ids=["nothing said", "test server"],
)
def test_colour_and_word(settings: Path, setting: str, kind: str, word: str) -> None:
    settings.write_text(settings.read_text() + setting)
    above = head(browser(settings).open("/tab"))
    assert above.startswith(f' class="{kind}">')
    assert f'<p class="kind">{word}</p>' in above


def test_neither_without_an_address(tmp_path: Path) -> None:
    above = head(browser(tmp_path / "new.yaml").open("/tab"))
    assert "Production" not in above
    assert "Test</p>" not in above


def test_titles_after_a_test(with_login: Callable[[], Browser]) -> None:
    officer = with_login()
    above = head(officer.open("/tab"))
    assert re.search(r"<dd>127\.0\.0\.1:\d+</dd>", above)
    assert "<dd>MSUPPLY_STOCK</dd>" in above
    officer.client.post("/connection")
    officer.wait("/connection")
    above = head(officer.open("/explain"))
    assert re.search(r"<dd>DHIS 2, 2\.41[.\d]*, 127\.0\.0\.1:\d+</dd>", above)
    assert re.search(r"<dd>[^<]+ \(MSUPPLY_STOCK\)</dd>", above)
