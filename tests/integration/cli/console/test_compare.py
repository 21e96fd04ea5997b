"""One store beside mSupply's own screen: what was sent, what DHIS2 holds, and what the officer has ticked."""

from collections.abc import Callable

from sandbox.dhis2 import StandIn
from tests.integration.cli.console.conftest import AS_OF
from tests.support.console import Browser


def test_nothing_sent(officer: Browser) -> None:
    page = officer.open("/compare")
    assert "After one store was sent." in page.text
    assert "/push" in page.links
    assert officer.submit(page, "/compare").status == 400


def test_ticks(with_login: Callable[[], Browser], dhis2: StandIn) -> None:
    officer = with_login()
    officer.submit(officer.open("/preview"), "/preview", basis="previous_month", as_of=AS_OF)
    officer.wait("/preview")
    store = officer.state.preview.result.lines[-1].value.store  # type: ignore[union-attr]
    officer.submit(officer.open("/push"), "/push/plan", basis="previous_month", as_of=AS_OF, stores=store)
    officer.submit(officer.wait("/push"), "/push/send")
    officer.wait("/push")
    page = officer.open("/compare")
    assert page.form("/compare").values["store"] == store
    officer.submit(page, "/compare")
    page = officer.wait("/compare")
    lines = officer.state.comparison.result.lines  # type: ignore[union-attr]
    assert {line.value.store for line in lines} == {store}
    # As of the same instant: DHIS2 holds what is shown.
    assert dhis2.values.rows
    assert {line.beside for line in lines} == {"same"}
    keys = [line.partition('"')[0] for line in page.source.split('name="same" value="')[1:]]
    assert len(keys) == 10
    officer.client.post("/compare/ticks", data={"same": keys[:9]})
    assert "Open the store in mSupply, and tick each value" in officer.open("/").text
    officer.client.post("/compare/ticks", data={"same": [*keys, "another"]})
    assert "10 values are the same on mSupply's screen." in officer.open("/").text
