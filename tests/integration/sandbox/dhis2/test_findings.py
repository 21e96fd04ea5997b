"""The stand-in, and what push reads, against what live servers showed beside the recorded cases.

Other metadata stood on those servers, and rows from before: what was stored is compared where it was recorded, counts of
stored rows only in their sum.
"""

import base64
import http.client
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from msupply_dhis2.dhis2.metadata import find_lock_exceptions
from msupply_dhis2.dhis2.models import Query
from sandbox.dhis2 import Metadata, StandIn, ValueKey, Version, uid
from sandbox.dhis2.metadata import (
    DEFAULT_CATEGORY_COMBO,
    DEFAULT_OPTION_COMBO_ID,
    CategoryCombo,
    CategoryOption,
    CategoryOptionCombo,
    DataElement,
    DataInputPeriod,
    DataSet,
    LockException,
    OrgUnit,
    SystemSettings,
)
from sandbox.dhis2.values import StoredValue
from tests.support.dhis2_recordings import PASSWORD, RECORDINGS, VERSIONS, known, normalised, recorded_users

MORE = RECORDINGS / "more"
NOW = datetime.fromisoformat("2026-11-29T01:00:00")

ROOT = "kpzj5PlYrPM"
OPUA, KAMO = "B4MIzXjwtKS", "DFkbECwA1C2"
PER_ITEM, BY_ATTRIBUTE, BY_CATEGORY, SINGLE, OF_BEFORE = (
    "c54Q2SCcfkO",
    "VkZKciTSzKP",
    "zM1uYQPpFcC",
    "QCASd5B6Kgx",
    "pnTbB8OqVFu",
)
ATTRIBUTES, CATEGORIES = "ELUwd3x8crL", "h0z6hSZYFqL"
OPTIONS = {"EXPIRED": "gBylceZ5grd", "STOCK_ON_HAND": "jCyVNK8vtPJ"}
"""The UIDs of the category options that a case names."""

pytestmark = pytest.mark.skipif(
    not MORE.is_dir(), reason="the recorded answers of real servers (../shared/dhis2) are not here"
)


@dataclass(frozen=True)
class Case:
    """One request, what the live server said, and what it then had stored, where that was looked at."""

    name: str
    request: Mapping[str, Any]
    response: Mapping[str, Any]
    stored: Mapping[str, list[str]]


