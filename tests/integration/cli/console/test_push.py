"""Manual push data as a page: a sentence, then its button, then what became of each value."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

from sandbox.dhis2 import StandIn
from tests.integration.cli.console.conftest import AS_OF, PASSWORD
from tests.support.console import Browser, Page


def looked_at(officer: Browser, **choices: str) -> Page:
    given = {"basis": "previous_month", "as_of": AS_OF, "all_stores": "true", **choices}
    officer.submit(officer.open("/push"), "/push/plan", **given)
    return officer.wait("/push")


def sent(officer: Browser, page: Page) -> Page:
    officer.submit(page, "/push/send")
    return officer.wait("/push")


def refused(officer: Browser) -> list[dict[str, str]]:
    text = officer.client.get("/push/refused.csv").text.removeprefix("\ufeff")
    return list(csv.DictReader(io.StringIO(text)))


def test_no_push_yet(officer: Browser) -> None:
    assert "Nothing was sent since the console started. Choose one store" in officer.open("/push").text


def test_all_stores_need_a_tick(officer: Browser) -> None:
    page = officer.submit(officer.open("/push"), "/push/plan")
    assert page.status == 400
    assert "Name a store, or tick All stores." in page.text


def test_announced_then_reported(with_login: Callable[[], Browser], dhis2: StandIn) -> None:
    officer = with_login()
    page = looked_at(officer)
    told = re.search(
        r"Send ([\d,]+) values of \d+ stores for 202609 to 127.0.0.1:\d+, data set MSUPPLY_STOCK: ([\d,]+) new\.",
        page.text,
    )
    assert told, page.text
    assert told[1] == told[2]
    assert f"Send {told[1]} values Cancel" in page.text
    assert not any(request.method == "POST" for request in dhis2.requests)
    page = sent(officer, page)
    assert f"The push of {told[1]} values has ended" in page.text
    assert re.search(rf"stored {told[1]} .* rejected 0 .* all {told[1]}", page.text)
    assert refused(officer) == []
    assert PASSWORD not in page.source


def test_one_store(with_login: Callable[[], Browser]) -> None:
    officer = with_login()
    looked_at(officer)
    store = officer.state.plan.job.result.preview.values[-1].store  # type: ignore[union-attr]
    officer.submit(officer.open("/push"), "/push/send", at="/push/cancel")
    officer.submit(officer.open("/push"), "/push/plan", basis="previous_month", as_of=AS_OF, stores=store)
    assert re.search(r"Send \d+ values of 1 store for 202609", officer.wait("/push").text)


def test_cancel(with_login: Callable[[], Browser], dhis2: StandIn) -> None:
    officer = with_login()
    page = looked_at(officer)
    officer.submit(page, "/push/send", at="/push/cancel")
    assert "Nothing was sent since the console started" in officer.open("/push").text
    answer = officer.submit(page, "/push/send")
    assert answer.status == 400
    assert not any(request.method == "POST" for request in dhis2.requests)
    assert "nothing was sent" in answer.text


def test_refused_value_by_cause(
    with_login: Callable[[], Browser],
) -> None:
    officer = with_login()
    settings = officer.state.settings_file
    right = settings.read_text()
    settings.write_text(right.replace("prefix: ISSUED_", "prefix: NOWHERE_"))
    page = sent(officer, looked_at(officer))
    rows = refused(officer)
    assert rows
    assert {row["metric"] for row in rows} == {"issued"}
    assert f"{len(rows)} values rejected (" in page.text
    assert any(link.startswith("/explain?store=") for link in page.links)
    settings.write_text(right)
    form = next(form for form in page.forms if form.values.get("metrics") == "issued")
    officer.client.post("/push/plan", data=form.values)
    page = officer.wait("/push")
    assert re.search(rf"Send {len(rows)} values of \d stores? for 202609", page.text)
    assert re.search(rf"stored {len(rows)} .* rejected 0", sent(officer, page).text)


def test_sent_while_off(with_login: Callable[[], Browser], settings: Path, dhis2: StandIn) -> None:
    settings.write_text(settings.read_text().replace("use_dhis2: true", "use_dhis2: false"))
    officer = with_login()
    page = looked_at(officer)
    assert "Use DHIS2 is off, so no schedule sends anything. This push sends all the same, once." in page.text
    assert re.search(r"stored [1-9]", sent(officer, page).text)
    assert dhis2.values.rows


def test_no_login(officer: Browser) -> None:
    page = looked_at(officer)
    assert "The console has no login of DHIS2." in page.text
    assert "Cancel" in page.text
    assert "Send " not in page.text


def test_refused_login(with_login: Callable[[], Browser], dhis2: StandIn) -> None:
    officer = with_login()
    page = looked_at(officer)
    credentials = officer.state.credentials_file
    assert credentials
    credentials.write_text('{"username": "pusher", "password": "another-secret"}')
    page = sent(officer, page)
    assert "Authentication failed" in page.text
    assert "has ended" not in page.text
    assert "another-secret" not in page.source
    assert not any(request.method == "POST" for request in dhis2.requests)
