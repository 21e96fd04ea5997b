"""The jobs in one process: ``msupply-dhis2 preview|push|test-connection``."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cli import local
from cli.__main__ import main
from msupply_dhis2.errors import Dhis2DownError
from msupply_dhis2.settings import parse_settings
from sandbox.dhis2 import FaultKind, StandIn, User
from sandbox.postgres import temporary_postgres
from sandbox.sample import SampleKind, generate
from sandbox.sample_world import catalogue_of, metadata_for
from tests.support.paths import PROJECT

COLUMNS = "org_unit,store,item,metric,data_element,category_option_combo,attribute_option_combo,period,value"
PASSWORD = "mark3d-secret"
SETTINGS = """
use_dhis2: true
basic_authentication: true
url: https://replaced.example.org
setup: category_option_combo
item_field_reference: universal_code
data_set_id: STOCK_ATTRIBUTE
data_set_id_scheme: code
data_element_id_scheme: code
org_unit_scheme: code
period_format: YYYYMM
data_elements:
  - {metric: stock_on_hand, active: true, category_option_id: STOCK_ON_HAND,
     category_option_combo_id_scheme: code, interval: daily, basis: current_day}
  - {metric: received, active: true, category_option_id: RECEIVED,
     category_option_combo_id_scheme: code, interval: monthly, basis: previous_month}
  - {metric: issued, active: false, category_option_id: ISSUED,
     category_option_combo_id_scheme: code, interval: monthly, basis: previous_month}
"""
WORKED = [PROJECT / "settings.yaml", *sorted((PROJECT / "docs" / "examples").glob("*.yaml"))]
type Run = Callable[..., "Ran"]


def refused(_: object) -> str:
    raise Dhis2DownError("DHIS2 restarts.")


class Ran:
    """What a command gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.out)))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('sample') / 'omsupply.sqlite'}"
    generate(url, stores=3, items=4, seed=3, as_of=date(2026, 10, 31), edge_cases=True)
    return url


@pytest.fixture
def dhis2(sample: str) -> Iterator[StandIn]:
    metadata = metadata_for(catalogue_of(sample, parse_settings(SETTINGS)))
    user = User(username="pusher", password=PASSWORD)
    with StandIn(metadata, version="2.41", users=[user], now=date(2026, 11, 1)) as server:
        yield server


@pytest.fixture
def run(sample: str, dhis2: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS)
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps({"username": "pusher", "password": PASSWORD}))

    def command(name: str, *options: str, **changes: str) -> Ran:
        arguments = {
            "--settings": str(settings),
            "--source": sample,
            "--dhis2-url": dhis2.url,
            "--credentials": str(credentials),
            "--timezone": "Pacific/Auckland",
            "--as-of": "2026-10-31T22:30",
            **{f"--{option}": value for option, value in changes.items()},
        }
        capsys.readouterr()
        code = main([name, *(word for pair in arguments.items() for word in pair), *options])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return command


def test_preview(run: Run, dhis2: StandIn) -> None:
    ran = run("preview", "--as-scheduled", format="csv")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == COLUMNS
    periods = {(row["metric"], row["period"]) for row in ran.rows()}
    assert periods == {("stock_on_hand", "202610"), ("received", "202609")}
    assert {row["attribute_option_combo"] for row in ran.rows()} == {"STOCK_ON_HAND", "RECEIVED"}
    assert dhis2.requests == []


@pytest.mark.parametrize("worked", WORKED, ids=lambda worked: worked.stem)
def test_worked_settings(run: Run, tmp_path: Path, worked: Path) -> None:
    switched_on = tmp_path / worked.name
    switched_on.write_text(worked.read_text(encoding="utf-8").replace("use_dhis2: false", "use_dhis2: true"))
    ran = run("push", settings=str(switched_on), basis="previous_month", format="json")
    assert ran.code == 0, ran.err
    counts = json.loads(ran.out)
    assert counts["stored"] == counts["values"] > 10


def test_preview_of_a_mirror(run: Run) -> None:
    with temporary_postgres() as server:
        url = server.new_database("dashboard")
        sizes: dict[str, Any] = {"stores": 3, "items": 4, "seed": 3, "as_of": date(2026, 10, 31)}
        generate(
            url, edge_cases=True, kind=SampleKind.MIRROR, time_zone=ZoneInfo("Pacific/Auckland"), **sizes
        )
        ran = run("preview", format="csv", source=url)
    assert ran.code == 0
    assert ran.rows() == run("preview", format="csv").rows()


def test_stores_joined(run: Run) -> None:
    shared = [row for row in run("preview", format="csv").rows() if "; " in row["store"]]
    assert shared, "the sample has two stores on one org unit"


