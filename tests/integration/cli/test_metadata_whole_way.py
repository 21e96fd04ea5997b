"""From an empty DHIS2 to its dashboard: set up from mSupply, filled by pushes, and equal to what mSupply says by hand."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import requests

from cli.__main__ import main
from msupply_dhis2.settings import parse_settings
from sandbox.charts import charts_of
from sandbox.dhis2 import ADMIN, StandIn, User, Version
from sandbox.sample import generate
from sandbox.sample_world import add_pusher, catalogue_of, empty_metadata_for
from tests.support.dashboard_oracle import Asked, Oracle
from tests.support.paths import PROJECT

MONTHS = ("202607", "202608", "202609")
PERIODS = {**{month: (month,) for month in MONTHS}, "2026Q3": MONTHS}
NOW = date(2026, 10, 1)
ZONE = ZoneInfo("UTC")
SERVER_SETTINGS = {
    Version.V2_41: ["--server-settings", "zeros"],
    Version.V2_43: ["--server-settings", "zeros", "--server-settings", "periods"],
}


@dataclass
class World:
    """An mSupply, a DHIS2 that was empty, and what its dashboard must show."""

    dhis2: StandIn
    oracle: Oracle
    commands: "Commands"

    def ask(self, path: str, query: Mapping[str, object]) -> dict[str, object]:
        login = (ADMIN.username, ADMIN.password.get_secret_value())
        answer = requests.get(f"{self.dhis2.url}/api/{path}", params=query, auth=login, timeout=30)  # type: ignore[arg-type]
        assert answer.ok, answer.text
        found: dict[str, object] = answer.json()
        return found

    def places(self) -> dict[str, list[str]]:
        """Return the facilities of each org unit that has some, itself among them, by its UID."""
        units = self.dhis2.metadata.org_units
        found = {
            place.id: [
                unit.code
                for unit in units
                if unit.is_within([place.id]) and unit.code in self.oracle.facilities
            ]
            for place in units
        }
        return {place: [str(code) for code in codes] for place, codes in found.items() if codes}


@dataclass
class Commands:
    """The commands of an officer, between these systems."""

    folder: Path
    source: str
    dhis2: StandIn

    def login(self, user: User) -> list[str]:
        file = self.folder / f"{user.username}.json"
        login = {"username": user.username, "password": user.password.get_secret_value()}
        file.write_text(json.dumps(login), encoding="utf-8")
        return ["--dhis2-url", self.dhis2.url, "--credentials", str(file)]

    def systems(self) -> list[str]:
        return ["--settings", str(self.folder / "settings.yaml"), "--source", self.source]

    def plan(self) -> None:
        out = ["--out", str(self.folder / "plan"), "--access"]
        assert main(["metadata", "plan", *self.systems(), *self.login(ADMIN), *out]) == 0

    def apply(self, *options: str) -> int:
        return main(
            [
                "metadata",
                "apply",
                str(self.folder / "plan"),
                *self.login(ADMIN),
                "--yes",
                "--access",
                "--as-of",
                NOW.isoformat(),
                *options,
            ]
        )

    def push(self, user: User, as_of: str) -> None:
        options = ["--basis", "previous_month", "--as-of", as_of]
        assert main(["push", *self.systems(), *self.login(user), *options]) == 0


def settings(version: Version) -> str:
    """Return the sample settings, switched on; for one of the versions returns count as adjustments."""
    sample = (PROJECT / "settings.yaml").read_text(encoding="utf-8")
    switched_on = sample.replace("use_dhis2: false", "use_dhis2: true")
    with_returns = switched_on.replace("include_returns: false", "include_returns: true")
    return with_returns if version is Version.V2_43 else switched_on


@pytest.fixture(scope="module", params=[Version.V2_41, pytest.param(Version.V2_43, marks=pytest.mark.slow)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Set an empty DHIS2 up, and push three months into it as the user that was made for that."""
    folder = tmp_path_factory.mktemp("whole-way")
    source = f"sqlite:///{folder}/omsupply.sqlite"
    generate(source, stores=4, items=5, seed=5, as_of=date(2026, 9, 30), edge_cases=True)
    document = settings(request.param)
    (folder / "settings.yaml").write_text(document, encoding="utf-8")
    catalogue = catalogue_of(source, parse_settings(document))
    with StandIn(empty_metadata_for(catalogue), version=request.param, now=NOW) as dhis2:
        commands = Commands(folder, source, dhis2)
        commands.plan()
        assert commands.apply(*SERVER_SETTINGS[request.param]) == 0
        pusher = add_pusher(dhis2)
        for as_of in ("2026-08-01", "2026-09-01", "2026-10-01"):
            commands.push(pusher, as_of)
        login = (ADMIN.username, ADMIN.password.get_secret_value())
        requests.post(f"{dhis2.url}/api/resourceTables/analytics", auth=login, timeout=30).raise_for_status()
        oracle = Oracle(folder / "omsupply.sqlite", catalogue, MONTHS, ZONE)
        index = dhis2.metadata
        oracle.known(
            {
                (str(unit.code), str(element.code).partition("_")[2], key.period)
                for key in dhis2.values
                if (unit := index.org_unit.by_id(key.org_unit))
                and (element := index.data_element.by_id(key.data_element))
            }
        )
        yield World(dhis2, oracle, commands)


