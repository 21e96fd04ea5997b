"""Journeys of an officer through the console of a deployed stack, in a real browser, with the officer's own rights at AWS."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, StorageState, expect

from msupply_dhis2.aws.queues import ATTEMPT_ID
from msupply_dhis2.domain.batch import Message, decode
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.handlers.push import MOST_FAILURES
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.state.runs import Runs
from sandbox.dhis2 import Fault, FaultKind
from sandbox.sample_world import DATABASE, DHIS2_USER, with_whole_numbers_only
from tests.support.officer import NARROW, PATIENCE, WIDE, Officer, browser, console, finds_nothing_wrong
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.e2e.conftest import World
else:
    World = Any

PAGES = (
    "/",
    "/tab",
    "/tab/history",
    "/switch",
    "/connection",
    "/preview",
    "/compare",
    "/push",
    "/runs",
    "/not-delivered",
    "/explain",
    "/metadata",
)
SCRIPT = "<script>alert(1)</script>"
STORES = (
    "SELECT n.name FROM store s JOIN name_link l ON l.id = s.name_link_id JOIN name n ON n.id = l.name_id "
    "WHERE n.name = 'Lakeside Clinic'"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def printed(chromium: Browser, deployed: World) -> Iterator[str]:  # noqa: ARG001 - skipped before anything is started
    """Yield the address that the console prints for an officer who has the two policies of the stack's outputs."""
    deployed.set_up()
    environment = deployed.emulator.officer("ana", "Viewer", "Operator")
    with console(deployed.emulator.name, environment) as address:
        yield address


@pytest.fixture(scope="module")
def kept(chromium: Browser, printed: str) -> StorageState:
    """Open the printed address, which works once, and return what the browser keeps of it."""
    with chromium.new_context() as context:
        context.new_page().goto(printed)
        return context.storage_state()


@pytest.fixture
def officer(chromium: Browser, printed: str, kept: StorageState, world: World) -> Iterator[Officer]:  # noqa: ARG001 - in order
    """Yield an officer at the console of a stack whose settings, secrets and DHIS2 are in order."""
    with chromium.new_context(storage_state=kept, viewport=WIDE) as context:
        page, faults = context.new_page(), list[str]()

        def hear(said: ConsoleMessage) -> None:
            # What the page's policy forbids, too; that a form was refused is no fault of the page.
            if said.type == "error" and "400 (Bad" not in said.text:
                faults.append(said.text)

        def close(dialog: Dialog) -> None:
            faults.append(dialog.message)
            dialog.dismiss()

        page.on("console", hear)
        page.on("dialog", close)
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield Officer(page, printed.partition("/?")[0])
    assert faults == []


def clinic(world: World) -> str:
    """Return a store that sends values."""
    with psycopg.connect(world.database.server.address(DATABASE)) as connection:
        (name,) = connection.execute(STORES).fetchone() or ("",)
    assert name
    return str(name)


def log_in(officer: Officer, password: str) -> None:
    """Type a login of DHIS2, and test the connection with it."""
    login = officer.main.get_by_role("group", name="Login of DHIS2")
    login.get_by_label("Username").fill(DHIS2_USER)
    login.get_by_label("Password").fill(password)
    officer.press("Test connection")


def all_is_well(officer: Officer) -> None:
    """Wait until a push has ended, whose values are all in DHIS2."""
    expect(officer.main.locator("p.well[role=status]")).to_be_visible(timeout=PATIENCE)
    expect(officer.main.get_by_text("What became of the values", exact=True)).to_be_visible()


def send(officer: Officer, **fields: str) -> None:
    """Push what some fields say, by hand, until it is known what became of it."""
    officer.open("/push")
    for label, text in fields.items():
        officer.fill(label.replace("_", " "), text)
    if "Stores" not in fields:
        officer.main.get_by_label("All stores").check()
    officer.press("Look at what would be sent …")
    officer.waits_for_button(re.compile("^Send ")).click()