def test_one_basis(run: Run) -> None:
    rows = run("preview", format="csv", basis="previous_month").rows()
    assert {row["period"] for row in rows} == {"202609"}


def test_event_limits(run: Run) -> None:
    rows = run("preview", format="csv", event='{"interval": "monthly"}').rows()
    assert {row["metric"] for row in rows} == {"received"}


@pytest.mark.parametrize("as_of", ["2026-10-31", "2026-10-31T22:30"])
def test_as_of(run: Run, as_of: str) -> None:
    ran = run("preview", "--as-scheduled", format="csv", **{"as-of": as_of})
    assert {row["period"] for row in ran.rows()} == {"202610", "202609"}


def test_json_equals_csv(run: Run) -> None:
    rows = json.loads(run("preview", format="json").out)
    in_csv = run("preview", format="csv").rows()
    assert [{key: value or "" for key, value in row.items()} for row in rows] == in_csv


@pytest.mark.parametrize("options", [(), ("--as-scheduled",), ("--basis", "as_in_settings")])
def test_push_sends_the_preview(run: Run, dhis2: StandIn, options: tuple[str, ...]) -> None:
    ran = run("push", *options, format="json")
    counts = json.loads(ran.out)
    previewed = run("preview", *options, format="csv").rows()
    assert ran.code == 0
    assert counts["stored"] == counts["sent"] == counts["values"] == len(previewed) == len(dhis2.values)
    assert "sent" in ran.err
    for row in previewed:
        stored = dhis2.value(
            row["data_element"], row["org_unit"], row["period"], None, row["attribute_option_combo"]
        )
        assert stored == row["value"]


def test_refused_value(run: Run, dhis2: StandIn) -> None:
    metadata = dhis2.metadata
    lost = metadata.data_sets[1].org_unit_ids[0]
    data_sets = tuple(
        data_set.model_copy(update={"org_unit_ids": data_set.org_unit_ids[1:]})
        for data_set in metadata.data_sets
    )
    dhis2.metadata = metadata.model_copy(update={"data_sets": data_sets})
    ran = run("push", format="json")
    counts = json.loads(ran.out)
    assert ran.code == 1
    assert counts["rejected"] > 0
    assert counts["sent"] == counts["stored"] + counts["rejected"]
    (org_unit,) = [unit for unit in metadata.org_units if unit.id == lost]
    assert f"{org_unit.name}, " in ran.err
    (cause,) = (line for line in ran.err.splitlines() if line.startswith(f"{counts['rejected']} values "))
    assert cause == f"{counts['rejected']} values rejected (E7636):"
    assert ran.err.count("E7636") == 2, "the cause is told once, with its first value"
    assert f"  - and {counts['rejected'] - 5} more\n" in ran.err


def test_passing_fault(run: Run, dhis2: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("cli.sender.time.sleep", waited.append)
    dhis2.faults.next(FaultKind.STATUS, times=2, method="POST", status=503)
    ran = run("push", format="json")
    assert ran.code == 0
    assert waited == [2, 4]


def test_given_up(run: Run, dhis2: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.sender.time.sleep", lambda _: None)
    dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=503)
    ran = run("push", format="json")
    counts = json.loads(ran.out)
    assert ran.code == 1
    assert counts["given_up"] == counts["values"] > 0
    assert counts["sent"] == 0


@pytest.mark.parametrize(("status", "tried"), [(503, 5), (401, 1)])
def test_common_fault_found_once(
    run: Run, dhis2: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, tried: int
) -> None:
    monkeypatch.setattr("cli.sender.time.sleep", lambda _: None)
    many = tmp_path / "many-batches.yaml"
    many.write_text(f"items_per_payload: 5\n{SETTINGS}")
    dhis2.faults.next(FaultKind.STATUS, times=None, method="POST", status=status)
    ran = run("push", settings=str(many), format="json")
    counts = json.loads(ran.out)
    assert ran.code == 1
    assert counts["batches"] > 1
    assert counts["given_up"] == counts["values"]
    assert [request.method for request in dhis2.requests].count("POST") == tried
    assert ran.err.count("The other batches are not tried") == 1


def test_dhis2_unreachable(run: Run) -> None:
    ran = run("push", **{"dhis2-url": "http://127.0.0.1:9"})
    assert (ran.code, ran.out) == (1, "")
    first, second = ran.err.splitlines()
    assert first == MANUAL
    assert "127.0.0.1:9" in second


def test_terminal_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.output.ROWS_SHOWN", 3)
    monkeypatch.setenv("COLUMNS", "300")
    values = len(run("preview", format="csv").rows())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    ran = run("preview")
    _, heading, _, *rows, _ = ran.out.splitlines()
    assert "attribute_option_combo" in heading
    assert " category_option_combo" not in heading
    assert len(rows) == 3
    _, more, message, *notes = ran.err.splitlines()
    assert more == f"And {values - 3:,} more. All rows: --format csv or --format json."
    assert message.startswith("Dry run: ")
    assert notes[0] == "Skipped:"


def test_wrong_password_once(run: Run, dhis2: StandIn, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"username": "pusher", "password": "wr0ng-mark3d"}))
    ran = run("push", credentials=str(wrong), format="json")
    assert (ran.code, ran.out) == (1, "")
    assert "Authentication failed" in ran.err
    assert "wr0ng-mark3d" not in ran.err
    assert len(dhis2.requests) == 1


