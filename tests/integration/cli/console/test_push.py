"""Manual push data as a page: a sentence, then its button, then what became of each value."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

from sandbox.dhis2 import FaultKind, StandIn
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


def test_one_store_by_default(with_login: Callable[[], Browser]) -> None:
    officer = with_login()
    page = officer.open("/push")
    assert "all_stores" not in page.form("/push/plan").values
    officer.submit(page, "/push/plan", basis="previous_month", as_of=AS_OF)
    page = officer.wait("/push")
    assert re.search(r"Send \d+ values of the store .+ for 202609", page.text)
    sent(officer, page)
    assert officer.open("/push").form("/push/plan").values["all_stores"] == "true"


def test_stopped_and_the_rest_sent(with_login: Callable[[], Browser], dhis2: StandIn) -> None:
    officer = with_login()
    settings = officer.state.settings_file
    settings.write_text(settings.read_text().replace("items_per_payload: 1000", "items_per_payload: 10"))
    page = looked_at(officer)
    dhis2.faults.next(FaultKind.DELAY, times=None, method="POST", seconds=0.1)
    officer.submit(page, "/push/send")
    pages = (officer.open("/push") for _ in range(1_000))
    page = next(page for page in pages if re.search("stored [1-9]", page.text))
    assert re.search(r"\d+ of \d+ values", page.text)
    officer.submit(page, "/push/stop")
    page = officer.wait("/push")
    dhis2.faults.clear()
    told = re.search(r"stored (\d+) unchanged: .* not sent: the [^0-9]+ (\d+) all (\d+)", page.text)
    assert told, page.text
    there, left, everything = map(int, told.groups())
    assert there + left == everything
    assert 0 < there < everything
    assert "The run was stopped. DHIS2 keeps what it has." in page.text
    assert f"Send the {left} values that were not sent" in page.text
    officer.client.post("/push/plan", data=page.forms[0].values)
    assert f"{left} new, {there} the same." in officer.wait("/push").text


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
    assert re.search(rf"Send \d+ values of the store {store} for 202609", officer.wait("/push").text)


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


def test_runs_here(with_login: Callable[[], Browser]) -> None:
    officer = with_login()
    assert "Only a stack sends by itself" in officer.open("/runs").text
    assert "Only a stack keeps what could not be delivered." in officer.open("/not-delivered").text
    assert officer.open("/runs/push-1").status == 404
    assert officer.client.get("/runs/refused.csv?id=push-1").status_code == 400
    sent(officer, looked_at(officer))
    run = officer.open(next(link for link in officer.open("/runs").links if link.startswith("/runs/push")))
    assert re.search(r"Ended: complete. (\d+) values: \1 stored\. .* all \1", run.text)
    calls = officer.open(next(link for link in run.links if link.startswith("/runs/calls?")))
    assert "POST /api/dataValueSets 200 imported" in calls.text
    assert PASSWORD not in calls.source


def test_failed_push_among_the_runs(with_login: Callable[[], Browser], dhis2: StandIn) -> None:
    officer = with_login()
    page = looked_at(officer)
    dhis2.faults.next(FaultKind.STATUS, times=None, status=503)
    sent(officer, page)
    text = officer.open("/runs").text
    assert re.search(r"failed (\d+) values: \1 not sent", text), text
