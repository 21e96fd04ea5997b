"""The preview as a page: every value, sums, what is not sent, pages, and a table for a spreadsheet."""

import csv
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from cli.console import preview_page
from cli.console.preview_page import event_of
from sandbox.dhis2 import StandIn
from tests.integration.cli.console.conftest import AS_OF, SCRIPT
from tests.support.console import Browser, Page


def computed(officer: Browser, **choices: str) -> Page:
    officer.submit(officer.open("/preview"), "/preview", as_of=AS_OF, **choices)
    return officer.wait("/preview")


def rows(officer: Browser, query: str = "") -> list[dict[str, str]]:
    text = officer.client.get(f"/preview/values.csv?{query}").text.removeprefix("\ufeff")
    return list(csv.DictReader(io.StringIO(text)))


def test_no_preview_yet(officer: Browser) -> None:
    assert "Choose what you want to see, and press Compute." in officer.open("/preview").text
    assert rows(officer) == []


def test_values_and_sums(officer: Browser) -> None:
    page = computed(officer, basis="as_in_settings")
    found = rows(officer)
    assert f"{len(found):,} values found. Page 1 of" in page.text
    assert "(Pacific/Auckland)." in page.text
    received = [Decimal(row["value"]) for row in found if row["metric"] == "received"]
    assert f"received 202609 {len(received):,} 0 0 0 0 {len(received):,} {sum(received):,}" in page.text
    assert "The console has no login of DHIS2." in page.text
    assert "months of stock 202609" in page.text


def test_script_as_store_name(officer: Browser) -> None:
    page = computed(officer)
    assert SCRIPT in {row["store"] for row in rows(officer)}
    assert SCRIPT in officer.open("/preview?words=script").text
    assert SCRIPT not in page.source + officer.open("/preview?words=" + SCRIPT).source


def test_search_sort_page(officer: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_page, "ROWS_A_PAGE", 3)
    computed(officer)
    everything = rows(officer)
    largest = max(everything, key=lambda row: Decimal(row["value"]))
    assert rows(officer, "sort=-value")[0]["value"] == largest["value"]
    only = rows(officer, "metric=issued")
    assert only == [row for row in everything if row["metric"] == "issued"]
    page = officer.open("/preview?metric=issued&sort=-value&page=2")
    assert f"{len(only)} values found. Page 2 of {-(-len(only) // 3)}." in page.text
    assert any("page=3" in link and "sort=-value" in link for link in page.links)
    assert "Page 1 of 1." in officer.open("/preview?words=nobody-is-called-so&page=99").text


def test_limits(officer: Browser) -> None:
    computed(officer)
    item = rows(officer)[0]["item"]
    computed(officer, items=f"  {item}\r\n\r\n", metrics="issued")
    assert {(row["item"], row["metric"]) for row in rows(officer)} == {(item, "issued")}


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"as_of": "yesterday"}, "as_of: 'yesterday' is neither a date"),
        ({"as_of": "2999-01-01"}, "in the future"),
        (
            {"as_of": "", "months": "2026-01", "basis": "current_day"},
            "a month that is over has no current day",
        ),
        ({"as_of": "", "months": "soon"}, "month"),
    ],
)
def test_computation_fault(officer: Browser, choices: dict[str, str], said: str) -> None:
    page = officer.submit(officer.open("/preview"), "/preview", **choices)
    assert page.status == 400
    assert said in page.text


def test_unreadable_database(officer: Browser) -> None:
    computed(officer, stores="Nowhere")
    assert "Nowhere" in officer.wait("/preview").text


def test_values_beside_dhis2(with_login: Callable[[], Browser], dhis2: StandIn) -> None:
    officer = with_login()
    choices = {"basis": "previous_month", "metrics": "issued\nreceived"}
    computed(officer, **choices)
    new = rows(officer)
    assert {row["beside"] for row in new} == {"new"}
    officer.submit(officer.open("/push"), "/push/plan", all_stores="true", as_of=AS_OF, **choices)
    officer.submit(officer.wait("/push"), "/push/send")
    officer.wait("/push")
    key, stored = next(iter(dhis2.values.rows.items()))
    dhis2.values.rows[key] = replace(stored, value="123456")
    page = computed(officer, **choices)
    assert Counter(row["beside"] for row in rows(officer)) == {"the same": len(new) - 1, "changed": 1}
    assert [row["in_dhis2"] for row in rows(officer, "beside=changed")] == ["123456"]
    assert "123,456 (pusher) changed" in officer.open("/preview?beside=changed").text
    assert f"all {len(new)} 0 1 {len(new) - 1} 0 0" in page.text
    different = rows(officer, "own=1&beside=changed")
    assert {row["beside"] for row in different} == {"different"}
    assert all("No rule is known for this metric." in row["rule"] for row in different)


def test_refused_login_is_left(with_login: Callable[[], Browser], dhis2: StandIn) -> None:
    officer = with_login()
    assert officer.state.credentials_file
    officer.state.credentials_file.write_text('{"username": "pusher", "password": "wrong"}')
    computed(officer)
    assert "Authentication failed" in officer.open("/preview").text
    asked = len(dhis2.requests)
    page = computed(officer)
    assert "DHIS2 was not asked, because it refused this login before" in page.text
    assert len(dhis2.requests) == asked


def test_form_is_the_event() -> None:
    form = {
        "basis": "current_day",
        "as_of": " ",
        "months": "",
        "metrics": "issued\nreceived",
        "stores": "A\n\n B ",
    }
    assert event_of(form) == {
        "manual": True,
        "basis": "current_day",
        "metrics": ["issued", "received"],
        "stores": ["A", "B"],
    }
