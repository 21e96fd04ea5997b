"""The stand-in against what real servers said and stored: every recorded case, in order, by version."""

import base64
import gzip
import http.client
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from pydantic import SecretStr

from local.dhis2 import Metadata, StandIn, User, ValueKey, Version, uid
from local.dhis2.metadata import (
    DEFAULT_CATEGORY_COMBO,
    DEFAULT_CATEGORY_COMBO_ID,
    DEFAULT_OPTION_COMBO_ID,
    CategoryCombo,
    CategoryOption,
    CategoryOptionCombo,
    DataElement,
    DataInputPeriod,
    DataSet,
    OrgUnit,
)
from local.dhis2.periods import parse_period, period_of
from local.dhis2.values import StoredValue

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "dhis2"

pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recorded answers of real servers (../shared/dhis2) are not here"
)

NOW = datetime.fromisoformat("2026-11-23T18:00:00")
PASSWORD = "right"

LEFT_OUT = {
    r"pat_|push_pat_|push_with_pat|user_disabled_pat": "personal access tokens are not part of the stand-in",
    r"oauth|push_with_oauth|push_oauth": "OAuth2 is not part of the stand-in",
    r"push_async|async_": "asynchronous imports are not part of the stand-in: nobody here asks for one",
    r"user_account_expired": "accounts do not expire on the stand-in",
    r"system_settings": "system settings are not part of the stand-in",
}

CASES_AT_LEAST = 230
"""How many cases of each version are compared; fewer would mean that some were lost on the way."""


@dataclass(frozen=True)
class Case:
    """One recorded case."""

    name: str
    request: Mapping[str, Any]
    response: Mapping[str, Any]
    stored: Mapping[str, list[str]] | None

    @property
    def left_out(self) -> bool:
        return any(re.match(pattern, self.name) for pattern in LEFT_OUT)