def test_indicators(world: World) -> None:
    """Every indicator, for each facility, each district and the nation, each month and the quarter."""
    of_item: dict[str, Callable[[Asked, str], Decimal | None]] = {
        "MOS": world.oracle.months_of_stock,
        "AVAIL": world.oracle.availability,
        "RATE": world.oracle.stock_out_rate,
        "PLAN": world.oracle.stocked_to_plan,
        "OPENING": world.oracle.opening,
    }
    of_all: dict[str, Callable[[Asked], Decimal | None]] = {
        "AVAIL": world.oracle.availability_of_all,
        "RATE": world.oracle.stock_out_rate_of_all,
        "PLAN": world.oracle.stocked_to_plan_of_all,
    }
    indicators = world.dhis2.metadata.documents["indicators"]
    places = world.places()
    answer = world.ask(
        "analytics",
        {
            "dimension": [
                f"dx:{';'.join(indicators)}",
                f"pe:{';'.join(PERIODS)}",
                f"ou:{';'.join(places)}",
            ],
            "skipMeta": "true",
        },
    )
    rows: Sequence[Sequence[str]] = answer["rows"]  # type: ignore[assignment]
    shown = {tuple(row[:3]): Decimal(row[3]) for row in rows}
    wrong = []
    counted = 0
    for identifier, indicator in indicators.items():
        _, word, item = indicator["code"].split("_", 2)
        for label, months in PERIODS.items():
            for place, facilities in places.items():
                asked = Asked(facilities, months)
                right = of_all[word](asked) if item == "ALL" else of_item[word](asked, item)
                is_shown = shown.get((identifier, label, place))
                counted += right is not None
                if right != is_shown:
                    wrong.append(
                        (indicator["name"], label, len(facilities), f"{is_shown} instead of {right}")
                    )
    assert not wrong, f"{len(wrong)} of {counted}: {wrong[:12]}"
    assert counted > 1000
    words = {indicator["code"].split("_", 2)[1] for indicator in indicators.values()}
    # Where returns are no adjustments, what a period began with does not follow from its other numbers.
    assert words == (of_item.keys() if world.dhis2.version is Version.V2_43 else of_item.keys() - {"OPENING"})


def test_dashboard(world: World) -> None:
    """The charts ask for last month: that of all items by district, and of each item by district."""
    charts = {chart.name: chart for chart in charts_of(world.dhis2, ADMIN, "MSUPPLY_DASHBOARD")}
    assert len(charts) == 7
    assert all(chart.rows for chart in charts.values())
    places = world.places()
    country, districts = (
        next(iter(places)),
        {unit.id: places[unit.id] for unit in world.dhis2.metadata.org_units if unit.path.count("/") == 2},
    )
    (now,) = charts["mSupply stock availability"].rows
    assert Decimal(now[-1]) == world.oracle.availability_of_all(Asked(places[country], MONTHS[-1:]))
    by_district = {row[1]: Decimal(row[2]) for row in charts["mSupply stock availability by district"].rows}
    assert by_district == {
        district: world.oracle.availability_of_all(Asked(facilities, MONTHS[-1:]))
        for district, facilities in districts.items()
    }
    history = {row[1]: Decimal(row[2]) for row in charts["mSupply stock-out rate over time"].rows}
    assert history == {
        month: world.oracle.stock_out_rate_of_all(Asked(places[country], (month,))) for month in MONTHS
    }


def test_again(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A second import changes nothing, whatever else is there by now."""
    before = world.dhis2.metadata
    assert world.commands.apply() == 0
    assert "0 made, 0 changed" in capsys.readouterr().out
    assert world.dhis2.metadata == before
