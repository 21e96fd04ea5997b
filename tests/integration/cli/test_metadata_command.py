"""``metadata plan`` and ``metadata apply``: from a database of mSupply into the stand-in for DHIS2."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
from pydantic import SecretStr

from cli.__main__ import main
from cli.metadata import make
from cli.metadata.shape import Shape
from cli.metadata.subjects import Thresholds, commonest_thresholds, read_lines
from cli.stack import Stack
from msupply_dhis2.compute.mapped import export_mapping
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.source import open_source
from msupply_dhis2.source.base import Source
from sandbox.dhis2 import Fault, FaultKind, StandIn, User, stock_metadata
from tests.support.open_msupply_database import OpenMsupplyDatabase
from tests.support.plans import settings

PASSWORD = "mark3d-secret"
ADMINISTRATOR, READER = (
    User(username=name, password=SecretStr(PASSWORD), authorities=authorities)
    for name, authorities in (("chief", ("ALL",)), ("reader", ("F_DATAVALUE_ADD",)))
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> OpenMsupplyDatabase:
    """Two stores with org units and one without, and two items."""
    made = OpenMsupplyDatabase(f"sqlite:///{tmp_path_factory.mktemp('msupply')}/msupply.sqlite")
    for code, custom_data in (("KAMO", None), ("OPUA", None), ("Tamaki", {"other": "x"})):
        made.add_store(code, custom_data)
    for name, code in (("Amoxicillin", "368c74bf"), ("Paracetamol", "12a0bf21")):
        item = made.add("item", id=f"item-{code}", name=name, code=name[:4], universal_code=code)
        made.add("item_link", id=item, item_id=item)
    return made


@pytest.fixture
def dhis2() -> Iterator[StandIn]:
    empty = stock_metadata([("OU_KAMO", "Kamo"), ("OU_OPUA", "Opua"), ("OU_T", "Tamaki clinic")], [], [])
    with StandIn(empty.model_copy(update={"data_sets": ()}), users=[ADMINISTRATOR, READER]) as running:
        yield running


class Run:
    """Runs the command with a login, on these systems."""

    def __init__(self, database: OpenMsupplyDatabase, dhis2: StandIn, folder: Path) -> None:
        self.folder = folder / "plan"
        self._files = folder
        self._source, self._url = database.url, dhis2.url
        self.settings()

    def settings(self, **fields: Any) -> None:  # noqa: ANN401 - as a test gives them
        text = settings(**fields).compact()
        (self._files / "settings.yaml").write_text(text, encoding="utf-8")

    def login(self, user: str = ADMINISTRATOR.username) -> list[str]:
        file = self._files / "login.json"
        file.write_text(json.dumps({"username": user, "password": PASSWORD}), encoding="utf-8")
        return ["--dhis2-url", self._url, "--credentials", str(file)]

    def plan(self, *more: str) -> int:
        systems = ["--settings", str(self._files / "settings.yaml"), "--source", self._source]
        return main(["metadata", "plan", *systems, "--out", str(self.folder), *more])

    def apply(self, *more: str) -> int:
        return main(["metadata", "apply", str(self.folder), *more])

    def read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")


@pytest.fixture
def run(database: OpenMsupplyDatabase, dhis2: StandIn, tmp_path: Path) -> Run:
    return Run(database, dhis2, tmp_path)


def test_empty_dhis2(run: Run, dhis2: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.plan(*run.login()) == 0
    assert "2 items x 12 metrics in 2 org units: 24 data elements" in capsys.readouterr().out
    assert run.apply(*run.login(), "--yes") == 0
    assert "All 22 checks are well." in capsys.readouterr().out
    (data_set,) = dhis2.metadata.data_sets
    assert len(data_set.data_element_ids) == 24
    assert run.apply(*run.login(), "--yes") == 0
    assert "0 made, 0 changed." in capsys.readouterr().out


def test_files(run: Run) -> None:
    assert run.plan(*run.login(), "--access") == 0
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "0-access.json",
        "1-metadata.json",
        "2-map-MSUPPLY_MAP_OUT.json",
        "3-charts.json",
        "plan.html",
        "plan.json",
        "settings.yaml",
        "stores-without-org-unit.csv",
        "undo.json",
    ]
    assert "Tamaki clinic,Tamaki,Dhis2Code is empty in mSupply,Tamaki clinic,OU_T" in run.read(
        "stores-without-org-unit.csv"
    )
    assert not parse_settings(run.read("settings.yaml")).complete_faults()
    assert list(json.loads(run.read("0-access.json"))) == ["userRoles", "userGroups"]
    assert "Kamo" not in run.read("plan.html")
    assert "It never has." in run.read("plan.html")


def test_without_dhis2(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.plan() == 0
    assert "DHIS2 was not asked" in capsys.readouterr().err
    assert not json.loads(run.read("1-metadata.json"))["dataSets"][0]["organisationUnits"]
    # Where no category combo is named DHIS2 takes its own.
    assert "categoryCombo" not in run.read("1-metadata.json")


def test_plan_of_another_server(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.plan()
    assert run.apply(*run.login(), "--yes") == 0
    run.plan(*run.login())
    assert "63 same." in capsys.readouterr().out


def test_server_name_asked(
    run: Run, dhis2: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    typed = iter(["dhis2.example.org", dhis2.url.removeprefix("http://")])

    def prompt(text: str, **_: object) -> str:
        asked.append(text)
        return next(typed)

    monkeypatch.setattr("click.prompt", prompt)
    run.plan(*run.login())
    assert run.apply(*run.login()) == 1
    assert "Nothing was changed" in capsys.readouterr().err
    assert not dhis2.metadata.data_sets
    assert dhis2.url.removeprefix("http://") in asked[0]
    assert run.apply(*run.login()) == 0
    assert dhis2.metadata.data_sets


def test_missing_authority(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.plan(*run.login())
    assert run.apply(*run.login("reader"), "--yes") == 1
    said = capsys.readouterr().err
    assert "E3000" in said
    assert "Ask whoever runs DHIS2 for the authority to add it" in said
    # One sentence for all data elements.
    assert said.count("  - Data element Stock") == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(kind=FaultKind.STATUS, status=500, path="/api/metadata"), "status 500"),
        (
            Fault(kind=FaultKind.LOGIN_PAGE, path="/api/metadata", times=None),
            "Then run the same command again",
        ),
        (Fault(kind=FaultKind.STATUS, status=504, path="/api/metadata"), "Run the same command again"),
        (Fault(kind=FaultKind.CUT, path="/api/metadata"), "goes on where this one broke off"),
        (Fault(kind=FaultKind.STATUS, status=502, path="/api/dataSets"), "status 502"),
    ],
)
def test_an_answer_that_is_none(
    run: Run, dhis2: StandIn, fault: Fault, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run.plan(*run.login())
    dhis2.faults.plan(fault)
    assert run.apply(*run.login(), "--yes") == 1
    told = capsys.readouterr().err
    assert said in told
    assert "tried again" not in told
    assert not dhis2.metadata.data_sets


def test_customers_are_among_the_org_units() -> None:
    line = {"kind": "customer", "name": "Health post", "code": "HP", "org_unit": "OU_HP"}
    found = read_lines([line, {"kind": "store", "name": "Kamo", "code": "K", "org_unit": "OU_K"}], settings())
    assert found.org_units == ("OU_HP", "OU_K")
    assert found.stores[0].kind == "customer"


def test_server_fails_midway(run: Run, dhis2: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    run.plan(*run.login())
    # The second call of this kind is the import; its answer is lost.
    dhis2.faults.plan(Fault(kind=FaultKind.CUT, path="/api/metadata", after=1, after_import=True))
    assert run.apply(*run.login(), "--yes") == 1
    dhis2.faults.clear()
    assert run.apply(*run.login(), "--yes") == 0
    assert "All 22 checks are well." in capsys.readouterr().out


def test_no_login_is_written(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.plan(*run.login())
    run.apply(*run.login(), "--yes")
    texts = [path.read_text(encoding="utf-8") for path in run.folder.iterdir()]
    assert not any(PASSWORD in text for text in (*texts, *capsys.readouterr()))


def test_undo(run: Run, dhis2: StandIn) -> None:
    run.plan(*run.login())
    run.apply(*run.login(), "--yes")
    assert dhis2.metadata.data_elements
    query = {"importStrategy": "DELETE", "importMode": "COMMIT", "identifier": "UID", "atomicMode": "ALL"}
    undone = requests.post(
        f"{dhis2.url}/api/metadata",
        params=query,
        json=json.loads(run.read("undo.json")),
        auth=(ADMINISTRATOR.username, PASSWORD),
        timeout=30,
    )
    assert undone.json()["response"]["stats"]["deleted"] == 63
    assert not dhis2.metadata.data_elements
    assert not dhis2.metadata.data_sets


def test_second_data_set_codes(run: Run, dhis2: StandIn) -> None:
    run.plan(*run.login())
    run.apply(*run.login(), "--yes")
    run.settings(
        data_set_id="WEEKLY", period_format="Weekly", metrics=("stock_on_hand",), basis="current_day"
    )
    assert run.plan(*run.login(), "--code-prefix", "WEEKLY_") == 0
    assert run.apply(*run.login(), "--yes") == 0
    assert {data_set.code: len(data_set.data_element_ids) for data_set in dhis2.metadata.data_sets} == {
        "MSUPPLY_STOCK": 24,
        "WEEKLY": 2,
    }


@pytest.mark.parametrize("prefix", ["", "1_", "a b", "x" * 21])
def test_no_prefix(run: Run, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.plan("--code-prefix", prefix) == 1
    assert "cannot begin a code" in capsys.readouterr().err


def test_mapped_by_a_stack(
    run: Run,
    database: OpenMsupplyDatabase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines: list[Mapping[str, object]] = []
    export_mapping(lambda: opened(database), settings(), lines.append)
    monkeypatch.setattr(Stack, "settings_document", lambda _: settings().compact())
    monkeypatch.setattr(Stack, "mapping", lambda _: iter(lines))
    plan = ["metadata", "plan", "--stack", "malawi", "--out", str(run.folder), *run.login()]
    assert main(plan) == 0
    assert "24 data elements" in capsys.readouterr().out
    assert run.apply(*run.login(), "--yes") == 0


@pytest.mark.parametrize(("file", "said"), [("notes.txt", "holds other files"), ("plan.json", "is damaged")])
def test_foreign_folder(run: Run, file: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    run.folder.mkdir()
    (run.folder / file).write_text("{}", encoding="utf-8")
    command: Callable[..., int] = run.plan if file == "notes.txt" else run.apply
    assert command(*(run.login() if file == "plan.json" else [])) == 1
    assert said in capsys.readouterr().err


def test_no_plan(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.apply(*run.login()) == 1
    assert "Make one: msupply-dhis2 metadata plan --out" in capsys.readouterr().err


def opened(database: OpenMsupplyDatabase) -> AbstractContextManager[Source]:
    return open_source(database.address, calendar=Calendar(ZoneInfo("UTC")), trust=settings().database_trust)


def test_export_of_a_stack(database: OpenMsupplyDatabase) -> None:
    """A stack names items by its own settings, whose shape may be another."""
    given = settings()
    lines: list[Mapping[str, object]] = []
    export_mapping(lambda: opened(database), given, lines.append)
    of_stack = make.brief_of_lines(lines, given, Shape.ITEMS, access=False)
    here: list[Mapping[str, object]] = []
    export_mapping(lambda: opened(database), of_stack.settings, here.append)
    assert of_stack.subjects == read_lines(here, of_stack.settings)


@pytest.mark.parametrize(
    ("stores", "low", "high", "said"),
    [
        ([], 3, 6, "defaults"),
        ([(2, 4), (2, 4)], 2, 4, "the preferences of mSupply's stores (2 of them)"),
        ([(2, 4), (3, 6), (2, 4)], 2, 4, "the commonest preferences of mSupply's stores (2 of 3 have them)"),
        ([(6, 3), (None, 4), (0, 5)], 3, 6, "defaults"),
    ],
)
def test_thresholds(stores: list[tuple[float, float]], low: float, high: float, said: str) -> None:
    found = commonest_thresholds(stores)
    assert (found.understock, found.overstock) == (low, high)
    assert said in found.said


def test_thresholds_of_a_database(database: OpenMsupplyDatabase) -> None:
    with opened(database) as source:
        assert make.read_thresholds(source) == Thresholds()
    database.add(
        "store_preference", id="store-KAMO", pack_to_one=False, months_understock=2, months_overstock=4
    )
    with opened(database) as source:
        assert make.read_thresholds(source).overstock == 4