MANUAL = "Manual push, current day, as of 2026-10-31T22:30: period 202610, 1 October 2026 to 31 October 2026 so far."
SCHEDULED = (
    "As scheduled, each row on its own basis, as of 2026-10-31T22:30: current day, period 202610, 1 October 2026 to 31 October 2026 so far; "
    "previous month, period 202609, 1 September 2026 to 30 September 2026."
)


@pytest.mark.parametrize("name", ["preview", "push"])
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), MANUAL),
        (
            ("--basis", "previous_month"),
            "Manual push, previous month, as of 2026-10-31T22:30: period 202609, 1 September 2026 to 30 September 2026.",
        ),
        (("--as-scheduled",), SCHEDULED),
        (
            ("--event", '{"interval": "monthly"}'),
            f"{SCHEDULED.partition(': ')[0]}: previous month, period 202609, 1 September 2026 to 30 September 2026.",
        ),
    ],
)
def test_first_line(run: Run, name: str, options: tuple[str, ...], line: str) -> None:
    ran = run(name, *options)
    assert ran.code == 0
    assert ran.err.splitlines()[0] == line


def close_current_period(dhis2: StandIn) -> None:
    dhis2.now = date(2026, 10, 31)
    data_sets = tuple(
        data_set.model_copy(update={"open_future_periods": 0}) for data_set in dhis2.metadata.data_sets
    )
    dhis2.metadata = dhis2.metadata.model_copy(update={"data_sets": data_sets})


def test_refused_period(run: Run, dhis2: StandIn) -> None:
    close_current_period(dhis2)
    ran = run("push")
    assert (ran.code, ran.out) == (1, "")
    first, second = ran.err.splitlines()
    assert first == MANUAL
    assert second.startswith(
        "DHIS2 would refuse every value. 202610 is not open yet: the data set's open future"
    )
    assert "push as scheduled (make push AS_SCHEDULED=yes, or the option --as-scheduled)" in second
    assert second.endswith("because the month begins later there. Nothing was sent.")
    assert [request.method for request in dhis2.requests] == ["GET"] * len(dhis2.requests)


def test_partly_refused_period(run: Run, dhis2: StandIn) -> None:
    close_current_period(dhis2)
    ran = run("push", "--as-scheduled", format="json")
    assert ran.code == 1
    first, second, *_ = ran.err.splitlines()
    assert first == SCHEDULED
    assert second.startswith("DHIS2 would refuse a part of the values. 202610 is not open yet")
    counts = json.loads(ran.out)
    assert counts["stored"] == len(
        run(
            "preview", format="csv", basis="previous_month", event='{"manual": true, "metrics": "received"}'
        ).rows()
    )


def test_connection_successful(run: Run) -> None:
    ran = run("test-connection")
    assert ran.code == 0
    assert ran.out.startswith("Connection successful\n")
    report = json.loads(run("test-connection", format="json").out)
    assert report["connected"] is True
    assert report["server"]["version"].startswith("2.41")
    assert all(check["ok"] for check in report["checks"]), report["checks"]
    assert json.loads(run("test-connection", "--json").out)["summary"] == report["summary"]
    assert report["summary"][0] == f"All {len(report['checks'])} checks are well."


def test_connection_wrong_password(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"username": "pusher", "password": "wrong"}))
    ran = run("test-connection", credentials=str(wrong))
    assert ran.code == 1
    assert ran.out.startswith("Authentication failed\n")