def test_from_empty(officer: Officer, world: World) -> None:
    ssm = world.emulator.stack.client("ssm")
    ssm.delete_parameter(Name=f"/{world.emulator.name}/settings")
    officer.open("/")
    officer.sees("DHIS2 tab")
    finds_nothing_wrong(officer.page)

    officer.open("/tab")
    officer.sees("There are no settings yet")
    officer.main.get_by_label("Take the settings from a file (YAML or JSON)").set_input_files(
        {"name": "settings.yaml", "mimeType": "application/yaml", "buffer": world.settings.encode()}
    )
    officer.press("Look at the differences …")
    officer.press("Save these settings")
    officer.sees("The settings are saved in")
    officer.follow("Set up")
    log_in(officer, world.password.get_secret_value())
    officer.sees("Connection successful")
    officer.shows("connection")

    officer.open("/preview")
    officer.press("Compute")
    officer.waits_for("All values")
    officer.shows("preview")

    officer.open("/switch")
    officer.sees("Use DHIS2 is off")
    officer.press("Switch on")
    officer.sees("Use DHIS2 is on: the schedules send.")

    send(officer, Stores=clinic(world))
    all_is_well(officer)
    finds_nothing_wrong(officer.page)
    assert world.dhis2.values
    officer.open("/")
    officer.sees("Last successful connection")
    officer.shows("today")
    finds_nothing_wrong(officer.page)


def test_wrong_password(officer: Officer, world: World) -> None:
    officer.open("/tab")
    log_in(officer, "mistyped")
    officer.sees("Authentication failed")
    finds_nothing_wrong(officer.page)
    # The login in force is still the good one.
    assert world.emulator.stack.test_connection().connected
    officer.open("/tab")
    log_in(officer, world.password.get_secret_value())
    officer.sees("Connection successful")
    finds_nothing_wrong(officer.page)
    assert world.password.get_secret_value() not in officer.page.content()


def test_wrong_field(officer: Officer, world: World) -> None:
    officer.open("/tab")
    officer.shows("dhis2-tab")
    officer.fill("No. of items per payload", "many")
    officer.sees("No. of items per payload is 'many'. Write a whole number")
    finds_nothing_wrong(officer.page)
    officer.press("Save …")
    officer.sees("This cannot be saved while Use DHIS2 is on.")
    officer.press("Go on editing")
    officer.fill("No. of items per payload", "750")
    officer.press("Save …")
    officer.sees("No. of items per payload")
    finds_nothing_wrong(officer.page)
    officer.press("Save these settings")
    officer.sees("The settings are saved in")
    found = world.emulator.stack.client("ssm").get_parameter(Name=f"/{world.emulator.name}/settings")
    assert json.loads(found["Parameter"]["Value"])["items_per_payload"] == 750


def test_rejection(officer: Officer, world: World) -> None:
    consumption = Metric.AVERAGE_MONTHLY_CONSUMPTION
    row = next(row for row in parse_settings(world.settings).active_rows if row.metric is consumption)
    metadata = world.dhis2.metadata
    for element in metadata.data_elements:
        if str(element.code).startswith(str(row.prefix)):
            world.dhis2.metadata = with_whole_numbers_only(world.dhis2.metadata, str(element.code))
    world.start_push_anew()
    try:
        send(officer, Stores=clinic(world))
        officer.waits_for("What is not in DHIS2, by cause")
        officer.sees("rejected (fraction): Tick Round off in the DHIS2 tab")
        before = len(world.dhis2.values)
        officer.open("/tab")
        officer.main.get_by_label("Round off").check()
        officer.press("Save …")
        officer.press("Save these settings")
        officer.sees("The settings are saved in")
        officer.open("/push")
        officer.main.locator("summary", has_text="rejected (fraction)").click()
        officer.shows("push")
        finds_nothing_wrong(officer.page)
        officer.waits_for_button(re.compile("^Push these .* again …$")).click()
        officer.waits_for_button(re.compile("^Send ")).click()
        all_is_well(officer)
    finally:
        world.dhis2.metadata = metadata
        world.start_push_anew()
    assert len(world.dhis2.values) > before