def cases_of(kind: str, version: Version) -> list[Case]:
    (path,) = MORE.glob(f"{kind}-{version}.*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [Case(line["case"], line["request"], line["response"], line.get("stored", {})) for line in lines]


def answer_to(version: Version, name: str) -> Any:  # noqa: ANN401 - any JSON
    return next(case.response["body"] for case in cases_of("various", version) if case.name == name)


# What was set up


def metadata_of(version: Version) -> Metadata:
    by_attribute = answer_to(version, "dataSets code STOCK_ATTRIBUTE")["dataSets"][0]
    units = [OrgUnit(id=ROOT, code="OU_ROOT", name="Root", path=f"/{ROOT}")] + [
        OrgUnit(id=unit["id"], code=unit["code"], name=unit["name"], path=unit["path"])
        for unit in by_attribute["organisationUnits"]
    ]
    closed = OrgUnit(id="eOUUBRPgtil", code="OU_CLOSED", name="Closed", path=f"/{ROOT}/eOUUBRPgtil")
    assigned = tuple(unit.id for unit in units if unit.id != ROOT)
    attributes = by_attribute["categoryCombo"]["categoryOptionCombos"]
    mixed = next(case for case in cases_of("various", version) if case.name == "cat mixed").request["body"]
    of_category = {
        **{
            combo["code"]: combo["id"]
            for combo in answer_to(version, "coc code")["categoryOptionCombos"]
            if combo["categoryCombo"]["id"] == CATEGORIES
        },
        "C_OF_THE_CASE": mixed["dataValues"][0]["categoryOptionCombo"],
        "C_STOCK_ON_HAND": next(
            combo["id"]
            for combo in answer_to(version, "catoption")["categoryOptions"][0]["categoryOptionCombos"]
            if combo["categoryCombo"]["id"] == CATEGORIES
        ),
    }
    return Metadata(
        org_units=(*units, closed),
        category_options=tuple(
            CategoryOption(id=option_of(combo["code"]), code=f"OPTION_{combo['code']}", name=combo["name"])
            for combo in attributes
        ),
        category_combos=(
            DEFAULT_CATEGORY_COMBO,
            CategoryCombo(
                id=ATTRIBUTES,
                code=None,
                name="Attributes",
                option_combos=tuple(
                    CategoryOptionCombo(**combo, category_option_ids=(option_of(combo["code"]),))
                    for combo in attributes
                ),
            ),
            CategoryCombo(
                id=CATEGORIES,
                code=None,
                name="Categories",
                option_combos=tuple(
                    CategoryOptionCombo(
                        id=identifier,
                        code=code,
                        name="Px Stock on hand",
                        category_option_ids=(OPTIONS["STOCK_ON_HAND"],) if code == "C_STOCK_ON_HAND" else (),
                    )
                    for code, identifier in of_category.items()
                ),
            ),
        ),
        data_elements=(
            element("WmP2h37tNcM", "QSOH_45bfa4bf", "QSOH_45bfa4bf Stock on hand, Ibuprofen 200mg tablets"),
            element("cAm7qDM6AB8", "MOS"),
            element("lIJcbbjyfAV", "OUT", value_type="BOOLEAN"),
            element("vHDdu5tOC0C", "ADJ"),
            element("TiIThmyagKK", "368c74bf", "368c74bf Amoxicillin 250mg tabs"),
            element("xViLjNGmcI5", "45bfa4bf"),
            element("voZMJReh1Eh", "C_1", category_combo_id=CATEGORIES),
            element("wniF3mUTYbe", "C_2", category_combo_id=CATEGORIES),
            element("EGDlljmuT4z", "SOH_ZERO", zero_is_significant=False),
        ),
        data_sets=(
            data_set(PER_ITEM, "STOCK_PER_ITEM", assigned, "WmP2h37tNcM", "cAm7qDM6AB8", "lIJcbbjyfAV", "vHDdu5tOC0C"),
            data_set(SINGLE, "STOCK_SINGLE", assigned, "TiIThmyagKK", "xViLjNGmcI5"),
            data_set(BY_ATTRIBUTE, "STOCK_ATTRIBUTE", assigned, "TiIThmyagKK", "xViLjNGmcI5").model_copy(
                update={"category_combo_id": ATTRIBUTES}
            ),
            data_set(BY_CATEGORY, "STOCK_CATEGORY", assigned, "voZMJReh1Eh", "wniF3mUTYbe"),
            data_set(OF_BEFORE, "DS_STOCK", assigned, "EGDlljmuT4z"),
        ),
    )  # fmt: skip


def option_of(code: str) -> str:
    return OPTIONS.get(code) or uid("categoryOption", code)


def element(identifier: str, code: str, name: str = "", **fields: Any) -> DataElement:  # noqa: ANN401 - fields of any kind
    return DataElement(id=identifier, code=code, name=name or code, **fields)


def data_set(identifier: str, code: str, org_units: tuple[str, ...], *elements: str) -> DataSet:
    return DataSet(
        id=identifier,
        code=code,
        name=code,
        open_future_periods=1,
        data_element_ids=elements,
        org_unit_ids=org_units,
        writers=("pusher", "reader", "narrow", "admin"),
    )


def changed[Thing: (DataSet, OrgUnit, CategoryOption)](
    things: tuple[Thing, ...], identifier: str, **fields: object
) -> tuple[Thing, ...]:
    assert any(thing.id == identifier for thing in things)
    return tuple(thing.model_copy(update=fields) if thing.id == identifier else thing for thing in things)


def as_set_up_for(case: str, metadata: Metadata) -> Metadata:
    """Change what whoever recorded the case had changed."""
    changes: dict[str, Any] = {}
    if case.startswith("lock_exception"):
        changes["data_sets"] = changed(metadata.data_sets, PER_ITEM, expiry_days=5)
        changes["lock_exceptions"] = (LockException(data_set_id=PER_ITEM, org_unit_id=OPUA, period="202204"),)
    elif case == "category_option_not_writable":
        changes["category_options"] = changed(metadata.category_options, OPTIONS["EXPIRED"], writers=())
    elif case.startswith("require_combos"):
        changes["system_settings"] = SystemSettings(
            require_category_option_combo=True, require_attribute_option_combo=True
        )
    elif case.startswith("current_month_closed"):
        changes["data_sets"] = changed(metadata.data_sets, PER_ITEM, open_future_periods=0)
    elif case.startswith("data_input_period"):
        closing = date(2027, 1, 1) if case.endswith("open") else date(2022, 6, 1)
        period = DataInputPeriod(period="202204", opening_date=date(2022, 5, 1), closing_date=closing)
        changes["data_sets"] = changed(metadata.data_sets, PER_ITEM, data_input_periods=(period,))
    elif case == "org_unit_opened_in_the_period":
        changes["org_units"] = changed(metadata.org_units, OPUA, opening_date=date(2022, 4, 10))
    return metadata.model_copy(update=changes)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> Version:
    found: Version = request.param
    return found


@pytest.fixture
def dhis2(version: Version) -> Iterator[StandIn]:
    with StandIn(metadata_of(version), version=version, users=recorded_users(), now=NOW) as stand_in:
        yield stand_in


def store_what_stood_there(dhis2: StandIn) -> None:
    for period in ("202112", "202201", "202202"):
        key = ValueKey("WmP2h37tNcM", period, "pgC3HU80rr0", DEFAULT_OPTION_COMBO_ID, DEFAULT_OPTION_COMBO_ID)
        dhis2.values.rows[key] = StoredValue("5", "pusher", NOW, NOW)


def said_to(dhis2: StandIn, case: Case) -> tuple[int, Any]:
    user = case.request.get("user", "pusher")
    login = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
    body = case.request["body"]
    connection = http.client.HTTPConnection(urlsplit(dhis2.url).netloc, timeout=30)
    connection.request(
        case.request["method"],
        case.request["path"].replace(" ", "%20"),
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Basic {login}", "Content-Type": "application/json", "Accept": "application/json"},
    )
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, json.loads(text) if text else None


# What was found


def rows(dhis2: StandIn) -> set[str]:
    metadata = dhis2.metadata
    return {
        f"{known(metadata.data_element.by_id(key.data_element)).code}|"
        f"{known(metadata.org_unit.by_id(key.org_unit)).code}|{row.value}|{str(row.deleted).lower()}"
        for key, row in dhis2.values.rows.items()
    }


OF_OTHERS = re.compile("ZM_")
"""Rows that somebody else stored on the live server at the same time."""


def test_as_live_servers(version: Version, dhis2: StandIn) -> None:
    everything = dhis2.metadata
    for case in cases_of("findings", version):
        dhis2.metadata = as_set_up_for(case.name, everything)
        before = rows(dhis2)
        status, body = said_to(dhis2, case)
        assert status == case.response["status"], case.name
        if case.request["method"] == "GET":
            assert exceptions(body) == exceptions(case.response["body"]), case.name
        else:
            assert normalised(body) == normalised(case.response["body"]), case.name
            after = rows(dhis2)
            assert sorted(after - before) == without_others(case.stored["added"]), case.name
            assert sorted(before - after) == without_others(case.stored["removed"]), case.name


def without_others(lines: list[str]) -> list[str]:
    return sorted(line for line in lines if OF_OTHERS.match(line) is None)


def exceptions(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    wanted = ("period", "organisationUnit", "dataSet")
    return [{name: exception[name] for name in wanted} for exception in body["lockExceptions"]]


def test_lock_exceptions(version: Version) -> None:
    class Recorded:
        def get(self, path: str, params: Query | None = None) -> object:
            assert path == "/api/lockExceptions"
            assert params is not None
            assert params["fields"] == "*"
            case = next(
                case for case in cases_of("findings", version) if case.name == "lock_exceptions_read_all"
            )
            return case.response["body"]

    assert find_lock_exceptions(Recorded(), PER_ITEM) == {(OPUA, "202204")}


# Various requests

OTHERWISE = (
    # Lists that show other objects, what is stored from before, and the export of values.
    r"me|system|dataSets|ou |dvs|coc code"
    # Schemes that are attributes or names; periods of years that are not set up there.
    r"|attribute scheme|period '(1850-01|999912)'"
)


def test_requests_as_live_servers(version: Version, dhis2: StandIn) -> None:
    store_what_stood_there(dhis2)
    compared = 0
    differing = []
    for case in cases_of("various", version):
        if re.match(OTHERWISE, case.name):
            continue
        compared += 1
        said = comparable(*said_to(dhis2, case))
        recorded = comparable(case.response["status"], case.response["body"])
        if said != recorded:
            differing.append((case.name, said, recorded))
    assert not differing, "\n".join(map(str, differing))
    assert compared > 50


def comparable(status: int, body: Mapping[str, Any]) -> object:
    """Return what must be the same: of counts the deleted rows, and how many others there are."""
    found = {name: value for name, value in body.items() if not name.startswith("httpStatus")}
    if isinstance(response := found.get("response"), dict):
        counts = response["importCount"]
        found["response"] = {
            "status": response["status"],
            "others": counts["imported"] + counts["updated"] + counts["ignored"],
            "deleted": counts["deleted"],
            "conflicts": response["conflicts"],
            "rejectedIndexes": response["rejectedIndexes"],
        }
    return status, normalised(found)