def recorded_cases(version: Version) -> list[Case]:
    path = next(RECORDINGS.glob(f"{version}.*.jsonl"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [Case(line["case"], line["request"], line["response"], line.get("stored")) for line in lines]


# The metadata, as it was at each moment


def recorded_metadata(cases: list[Case]) -> Metadata:
    """Read what was set up; the servers made the ids of the option combos, so they come from the answers."""
    document = json.loads((RECORDINGS / "metadata.json").read_text())
    units: dict[str, OrgUnit] = {}
    for entry in document["organisationUnits"]:
        above = units[entry["parent"]["id"]].path if "parent" in entry else ""
        units[entry["id"]] = OrgUnit(
            id=entry["id"],
            code=entry["code"],
            name=entry["name"],
            path=f"{above}/{entry['id']}",
            opening_date=entry["openingDate"],
            closed_date=entry.get("closedDate"),
        )
    elements = [
        DataElement(
            id=entry["id"],
            code=entry["code"],
            name=entry["name"],
            value_type=entry["valueType"],
            aggregation_type=entry["aggregationType"],
            zero_is_significant=entry["zeroIsSignificant"],
            category_combo_id=entry.get("categoryCombo", {}).get("id", DEFAULT_CATEGORY_COMBO_ID),
        )
        for entry in document["dataElements"]
    ]
    # Left over from measuring: a data set of 200 data elements that no case uses, but lists show.
    rates = [DataElement(id=uid("rate", f"{n}"), code=f"RATE_{n}", name=f"Rate {n}") for n in range(200)]
    names = {entry["id"]: entry["username"] for entry in document["users"]}
    data_sets = [
        DataSet(
            id=entry["id"],
            code=entry["code"],
            name=entry["name"],
            period_type=entry["periodType"],
            open_future_periods=entry["openFuturePeriods"],
            category_combo_id=entry.get("categoryCombo", {}).get("id", DEFAULT_CATEGORY_COMBO_ID),
            data_element_ids=tuple(element["dataElement"]["id"] for element in entry["dataSetElements"]),
            org_unit_ids=tuple(unit["id"] for unit in entry["organisationUnits"]),
            writers=None
            if entry["sharing"]["public"][3] == "w"
            else tuple(
                names[who] for who, how in entry["sharing"]["users"].items() if how["access"][3] == "w"
            ),
        )
        for entry in document["dataSets"]
    ]
    rate_set = DataSet(id="nl2aByPPPhI", code="DS_RATE", name="Rate test", open_future_periods=1)
    return Metadata(
        org_units=tuple(units.values()),
        category_options=tuple(
            CategoryOption(id=entry["id"], code=entry["code"], name=entry["name"])
            for entry in document["categoryOptions"]
        ),
        category_combos=(DEFAULT_CATEGORY_COMBO, *recorded_category_combos(document, cases)),
        data_elements=(*elements, *rates),
        data_sets=(*data_sets, rate_set),
    )


def recorded_category_combos(document: Mapping[str, Any], cases: list[Case]) -> Iterator[CategoryCombo]:
    option_ids = {entry["name"]: entry["id"] for entry in document["categoryOptions"]}
    answers = {case.name: case.response["body"] for case in cases}
    of_elements = answers["dataset_read_coc"]["dataSetElements"][0]["dataElement"]["categoryCombo"]
    for entry, answered in zip(
        document["categoryCombos"], (of_elements, answers["dataset_read_aoc"]["categoryCombo"]), strict=True
    ):
        yield CategoryCombo(
            id=entry["id"],
            code=entry["code"],
            name=entry["name"],
            option_combos=tuple(
                CategoryOptionCombo(
                    id=combo["id"],
                    code=combo.get("code"),
                    name=combo["name"],
                    category_option_ids=(option_ids[combo["name"]],),
                )
                for combo in answered["categoryOptionCombos"]
            ),
        )


def recorded_users() -> list[User]:
    document = json.loads((RECORDINGS / "metadata.json").read_text())
    roles = {role["id"]: tuple(role["authorities"]) for role in document["userRoles"]}
    admin = User(username="admin", password=SecretStr(PASSWORD))
    return [admin] + [
        User(
            id=entry["id"],
            username=entry["username"],
            password=SecretStr(PASSWORD),
            first_name=entry["firstName"],
            surname=entry["surname"],
            authorities=roles[entry["userRoles"][0]["id"]],
            org_unit_ids=tuple(unit["id"] for unit in entry["organisationUnits"]),
        )
        for entry in document["users"]
    ]


def without_late_data_set(metadata: Metadata) -> Metadata:
    """Return the metadata without what was set up just before the ``push_w_…`` cases."""
    return metadata.model_copy(
        update={
            "data_elements": tuple(
                e for e in metadata.data_elements if not (e.code or "").startswith("ITEM_")
            ),
            "data_sets": tuple(data_set for data_set in metadata.data_sets if data_set.code != "DS_AOC"),
        }
    )


def with_closed_set(metadata: Metadata, **changes: object) -> Metadata:
    """Return the metadata with the data set ``DS_CLOSED`` changed."""
    return metadata.model_copy(
        update={
            "data_sets": tuple(
                data_set.model_copy(update=changes) if data_set.code == "DS_CLOSED" else data_set
                for data_set in metadata.data_sets
            )
        }
    )


def set_up(dhis2: StandIn, everything: Metadata, case: Case) -> None:
    """Change the metadata and users as whoever made the recordings did between the cases."""
    # The answer shows no dates of the data input period, but a push for its very month was refused.
    open_period = DataInputPeriod(period="202510")
    closed_period = DataInputPeriod(period="202510", closing_date=date(2025, 12, 31))
    early = without_late_data_set(everything)
    if case.name == "push_x_expired_period":
        dhis2.metadata = with_closed_set(early, expiry_days=5)
    elif case.name == "dataset_read_input_periods":
        dhis2.metadata = with_closed_set(early, data_input_periods=(open_period,))
    elif case.name == "push_x_not_input_period":
        dhis2.metadata = with_closed_set(early, data_input_periods=(closed_period,))
    elif case.name == "pat_expired":
        dhis2.metadata = early
    elif case.name == "push_w_aoc_by_uid":
        dhis2.metadata = everything
    narrow = dhis2.users["narrow"]
    dhis2.users["narrow"] = narrow.model_copy(update={"disabled": case.name == "user_disabled_basic"})


# One case: sending it, and the rows that stand in the database afterwards


def send(dhis2: StandIn, case: Case) -> tuple[int, Mapping[str, str], Any]:
    """Send a recorded request; each on a connection of its own, without a session."""
    request = case.request
    headers = {name: value for name, value in request["headers"].items() if name != "Authorization"}
    if "Authorization" in request["headers"]:
        headers["Authorization"] = login(case)
    if case.name == "me_no_auth_accept_html":
        headers["Accept"] = "text/html"
    query = quote(request["query"] or "", safe="=&%:,[]!@")
    connection = http.client.HTTPConnection(urlsplit(dhis2.url).netloc, timeout=30)
    connection.request(
        request["method"], request["path"] + (f"?{query}" if query else ""), body_of(request), headers
    )
    response = connection.getresponse()
    text = response.read().decode()
    found = dict(response.headers)
    connection.close()
    if "json" in (response.headers["Content-Type"] or "") and text:
        return response.status, found, json.loads(text)
    return response.status, found, text


def login(case: Case) -> str:
    username = re.search(r"user (\w+)", case.request["headers"]["Authorization"])
    assert username is not None, case.name
    wrong = "wrong_password" in case.name
    return f"Basic {base64.b64encode(f'{username[1]}:{"wrong" if wrong else PASSWORD}'.encode()).decode()}"


def body_of(request: Mapping[str, Any]) -> bytes | None:
    body = request.get("body")
    if body is None or isinstance(body, bytes):
        return body
    if not isinstance(body, str):
        return json.dumps(body).encode()
    if body.startswith("gzip of "):
        return gzip.compress(body.removeprefix("gzip of ").encode())
    if body == "first 60 bytes of a gzip body":
        return gzip.compress(json.dumps({"dataValues": list(range(200))}).encode())[:60]
    return body.encode()


def table(dhis2: StandIn, *, with_attribute: bool) -> set[str]:
    """Write the stored rows as the recordings do."""
    metadata = dhis2.metadata
    lines = set()
    for key, row in dhis2.values.rows.items():
        period = known(parse_period(key.period))
        element = known(metadata.data_element.by_id(key.data_element))
        unit = known(metadata.org_unit.by_id(key.org_unit))
        combo = known(metadata.option_combo.by_id(key.category_option_combo))
        attribute = known(metadata.option_combo.by_id(key.attribute_option_combo))
        line = (
            f"{element.code}|{unit.code}|{period.first}|{period.last}|{combo.code or combo.name}|{row.value}|"
            f"{'t' if row.deleted else 'f'}|{row.stored_by}"
        )
        lines.add(
            f"{line}|attribute option combo {attribute.code or attribute.name}" if with_attribute else line
        )
    return lines


def put_right(dhis2: StandIn, stored: Mapping[str, list[str]]) -> None:
    """Store what the real server had stored, so that one difference does not bring others."""
    for line in stored["removed"]:
        dhis2.values.rows.pop(key_of(dhis2, line), None)
    for line in stored["added"]:
        value, deleted, stored_by = line.split("|")[5:8]
        dhis2.values.rows[key_of(dhis2, line)] = StoredValue(value, stored_by, NOW, NOW, deleted == "t")


def key_of(dhis2: StandIn, line: str) -> ValueKey:
    element, unit, first, last, combo, *_ = line.split("|")
    metadata = dhis2.metadata
    start = date.fromisoformat(first)
    days = (date.fromisoformat(last) - start).days
    return ValueKey(
        known(metadata.data_element.by_scheme("CODE", element)).id,
        period_of("Monthly" if days > 6 else "Weekly" if days else "Daily", start).iso,
        known(metadata.org_unit.by_scheme("CODE", unit)).id,
        next(thing.id for thing in metadata.option_combo.all if combo in (thing.code, thing.name)),
        DEFAULT_OPTION_COMBO_ID,
    )


def known[T](thing: T | None) -> T:
    assert thing is not None
    return thing


# What counts as the same

INSTANTS = {"created", "lastUpdated", "serverDate", "revision"}
OF_ME = {"id", "username", "firstName", "surname", "name", "displayName", "organisationUnits", "dataSets"}


def comparable(case: Case, status: int, headers: Mapping[str, str], body: object) -> dict[str, Any]:
    """Return what must be the same: all but instants, host names, the order of lists, and HTML."""
    found: dict[str, Any] = {"status": status}
    if "Location" in headers:
        found["location"] = re.sub(r"^https?://[^/]+", "", headers["Location"])
    if case.request["method"] == "OPTIONS":
        return found
    if "html" in headers.get("Content-Type", ""):
        return {**found, "body": "HTML"}
    if case.name == "me_ok" and isinstance(body, dict):
        body = {name: value for name, value in body.items() if name in OF_ME}
    return {**found, "body": normalised(body)}


def normalised(value: object) -> object:
    if isinstance(value, dict):
        return {name: normalised(inner) for name, inner in value.items() if name not in INSTANTS}
    if isinstance(value, list):
        return sorted(
            (normalised(inner) for inner in value), key=lambda inner: json.dumps(inner, sort_keys=True)
        )
    if isinstance(value, str):
        value = re.sub(r"http://127\.0\.0\.1:\d+", "", value)
        value = re.sub(r"Default404Servlet-\w+", "Default404Servlet", value)
        return re.sub(r"(The import process failed: (java|com)\.).*", r"\1…", value, flags=re.DOTALL)
    return value


def differences(dhis2: StandIn, case: Case) -> list[str]:
    with_attribute = case.name.startswith("push_w_")
    before = table(dhis2, with_attribute=with_attribute)
    said = comparable(case, *send(dhis2, case))
    recorded = comparable(case, case.response["status"], case.response["headers"], case.response["body"])
    found = [f"said {said}, not {recorded}"] if said != recorded else []
    if case.stored is not None:
        after = table(dhis2, with_attribute=with_attribute)
        added, removed = sorted(after - before), sorted(before - after)
        if added != sorted(case.stored["added"]) or removed != sorted(case.stored["removed"]):
            found.append(f"stored {added} for {removed}, not {case.stored}")
            put_right(dhis2, case.stored)
    return found


@pytest.mark.parametrize("version", [Version.V2_40, Version.V2_41, Version.V2_42, Version.V2_43])
def test_the_stand_in_says_and_stores_what_the_recorded_server_did(
    version: Version, record_property: Callable[[str, object], None]
) -> None:
    cases = recorded_cases(version)
    everything = recorded_metadata(cases)
    found: dict[str, list[str]] = {}
    compared = 0
    with StandIn(
        without_late_data_set(everything), version=version, users=recorded_users(), now=NOW
    ) as dhis2:
        for case in cases:
            set_up(dhis2, everything, case)
            if case.left_out:
                if case.stored is not None:
                    put_right(dhis2, case.stored)
                continue
            compared += 1
            if case_differences := differences(dhis2, case):
                found[case.name] = case_differences

    record_property("agreement", f"{compared - len(found)} of {compared}; {len(cases) - compared} left out")
    assert compared >= CASES_AT_LEAST
    assert not found, "\n".join(f"{name}: {line}" for name, lines in found.items() for line in lines)