def test_other_url_hides_no_fault(run: Run, tmp_path: Path) -> None:
    faulty = tmp_path / "faulty.yaml"
    faulty.write_text("use_dhis2: false\nround_of: true\n")
    ran = run("preview", settings=str(faulty))
    assert "round_of" in ran.err
    assert "URL is missing" not in ran.err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"settings": "/no/such/file.yaml"}, "--settings"),
        ({"credentials": "/no/such/file.json"}, "--credentials"),
        ({"source": "mysql://x"}, "postgresql://"),
        ({"source": "sqlite:////no/such.sqlite"}, "no/such.sqlite"),
        ({"timezone": "Auckland"}, "Pacific/Auckland"),
        ({"as-of": "yesterday"}, "as_of"),
        ({"as-of": ""}, "as_of: '' is neither a date"),
        ({"months": ""}, "months: '' is neither a month nor a range of months"),
        ({"event": "{"}, "--event"),
        ({"event": ""}, "--event is not JSON"),
        ({"event": "[" * 100_000}, "--event is not JSON"),
        ({"event": '{"check_database": true}'}, "test-connection asks the database"),
        ({"dhis2-url": "dhis2.example.org"}, "URL"),
    ],
)
def test_wrong_option(run: Run, changes: dict[str, str], says: str) -> None:
    ran = run("push", **changes)
    assert ran.code == 1
    assert ran.out == ""
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_table_in_a_file(run: Run) -> None:
    in_csv = run("preview", format="csv").rows()
    table = run("preview").out
    assert all(row["data_element"] in table and row["org_unit"] in table for row in in_csv)
    assert "…" not in table


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not filled in yet. It takes {"),
        ("admin", "is not JSON with username and password. It takes {"),
        ('{"username": "a"}', "has no text in its field password. It takes {"),
        ('{"username": "pusher", "password": "wr0ng"}', "Correct the DHIS2 credentials (--credentials)."),
    ],
)
@pytest.mark.parametrize("name", ["push", "test-connection"])
def test_login_fault_names_file(run: Run, tmp_path: Path, name: str, text: str, says: str) -> None:
    file = tmp_path / "login.json"
    file.write_text(text)
    ran = run(name, credentials=str(file))
    assert ran.code == 1
    assert says in ran.err + ran.out
    assert "--credentials" in ran.err + ran.out
    assert "secret" not in ran.err.replace(PASSWORD, "") + ran.out
    assert "make credentials" not in ran.err + ran.out


def test_database_fault_names_option(run: Run) -> None:
    assert run("preview", source="mysql://x").err.splitlines()[-1] == (
        "--source begins with neither sqlite:///, postgresql:// nor {. It takes sqlite:///folder/file.sqlite or "
        "postgresql://user:password@host:5432/database."
    )
    ran = run("preview", source="sqlite:////no/such.sqlite")
    assert ran.err.splitlines()[-1].endswith(
        "and --source must hold postgresql://user:password@host:5432/database."
    )


def test_empty_credentials(run: Run, dhis2: StandIn) -> None:
    ran = run("push", credentials="")
    assert ran.code == 1
    assert "--credentials" in ran.err
    assert dhis2.requests == []


def test_explain(run: Run, dhis2: StandIn) -> None:
    value = next(row for row in run("preview", format="csv").rows() if row["metric"] == "stock_on_hand")

    def explain() -> dict[str, Any]:
        asked = {"store": value["org_unit"], "item": value["data_element"], "metric": "SOH"}
        ran = run("explain", period=value["period"], format="json", **asked)
        assert ran.code == 0, ran.err
        explained: dict[str, Any] = json.loads(ran.out)
        return explained

    before = explain()
    assert before["data_value"] == {**before["data_value"], **{k: v for k, v in value.items() if v}}
    assert before["way"] == ["DHIS2 holds no value of it."]
    assert run("push").code == 0
    assert explain()["way"][0].startswith(f"DHIS2 holds {value['value']}, the same: stored by pusher, ")
    for key, stored in dhis2.values.rows.items():
        dhis2.values.rows[key] = replace(stored, value="4711")
    (told,) = explain()["way"]
    assert told.startswith(f"DHIS2 holds 4711, not {value['value']}: ")


def test_explain_is_no_csv(run: Run) -> None:
    ran = run("explain", store="KAM", item="AMX", metric="SOH", format="csv")
    assert ran.code == 1
    assert "--format csv: an explanation is not a table. Take table or json." in ran.err


def test_stdout_of_the_script(sample: str, tmp_path: Path) -> None:
    settings = tmp_path / "off.yaml"
    settings.write_text("use_dhis2: false")
    command = [sys.executable, "-m", "cli", "preview", "--settings", str(settings), "--source", sample]
    environment: dict[str, Any] = {**os.environ, "PYTHONWARNINGS": "error"}
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert "URL" in ran.stderr


@pytest.mark.parametrize(
    ("built", "said"),
    [
        (lambda _: "2026-10-30T23:00:12", "It last did so at 2026-10-30T23:00:12 by its own clock."),
        (refused, "When it last did so is not known: DHIS2 restarts."),
    ],
)
def test_push_tells_of_charts(
    run: Run, monkeypatch: pytest.MonkeyPatch, built: Callable[[object], str], said: str
) -> None:
    monkeypatch.setattr(local, "read_last_analytics", built)
    ran = run("push", "--as-scheduled", format="json")
    assert ran.code == 0
    assert said in ran.err
