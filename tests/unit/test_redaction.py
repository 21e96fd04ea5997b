"""Taking secrets out of texts of any length, and what cannot be written."""

import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.redaction import Mask, writable

SECRET = 'dïs\\\\tri"ct&\\ x/+%25\\'

FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent": lambda text: quote(text, safe=""),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "form": lambda text: quote(text, safe="\\").replace("%20", "+"),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "HTML": html.escape,
}


@pytest.mark.parametrize("form", FORMS)
@given(secret=st.text(st.sampled_from('ab\\"&%5c é/+😀'), min_size=1, max_size=12))
def test_every_form(form: str, secret: str) -> None:
    assert Mask([secret]).text(f"<{FORMS[form](secret)}>") == "<***>"


@pytest.mark.parametrize(
    "text",
    ["\\" * 60_000, "%25" * 20_000, "%" + "25" * 30_000, "\\" * 299 + "d" * 60_000, "&amp;" * 12_000],
    ids=["backslashes", "percents", "a percent", "begins like it", "ampersands"],
)
def test_linear_time(text: str) -> None:
    mask = Mask(["district", SECRET, "\\" * 20 + "x", "d" * 40])
    began = time.process_time()
    assert len(mask.text(text)) > 0
    # Linear it takes a second at most; with the square of the length it would be minutes.
    assert time.process_time() - began < 20


@pytest.mark.parametrize("before", range(12))
def test_long_secret(before: int) -> None:
    text = "." * before + "district" * 40
    masked = Mask(["district"]).text(text, 10)
    assert masked == "." * min(before, 10) + "*" * (3 * len(range(before, 10, 8)))


def test_limit() -> None:
    assert Mask([SECRET]).text("ab" * 5_000_000, 3) == "aba"


@pytest.mark.parametrize("text", ["Opua \ud800 x", "\udc00", "\U0001f600 \ud83d"])
def test_half_character(text: str) -> None:
    shown = Mask(["x"]).text(text)
    assert "\ufffd" in shown.encode().decode()
    assert writable(text) == writable(writable(text))
    assert len(writable(text)) == len(text)


@given(st.text())
def test_clean_text(text: str) -> None:
    assert writable(text) == text