def test_explained(officer: Officer, world: World) -> None:
    store = clinic(world)
    officer.open("/preview")
    officer.fill("Stores", store)
    officer.press("Compute")
    officer.waits_for("All values")
    officer.fill("Store, item, org unit or data element", store)
    officer.main.locator("#values").get_by_label("Metric").select_option("closing stock")
    officer.press("Find")
    officer.follow("Value")
    officer.follow("Value")
    officer.sees("↓")
    finds_nothing_wrong(officer.page)
    officer.follow("Explain")
    officer.waits_for("Stock from")
    officer.waits_for("Movements, oldest first")
    officer.sees(f"in {store}")
    officer.shows("explain")
    finds_nothing_wrong(officer.page)


def test_earlier_months(officer: Officer, world: World) -> None:
    send(officer, Stores=clinic(world), Earlier_months_instead="2026-08..2026-09")
    all_is_well(officer)
    assert {key.period for key in world.dhis2.values} == {"202608", "202609"}


def test_stopped(officer: Officer, world: World) -> None:
    world.switch(on=False)
    send(officer)
    officer.waits_for_button("Stop this run").click()
    world.switch(on=True)
    officer.waits_for_button(re.compile("^Send the .* values that were not sent …$"))
    finds_nothing_wrong(officer.page)
    assert not world.dhis2.values


def test_not_delivered(officer: Officer, world: World) -> None:
    world.switch(on=False)
    send(officer, Stores=clinic(world))
    officer.waits_for_button("Stop this run")
    fail_all_but_once(world)
    world.dhis2.faults.plan(Fault(kind=FaultKind.STATUS, status=500, path="dataValueSets", times=None))
    world.switch(on=True)
    expect(officer.main.locator("p.wrong[role=status]")).to_be_visible(timeout=PATIENCE)
    officer.open("/not-delivered")
    officer.sees("Correct what the reason says.")
    officer.shows("not-delivered")
    finds_nothing_wrong(officer.page)
    world.dhis2.faults.clear()
    officer.waits_for_button(re.compile("^Send these .* again$")).click()
    officer.sees("are on their way again")
    officer.open("/runs")
    officer.shows("runs")
    finds_nothing_wrong(officer.page)
    until(lambda: bool(world.dhis2.values), "what was sent again did not arrive")


def fail_all_but_once(world: World) -> None:
    """Have each message that waits be one that failed all but once: twelve failures take an hour."""
    stack = world.emulator.stack
    sqs, runs = stack.client("sqs"), Runs(stack.table("RunsTable"))
    found = sqs.receive_message(
        QueueUrl=stack.resource("BatchQueue"),
        MaxNumberOfMessages=10,
        VisibilityTimeout=0,
        MessageAttributeNames=["All"],
    )["Messages"]
    for each in found:
        batch = decode(each["Body"])
        attempt_id = each["MessageAttributes"][ATTEMPT_ID]["StringValue"]
        for _ in range(MOST_FAILURES - 1):
            runs.note_failure(Message(batch.batch_id, attempt_id, len(batch.values)), datetime.now(UTC))


def test_by_keyboard(officer: Officer, world: World) -> None:
    officer.open("/push")
    officer.tabs_to(officer.page.get_by_role("link", name="Skip to the content"))
    officer.page.keyboard.press("Enter")
    officer.tabs_to(officer.main.get_by_label("Stores", exact=True))
    officer.page.keyboard.type(clinic(world))
    officer.tabs_to(officer.main.get_by_role("button", name="Look at what would be sent …"))
    officer.page.keyboard.press("Enter")
    button = officer.main.get_by_role("button", name=re.compile("^Send "))
    expect(button).to_be_visible(timeout=PATIENCE)
    officer.tabs_to(button)
    officer.page.keyboard.press("Enter")
    all_is_well(officer)
    assert world.dhis2.values


