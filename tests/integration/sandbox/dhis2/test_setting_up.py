"""Setting the stand-in up through its API: what is stored, what is refused, and who may see it."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
import requests

from sandbox.dhis2 import ADMIN, StandIn, User, Version, empty_metadata, uid

NOW = date(2026, 11, 1)
KAMO = uid("organisationUnit", "OU_KAMO")
OPUA = uid("organisationUnit", "OU_OPUA")
COMMIT = "metadata?importMode=COMMIT&importStrategy=CREATE_AND_UPDATE"
VALIDATE = "metadata?importMode=VALIDATE&importStrategy=CREATE_AND_UPDATE"
GROUP, ROLE, PUSHER = uid("userGroup", "PUSH"), uid("userRole", "PUSH"), uid("user", "pusher")

type Document = dict[str, Any]


class Dhis2:
    """A stand-in and the calls to it."""

    def __init__(self, server: StandIn) -> None:
        self.server = server

    def call(self, method: str, path: str, body: object = None, user: User = ADMIN) -> requests.Response:
        login = (user.username, user.password.get_secret_value())
        address = f"{self.server.url}/api/{path}"
        return requests.request(method, address, json=body, auth=login, timeout=10)

    def post(self, path: str, **documents: list[Document]) -> Document:
        answer: Document = self.call("POST", path, documents).json()
        return answer

    def get(self, path: str, user: User = ADMIN) -> Document:
        answer: Document = self.call("GET", path, user=user).json()
        return answer

    def push(self, period: str, user: User = ADMIN) -> requests.Response:
        row = {"dataElement": SOH["id"], "orgUnit": KAMO, "period": period, "value": "1"}
        return self.call(
            "POST", "dataValueSets?strictPeriods=true", {"dataSet": STOCK["id"], "dataValues": [row]}, user
        )


def element(code: str, **changes: object) -> Document:
    return {
        "id": uid("dataElement", code),
        "code": code,
        "name": code,
        "shortName": code,
        "domainType": "AGGREGATE",
        "valueType": "NUMBER",
        "aggregationType": "LAST_IN_PERIOD",
        "zeroIsSignificant": True,
        **changes,
    }


def shared(access: str) -> Document:
    return {"public": "--------", "userGroups": {GROUP: {"id": GROUP, "access": access}}}


SOH = element("SOH_1", sharing=shared("r-------"))
STOCK: Document = {
    "id": uid("dataSet", "STOCK"),
    "code": "STOCK",
    "name": "Stock",
    "shortName": "Stock",
    "periodType": "Monthly",
    "openFuturePeriods": 1,
    "dataSetElements": [{"dataElement": {"id": SOH["id"]}}],
    "organisationUnits": [{"id": KAMO}],
    "sharing": shared("r-rw----"),
}
ACCESS: dict[str, list[Document]] = {
    "userRoles": [{"id": ROLE, "name": "Push", "authorities": ["F_DATAVALUE_ADD"]}],
    "userGroups": [{"id": GROUP, "code": "PUSH", "name": "Push", "users": []}],
}


@pytest.fixture
def start() -> Iterator[Callable[[Version], Dhis2]]:
    """Yield what starts an empty server of a version."""
    servers = []

    def started(version: Version = Version.V2_42) -> Dhis2:
        metadata = empty_metadata([("OU_KAMO", "Kamo"), ("OU_OPUA", "Opua")])
        server = StandIn(metadata, version=version, now=NOW)
        server.start()
        servers.append(server)
        return Dhis2(server)

    yield started
    for server in servers:
        server.stop()


@pytest.fixture
def dhis2(start: Callable[[Version], Dhis2]) -> Dhis2:
    """Return a server with a data set that a group may fill in."""
    made = start(Version.V2_42)
    assert made.post(COMMIT, **ACCESS, dataElements=[SOH], dataSets=[STOCK])["status"] == "OK"
    assert made.call("POST", "maintenance?cacheClear=true").ok
    return made


def errors(answer: Document) -> list[tuple[str, str | None]]:
    return [
        (error["errorCode"], error.get("errorProperty"))
        for report in answer["response"]["typeReports"]
        for of_object in report["objectReports"]
        for error in of_object["errorReports"]
    ]


def test_validate_stores_nothing(dhis2: Dhis2) -> None:
    answer = dhis2.post(f"{VALIDATE}&dryRun=true", dataElements=[element("AMC_1")])
    assert answer["response"]["stats"]["created"] == 1
    assert dhis2.get("dataElements?filter=code:eq:AMC_1")["dataElements"] == []


def test_dry_run_is_not_looked_at(dhis2: Dhis2) -> None:
    dhis2.post("metadata?dryRun=true", dataElements=[element("AMC_1")])
    assert len(dhis2.get("dataElements?filter=code:in:[AMC_1,SOH_1]")["dataElements"]) == 2


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (element("SOH_1", id=uid("dataElement", "other"), name="x", shortName="x"), [("E5003", "code")]),
        (element("B", name="SOH_1"), [("E5003", "name")]),
        (element("B", name="n" * 231), [("E4001", "name")]),
        (element("B", shortName=None), [("E4000", "shortName")]),
        (element("B", categoryCombo={"id": "abcdefghij1"}), [("E5002", "categoryCombo")]),
        (element("B", id="short"), [("E4002", "id"), ("E4014", "id")]),
        (element("B", sharing={"userGroups": {"x": {"id": "abcdefghij1", "access": "r-------"}}}), [("E5002", "userGroup")]),
    ],
)  # fmt: skip
def test_refused(dhis2: Dhis2, wrong: Document, found: list[tuple[str, str]]) -> None:
    answer = dhis2.post(COMMIT, dataElements=[element("GOOD"), wrong])
    assert answer["response"]["status"] == "ERROR"
    assert errors(answer) == found
    assert dhis2.get("dataElements?filter=code:eq:GOOD")["dataElements"] == []


def test_update_replaces(dhis2: Dhis2) -> None:
    dhis2.post(COMMIT, dataSets=[{**STOCK, "organisationUnits": [{"id": OPUA}]}])
    added = dhis2.call("POST", f"dataSets/{STOCK['id']}/organisationUnits", {"additions": [{"id": KAMO}]})
    assert added.json()["response"]["stats"]["updated"] == 1
    owned = dhis2.get(f"dataSets/{STOCK['id']}?fields=:owner")
    assert [unit["id"] for unit in owned["organisationUnits"]] == [OPUA, KAMO]
    dhis2.post(COMMIT, dataSets=[{**owned, "dataSetElements": []}])
    again = dhis2.get(f"dataSets/{STOCK['id']}?fields=dataSetElements~size,organisationUnits[code],sharing")
    assert again["dataSetElements"] == 0
    assert {unit["code"] for unit in again["organisationUnits"]} == {"OU_KAMO", "OU_OPUA"}
    assert again["sharing"]["userGroups"] == STOCK["sharing"]["userGroups"]


def test_who_may(dhis2: Dhis2) -> None:
    """Only the group reads the data element and enters its values, as soon as somebody is in it."""
    user = {
        "id": PUSHER,
        "username": "pusher",
        "password": "P4ssword!",
        "firstName": "A",
        "surname": "Pusher",
        "userRoles": [{"id": ROLE}],
        "organisationUnits": [{"id": KAMO}],
    }
    assert dhis2.call("POST", "users", user).status_code == 201
    pusher = dhis2.server.users["pusher"]
    assert dhis2.get("dataElements", pusher)["dataElements"] == []
    assert dhis2.push("202610", pusher).json()["response"]["conflicts"][0]["errorCode"] == "E7601"
    group = {**ACCESS["userGroups"][0], "users": [{"id": PUSHER}]}
    dhis2.post(COMMIT, userGroups=[group])
    assert dhis2.push("202610", pusher).ok
    assert len(dhis2.get("dataElements", pusher)["dataElements"]) == 1
    refused = dhis2.call("POST", COMMIT, {"dataElements": [element("X"), {**SOH, "name": "y"}]}, pusher)
    assert [code for code, _ in errors(refused.json())] == ["E3000", "E3001"]
    for path in ("maintenance?cacheClear=true", "resourceTables/analytics", "systemSettings/keyX"):
        assert dhis2.call("POST", path, user=pusher).status_code == 403


@pytest.mark.parametrize("version", [Version.V2_40, Version.V2_41, Version.V2_42, Version.V2_43])
def test_periods_of_a_new_data_set(start: Callable[[Version], Dhis2], version: Version) -> None:
    """2.41 and 2.42 take the first push only, until their cache is cleared."""
    dhis2 = start(version)
    dhis2.post(COMMIT, **ACCESS, dataElements=[SOH], dataSets=[STOCK])
    is_stale = version in (Version.V2_41, Version.V2_42)
    assert dhis2.push("202608").ok
    second = dhis2.push("202609")
    assert second.ok is not is_stale
    if is_stale:
        assert second.json()["response"]["conflicts"][0]["errorCode"] == "E7644"
    assert dhis2.push("202608").ok
    dhis2.call("POST", "maintenance?cacheClear=true")
    assert dhis2.push("202610").ok


def test_reading_before_the_first_push(start: Callable[[Version], Dhis2]) -> None:
    dhis2 = start(Version.V2_41)
    dhis2.post(COMMIT, **ACCESS, dataElements=[SOH], dataSets=[STOCK])
    dhis2.get(f"dataSets/{STOCK['id']}")
    assert dhis2.push("202608").json()["response"]["conflicts"][0]["errorCode"] == "E7632"


@pytest.mark.parametrize("version", [Version.V2_42, Version.V2_43])
def test_option_combos(start: Callable[[Version], Dhis2], version: Version) -> None:
    dhis2 = start(version)
    options = [{"id": uid("option", name), "name": name, "shortName": name} for name in ("SOH", "AMC")]
    category: Document = {
        "id": uid("category", "METRIC"),
        "name": "Metric",
        "shortName": "Metric",
        "categoryOptions": [{"id": option["id"]} for option in options],
    }
    combo: Document = {"id": uid("combo", "METRIC"), "name": "Metric", "categories": [{"id": category["id"]}]}
    dhis2.post(COMMIT, categoryOptions=options, categories=[category], categoryCombos=[combo])
    fields = f"categoryCombos/{combo['id']}?fields=categoryOptionCombos[id,code,categoryOptions[id]]"
    assert dhis2.get(fields)["categoryOptionCombos"] == []
    assert dhis2.call("POST", "maintenance/categoryOptionComboUpdate").ok
    made = dhis2.get(fields)["categoryOptionCombos"]
    assert {each["categoryOptions"][0]["id"] for each in made} == {option["id"] for option in options}
    own = {
        "id": uid("optionCombo", "SOH"),
        "name": "SOH",
        "categoryCombo": {"id": combo["id"]},
        "categoryOptions": [{"id": options[0]["id"]}],
    }
    answer = dhis2.post(COMMIT, categoryOptionCombos=[own])
    refused = [("E1132", None)] if version is Version.V2_43 else []
    assert errors(answer) == refused


@pytest.mark.parametrize("version", [Version.V2_40, Version.V2_42, Version.V2_43])
def test_maps(start: Callable[[Version], Dhis2], version: Version) -> None:
    dhis2 = start(version)
    legends: Document = {"id": uid("legendSet", "L"), "name": "L", "legends": []}
    view = {
        "layer": "thematic",
        "legendSet": {"id": legends["id"]},
        "rows": [{"dimension": "ou", "items": []}],
    }
    shown: Document = {"id": uid("map", "M"), "code": "M", "name": "M", "mapViews": [view]}
    dhis2.post(COMMIT, legendSets=[legends])
    together = dhis2.call("POST", COMMIT, {"maps": [shown]})
    assert together.ok is (version is Version.V2_43)
    if version is not Version.V2_43:
        assert dhis2.call("POST", "maps", shown).status_code == 201
    changed = dhis2.call("PUT", f"maps/{shown['id']}", {**shown, "name": "N"})
    assert changed.ok is (version is not Version.V2_40)
    known = {
        **shown,
        "name": "N",
        "lastUpdated": "2026-11-01T00:00:00.000",
        "created": "2026-11-01T00:00:00.000",
    }
    assert dhis2.call("PUT", f"maps/{shown['id']}", known).ok
    assert dhis2.get(f"maps/{shown['id']}")["name"] == "N"


def test_delete_needs_no_values(dhis2: Dhis2) -> None:
    dhis2.push("202610")
    answer = dhis2.post("metadata?importStrategy=DELETE", dataElements=[{"id": SOH["id"]}])
    assert errors(answer) == [("E4030", None)]
    made = element("AMC_1")
    dhis2.post(COMMIT, dataElements=[made])
    gone = dhis2.post("metadata?importStrategy=DELETE", dataElements=[{"id": made["id"]}])
    assert gone["response"]["stats"]["deleted"] == 1
    assert dhis2.call("GET", f"dataElements/{made['id']}").status_code == 404


def test_login_first(dhis2: Dhis2) -> None:
    answer = requests.post(f"{dhis2.server.url}/api/{COMMIT}", json={}, allow_redirects=False, timeout=10)
    assert answer.status_code == 302