def test_narrow_and_on_paper(officer: Officer) -> None:
    for path in PAGES:
        officer.open(path)
        finds_nothing_wrong(officer.page)
        officer.page.emulate_media(media="print")
        expect(officer.page.get_by_role("navigation", name="Pages")).to_be_hidden()
        expect(officer.main.get_by_role("heading", level=1)).to_be_visible()
        officer.page.emulate_media(media="screen")


def test_without_javascript(chromium: Browser, kept: StorageState, printed: str, world: World) -> None:
    with chromium.new_context(storage_state=kept, viewport=NARROW, java_script_enabled=False) as context:
        officer = Officer(context.new_page(), printed.partition("/?")[0])
        for path in PAGES:
            officer.open(path)
            expect(officer.main.get_by_role("heading", level=1)).to_be_visible()
        officer.open("/tab")
        officer.fill("No. of items per payload", "many")
        officer.press("Check")
        officer.sees("No. of items per payload is 'many'. Write a whole number")
        officer.open("/preview")
        officer.fill("Stores", clinic(world))
        officer.press("Compute")
        officer.waits_for("All values")


def test_script_in_a_name(officer: Officer, world: World) -> None:
    store = clinic(world)
    address = world.database.server.address(DATABASE)

    def rename(before: str, after: str) -> None:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("UPDATE name SET name = %s WHERE name = %s", (after, before))

    rename(store, SCRIPT)
    try:
        officer.open("/preview")
        officer.fill("Stores", SCRIPT)
        officer.press("Compute")
        officer.waits_for("All values")
        officer.sees(SCRIPT)
        officer.follow("Explain")
        officer.sees(f"in {SCRIPT}")
    finally:
        rename(SCRIPT, store)


def test_two_officers(chromium: Browser, officer: Officer, kept: StorageState, world: World) -> None:
    with chromium.new_context(storage_state=kept) as context:
        other = Officer(context.new_page(), officer.address)
        for each, number in ((officer, "500"), (other, "900")):
            each.open("/tab")
            each.fill("No. of items per payload", number)
            each.press("Save …")
        officer.press("Save these settings")
        officer.sees("The settings are saved in")
        other.press("Save these settings")
        other.sees("Somebody saved the settings after you opened this page.")
    found = world.emulator.stack.client("ssm").get_parameter(Name=f"/{world.emulator.name}/settings")
    assert json.loads(found["Parameter"]["Value"])["items_per_payload"] == 500


def test_who_comes_in(officer: Officer, kept: StorageState) -> None:
    (cookie,) = kept["cookies"]
    known = {"cookie": f"{cookie['name']}={cookie['value']}"}
    port = urlsplit(officer.address).port
    with httpx2.Client(base_url=officer.address, trust_env=False) as anyone:
        assert anyone.get("/tab", headers=known).status_code == 200
        assert anyone.get("/tab").status_code >= 400
        assert anyone.get("/tab", headers={**known, "host": f"evil.example.org:{port}"}).status_code >= 400
        foreign = {**known, "origin": "https://evil.example.org"}
        assert anyone.post("/connection", headers=foreign).status_code >= 400


def test_viewer(chromium: Browser, world: World) -> None:
    with (
        console(world.emulator.name, world.emulator.officer("ben", "Viewer")) as printed,
        chromium.new_context(viewport=WIDE) as context,
    ):
        viewer = Officer(context.new_page(), printed.partition("/?")[0])
        viewer.page.goto(printed)
        for path in PAGES:
            viewer.open(path)
            viewer.sees("You may look at everything here, and change nothing")
        viewer.open("/explain")
        expect(viewer.main.get_by_role("button", name="Explain a value")).to_be_disabled()
