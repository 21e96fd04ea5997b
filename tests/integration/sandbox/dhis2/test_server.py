"""How the stand-in behaves, version by version, over HTTP."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from threading import Barrier, Event
from time import sleep
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from sandbox.dhis2 import (
    ADMIN,
    FaultKind,
    MetadataAccess,
    OAuth2Client,
    PersonalAccessToken,
    StandIn,
    User,
    Version,
    new_token,
    stock_metadata,
    uid,
)
from sandbox.dhis2.metadata import DataInputPeriod, LockException, Metadata, OptionSet
from tests.support.paths import PROJECT

ROWS = [Version.V2_37, Version.V2_40, Version.V2_41, Version.V2_42]
CODES = {"dataElementIdScheme": "CODE", "orgUnitIdScheme": "CODE", "dataSetIdScheme": "CODE"}
COMBO_CODES = {**CODES, "categoryOptionComboIdScheme": "CODE"}
STRICT = {
    f"strict{what}": "true"
    for what in (
        "Periods",
        "DataElements",
        "CategoryOptionCombos",
        "AttributeOptionCombos",
        "OrganisationUnits",
    )
}
METADATA = stock_metadata(
    [("OPUA", "Opua"), ("KAMO", "Kamo")],
    [("aspirin", "Aspirin"), ("ors", "ORS sachets")],
    ["stock_on_hand", "stocked_out"],
    zero_is_significant=False,
)
TODAY = date(2026, 3, 10)
USERS = (
    ADMIN,
    User(username="pusher", password=SecretStr("right"), authorities=("F_DATAVALUE_ADD",)),
    User(username="reader", password=SecretStr("right"), authorities=()),
    User(username="elsewhere", password=SecretStr("right"), authorities=("F_DATAVALUE_ADD",)),
    User(username="gone", password=SecretStr("right"), disabled=True),
    User(
        username="opua",
        password=SecretStr("right"),
        authorities=("F_DATAVALUE_ADD",),
        org_unit_ids=(uid("organisationUnit", "OPUA"),),
    ),
)


def restricted(metadata: Metadata) -> Metadata:
    """Return the metadata with data sets that the user "elsewhere" may not write."""
    writers = ("pusher", "opua", "reader")
    return changed(metadata, writers=writers)


def changed(metadata: Metadata, **changes: object) -> Metadata:
    data_sets = tuple(data_set.model_copy(update=changes) for data_set in metadata.data_sets)
    return metadata.model_copy(update={"data_sets": data_sets})


def stand_in(version: Version, metadata: Metadata = METADATA) -> StandIn:
    return StandIn(restricted(metadata), version=version, users=USERS, now=TODAY)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.auth = ("pusher", "right")
        yield opened


def row(
    data_element: str, value: object, *, org_unit: str = "OPUA", period: str = "202602", **more: object
) -> dict[str, object]:
    return {"dataElement": data_element, "orgUnit": org_unit, "period": period, "value": value, **more}


def push(
    dhis2: StandIn,
    session: requests.Session,
    *rows: dict[str, object],
    data_set: str | None = "MSUPPLY_STOCK",
    query: dict[str, str] = CODES,
) -> requests.Response:
    body: dict[str, object] = {"dataValues": list(rows)}
    if data_set is not None:
        body["dataSet"] = data_set
    return session.post(
        f"{dhis2.url}/api/dataValueSets", params=query, json=body, allow_redirects=False, timeout=10
    )


def summary(response: requests.Response) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    found: dict[str, Any] = body.get("response", body)
    return found


def counts(response: requests.Response) -> tuple[int, int, int, int]:
    found = summary(response)["importCount"]
    return found["imported"], found["updated"], found["ignored"], found["deleted"]


def errors(response: requests.Response) -> list[tuple[str, list[int] | None]]:
    return [(conflict["errorCode"], conflict.get("indexes")) for conflict in summary(response)["conflicts"]]


# Pushing


@pytest.mark.parametrize("version", ROWS)
def test_wrong_row_before_2_43(version: Version, session: requests.Session) -> None:
    with stand_in(version) as dhis2:
        answer = push(
            dhis2,
            session,
            row("SOH_aspirin", "5"),
            row("SOH_nothing", "1"),
            row("SOH_ors", "many"),
            row("SOH_ors", "2"),
        )
        assert errors(answer) == [("E7610", [1]), ("E7619", [2])]
        assert counts(answer) == (2, 0, 2, 0)
        assert dhis2.value("SOH_aspirin", "OPUA", "202602") == "5"
        assert dhis2.value("SOH_ors", "OPUA", "202602") == "2"


def test_unknown_identifier_2_43(session: requests.Session) -> None:
    with stand_in(Version.V2_43) as dhis2:
        answer = push(dhis2, session, row("SOH_aspirin", "5"), row("SOH_nothing", "1"))
        assert answer.status_code == 409
        assert errors(answer) == [("E8103", [-1])]
        assert summary(answer)["conflicts"][0]["value"] == "Value #1 data element not found: `SOH_nothing`"
        assert counts(answer) == (0, 0, 0, 0)
        assert len(dhis2.values) == 0


def test_wrong_org_unit_2_43(
    session: requests.Session,
) -> None:
    with stand_in(Version.V2_43) as dhis2:
        rejected = push(dhis2, session, row("SOH_aspirin", "5"), row("SOH_aspirin", "5", org_unit="COUNTRY"))
        assert rejected.status_code == 409
        assert errors(rejected) == [("E8022", [0, 1])]
        assert summary(rejected)["rejectedIndexes"] == [0, 1]
        assert len(dhis2.values) == 0

        partly = push(dhis2, session, row("SOH_aspirin", "5"), row("SOH_ors", "many"))
        assert partly.status_code == 200
        assert partly.json()["status"] == "WARNING"
        assert errors(partly) == [("E8122", [1])]
        assert counts(partly) == (0, 1, 1, 0)
        assert dhis2.value("SOH_aspirin", "OPUA", "202602") == "5"


def test_partial_import_status(session: requests.Session) -> None:
    statuses = {}
    for version in Version:
        with stand_in(version) as dhis2:
            answer = push(dhis2, session, row("SOH_aspirin", "5"), row("SOH_ors", "many"))
            statuses[version] = answer.status_code
    assert statuses == {"2.37": 200, "2.40": 409, "2.41": 409, "2.42": 409, "2.43": 200}


def test_bare_summary_2_37(session: requests.Session) -> None:
    with stand_in(Version.V2_37) as dhis2:
        body = push(dhis2, session, row("SOH_aspirin", "many")).json()
        assert body["responseType"] == "ImportSummary"
        assert body["status"] == "WARNING"
        assert "rejectedIndexes" not in body
        assert body["conflicts"][0]["indexes"] == [0]


@pytest.mark.parametrize(
    ("version", "unchanged"),
    [
        (Version.V2_37, (0, 1, 0, 0)),
        (Version.V2_40, (0, 0, 1, 0)),
        (Version.V2_42, (0, 0, 1, 0)),
        (Version.V2_43, (0, 1, 0, 0)),
    ],
)
def test_unchanged_row(
    version: Version, unchanged: tuple[int, int, int, int], session: requests.Session
) -> None:
    with stand_in(version) as dhis2:
        push(dhis2, session, row("SOH_aspirin", "5"))
        again = push(dhis2, session, row("SOH_aspirin", "5"))
        assert counts(again) == unchanged
        assert errors(again) == []


@pytest.mark.parametrize("version", ROWS)
def test_zero_before_2_43(version: Version, session: requests.Session) -> None:
    with stand_in(version) as dhis2:
        seen = []
        for value in ("0", "5", "0", "0", "0"):
            answer = push(dhis2, session, row("SOH_aspirin", value))
            seen.append((counts(answer), dhis2.value("SOH_aspirin", "OPUA", "202602")))
        assert seen == [
            ((0, 0, 0, 0), None),
            ((1, 0, 0, 0), "5"),
            ((0, 0, 0, 1), None),
            ((1, 0, 0, 0), "0"),
            ((0, 0, 0, 1), None),
        ]


def test_zero_from_2_43(session: requests.Session) -> None:
    significant = stock_metadata([("OPUA", "Opua")], [("aspirin", "Aspirin")], ["stock_on_hand"])
    for version, metadata in ((Version.V2_43, METADATA), (Version.V2_42, significant)):
        with stand_in(version, metadata) as dhis2:
            push(dhis2, session, row("SOH_aspirin", "0"))
            assert dhis2.value("SOH_aspirin", "OPUA", "202602") == "0"


def test_stocked_out_as_1(session: requests.Session) -> None:
    for version in Version:
        with stand_in(version) as dhis2:
            push(dhis2, session, row("OUT_aspirin", "1"), row("OUT_ors", "0"))
            assert dhis2.value("OUT_aspirin", "OPUA", "202602") == "true"
            assert dhis2.value("OUT_ors", "OPUA", "202602") == "false"


@pytest.mark.parametrize(
    ("changes", "period", "up_to_2_42"),
    [
        ({"open_future_periods": 0}, "202603", "E7641"),
        ({"open_future_periods": 1}, "202604", "E7641"),
        ({"expiry_days": 5}, "202602", "E7640"),
        ({"data_input_periods": (DataInputPeriod(period="202601"),)}, "202602", "E7643"),
    ],
)
def test_closed_period(
    changes: dict[str, object], period: str, up_to_2_42: str, session: requests.Session
) -> None:
    for version in Version:
        with stand_in(version) as dhis2:
            dhis2.metadata = changed(dhis2.metadata, **changes)
            answer = push(dhis2, session, row("SOH_aspirin", "5", period=period))
            assert errors(answer) == [("E8030" if version is Version.V2_43 else up_to_2_42, [0])]
            assert len(dhis2.values) == 0


def test_open_periods(session: requests.Session) -> None:
    for now, stored in ((date(2026, 3, 31), 0), (datetime(2026, 4, 1, 0, 30, tzinfo=UTC), 1)):
        with StandIn(METADATA, users=USERS, now=now) as dhis2:
            push(dhis2, session, row("SOH_aspirin", "5", period="202604"))
            assert len(dhis2.values) == stored


@pytest.mark.parametrize(
    ("wrong", "up_to_2_42", "from_2_43"),
    [
        (row("SOH_aspirin", "5", period="20260210"), "E7632", "E8021"),
        (row("aspirin", "5"), "E7633", "E8020"),
        (row("SOH_aspirin", "5", org_unit="COUNTRY"), "E7636", "E8022"),
        (row("SOH_aspirin", "5", categoryOptionCombo="STOCK_ON_HAND"), "E7634", "E8024"),
    ],
)
def test_strict_flags(
    wrong: dict[str, object], up_to_2_42: str, from_2_43: str, session: requests.Session
) -> None:
    for version in Version:
        with stand_in(version) as dhis2:
            answer = push(dhis2, session, wrong, query={**COMBO_CODES, **STRICT})
            assert errors(answer) == [(from_2_43 if version is Version.V2_43 else up_to_2_42, [0])]
            assert len(dhis2.values) == 0


def test_not_strict_2_42(session: requests.Session) -> None:
    with stand_in(Version.V2_42) as dhis2:
        answer = push(dhis2, session, row("SOH_aspirin", "5", period="20260210"))
        assert answer.status_code == 200
        assert dhis2.value("SOH_aspirin", "OPUA", "20260210") == "5"


def test_same_key_twice(session: requests.Session) -> None:
    twice = (row("SOH_aspirin", "5"), row("SOH_aspirin", "6"))
    with stand_in(Version.V2_42) as dhis2:
        answer = push(dhis2, session, *twice)
        assert counts(answer) == (1, 0, 0, 0)
        assert dhis2.value("SOH_aspirin", "OPUA", "202602") == "5"
    with stand_in(Version.V2_43) as dhis2:
        assert errors(push(dhis2, session, *twice)) == [("E8128", [0, 1])]


def test_option_combo_kinds(session: requests.Session) -> None:
    for version in Version:
        with stand_in(version) as dhis2:
            by_category = row("STOCK_aspirin", "5", categoryOptionCombo="STOCK_ON_HAND")
            push(dhis2, session, by_category, data_set="STOCK_CATEGORY", query={**COMBO_CODES, **STRICT})
            combo = uid("categoryOptionCombo", "STOCK_ON_HAND")
            by_attribute = row("aspirin", "6", attributeOptionCombo=combo)
            push(dhis2, session, by_attribute, data_set="STOCK_ATTRIBUTE", query={**CODES, **STRICT})
            assert dhis2.value("STOCK_aspirin", "OPUA", "202602", "STOCK_ON_HAND") == "5"
            assert dhis2.value("aspirin", "OPUA", "202602", attribute_option_combo="STOCK_ON_HAND") == "6"


def test_no_data_set_2_43(session: requests.Session) -> None:
    with stand_in(Version.V2_43) as dhis2:
        assert errors(push(dhis2, session, row("aspirin", "5"), data_set=None)) == [("E8002", [0])]
    with stand_in(Version.V2_42) as dhis2:
        assert counts(push(dhis2, session, row("aspirin", "5"), data_set=None)) == (1, 0, 0, 0)


def test_push_not_allowed(session: requests.Session) -> None:
    for version in Version:
        with stand_in(version) as dhis2:
            session.auth = ("reader", "right")
            no_authority = push(dhis2, session, row("SOH_aspirin", "5"))
            session.cookies.clear()
            session.auth = ("elsewhere", "right")
            no_access = push(dhis2, session, row("SOH_aspirin", "5"))
            session.cookies.clear()
            session.auth = ("opua", "right")
            outside = push(dhis2, session, row("SOH_aspirin", "5"), row("SOH_aspirin", "5", org_unit="KAMO"))
            session.cookies.clear()
            assert no_authority.status_code == 403
            if version is Version.V2_43:
                assert errors(no_access) == [("E8010", [0])]
                assert errors(outside) == [("E8011", [0, 1])]
                assert len(dhis2.values) == 0
            else:
                assert errors(no_access) == [("E7601", None)]
                assert errors(outside) == [("E7617", [1])]
                assert len(dhis2.values) == 1


def test_closed_org_unit_2_43(session: requests.Session) -> None:
    units = tuple(unit.model_copy(update={"closed_date": date(2025, 12, 31)}) for unit in METADATA.org_units)
    for version in (Version.V2_42, Version.V2_43):
        with stand_in(version, METADATA.model_copy(update={"org_units": units})) as dhis2:
            answer = push(dhis2, session, row("SOH_aspirin", "5"))
            assert errors(answer) == ([("E8031", [0])] if version is Version.V2_43 else [])


def test_gzip_by_its_bytes(session: requests.Session) -> None:
    body = gzip.compress(
        b'{"dataSet": "MSUPPLY_STOCK", "dataValues": '
        b'[{"dataElement": "SOH_aspirin", "orgUnit": "OPUA", "period": "202602", "value": "5"}]}'
    )
    for version in Version:
        with stand_in(version) as dhis2:
            answer = session.post(
                f"{dhis2.url}/api/dataValueSets",
                params=CODES,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=10,
            )
            assert answer.status_code == 200
            assert dhis2.requests[-1].gzip
            assert dhis2.requests[-1].values == 1
            assert dhis2.value("SOH_aspirin", "OPUA", "202602") == "5"


# Reading


def test_read_back(session: requests.Session) -> None:
    for version in Version:
        with stand_in(version) as dhis2:
            push(dhis2, session, row("SOH_aspirin", "5"), row("SOH_aspirin", "6", org_unit="KAMO"))
            answer = session.get(
                f"{dhis2.url}/api/dataValueSets",
                params={
                    "dataSet": "MSUPPLY_STOCK",
                    "orgUnit": "OPUA",
                    "startDate": "2026-01-01",
                    "endDate": "2026-12-31",
                    "inputIdScheme": "CODE",
                    "idScheme": "CODE",
                },
                timeout=10,
            )
            values = answer.json()["dataValues"]
            assert [(value["dataElement"], value["period"], value["value"]) for value in values] == [
                ("SOH_aspirin", "202602", "5")
            ]


def test_data_set_access(session: requests.Session) -> None:
    fields = "code,access[data[write]],categoryCombo[categoryOptionCombos[code]],dataSetElements[dataElement[code]]"
    with stand_in(Version.V2_42) as dhis2:
        found = session.get(
            f"{dhis2.url}/api/dataSets",
            params={"filter": "code:eq:STOCK_ATTRIBUTE", "fields": fields, "paging": "false"},
            timeout=10,
        ).json()
        assert found == {
            "dataSets": [
                {
                    "code": "STOCK_ATTRIBUTE",
                    "access": {"data": {"write": True}},
                    "categoryCombo": {
                        "categoryOptionCombos": [{"code": "STOCK_ON_HAND"}, {"code": "STOCKED_OUT"}]
                    },
                    "dataSetElements": [
                        {"dataElement": {"code": "aspirin"}},
                        {"dataElement": {"code": "ors"}},
                    ],
                }
            ]
        }


def with_access(version: Version, access: MetadataAccess) -> StandIn:
    users = [user.model_copy(update={"metadata_access": access}) for user in USERS]
    return StandIn(METADATA, version=version, users=users, now=TODAY)


@pytest.mark.parametrize("version", Version)
def test_hidden_metadata(version: Version, session: requests.Session) -> None:
    data_set = uid("dataSet", "MSUPPLY_STOCK")
    with with_access(version, MetadataAccess.HIDDEN) as dhis2:
        for name in ("dataSets", "dataElements", "organisationUnits", "categoryOptionCombos"):
            answer = session.get(f"{dhis2.url}/api/{name}?paging=false", timeout=10)
            assert (answer.status_code, answer.json()) == (200, {name: []})
        assert session.get(f"{dhis2.url}/api/dataSets/{data_set}", timeout=10).status_code == 404
        assert push(dhis2, session, row("SOH_aspirin", "5")).status_code == 200
    session.cookies.clear()
    with with_access(version, MetadataAccess.FORBIDDEN) as dhis2:
        assert session.get(f"{dhis2.url}/api/dataSets?paging=false", timeout=10).status_code == 403
        assert session.get(f"{dhis2.url}/api/dataSets/{data_set}", timeout=10).status_code == 403
        assert push(dhis2, session, row("SOH_aspirin", "5")).status_code == 200


def with_options(metadata: Metadata) -> Metadata:
    options = OptionSet(id=uid("optionSet", "LEVEL"), code="LEVEL", name="Level", options=("1", "2"))
    elements = tuple(
        element.model_copy(update={"option_set_id": options.id}) if element.code == "SOH_ors" else element
        for element in metadata.data_elements
    )
    return metadata.model_copy(update={"data_elements": elements, "option_sets": (options,)})


def test_option_set(session: requests.Session) -> None:
    for version in Version:
        with stand_in(version, with_options(METADATA)) as dhis2:
            answer = push(
                dhis2,
                session,
                row("SOH_ors", "2"),
                row("SOH_ors", "3", period="202601"),
                row("SOH_aspirin", "3"),
            )
            assert errors(answer) == [("E8123" if version is Version.V2_43 else "E7621", [1])]
            assert len(dhis2.values) == 2
            found = session.get(
                f"{dhis2.url}/api/dataElements",
                params={"filter": "code:eq:SOH_ors", "fields": "optionSet[id]", "paging": "false"},
                timeout=10,
            ).json()
            assert found == {"dataElements": [{"optionSet": {"id": uid("optionSet", "LEVEL")}}]}
            session.cookies.clear()


def test_lock_exception(session: requests.Session) -> None:
    data_set = uid("dataSet", "MSUPPLY_STOCK")
    exception = LockException(
        data_set_id=data_set, org_unit_id=uid("organisationUnit", "OPUA"), period="202512"
    )
    expiring = changed(METADATA, expiry_days=5).model_copy(update={"lock_exceptions": (exception,)})
    for version in Version:
        with stand_in(version, expiring) as dhis2:
            excepted = row("SOH_aspirin", "5", period="202512")
            expired = row("SOH_aspirin", "5", period="202512", org_unit="KAMO")
            assert errors(push(dhis2, session, excepted)) == []
            refused = "E8030" if version is Version.V2_43 else "E7640"
            assert errors(push(dhis2, session, expired)) == [(refused, [0])]
            found = session.get(
                f"{dhis2.url}/api/lockExceptions",
                params={
                    "fields": "dataSet[id],organisationUnit[code],period[id,startDate]",
                    "paging": "false",
                },
                timeout=10,
            ).json()
            assert found["lockExceptions"] == [
                {
                    "dataSet": {"id": data_set},
                    "organisationUnit": {"code": "OPUA"},
                    "period": {"startDate": "2025-12-01T00:00:00.000"}
                    if version is Version.V2_43
                    else {"id": "202512"},
                }
            ]
            session.cookies.clear()


def test_data_set_category_combo(session: requests.Session) -> None:
    element, combo = uid("dataElement", "SOH_aspirin"), uid("categoryCombo", "STOCK_METRIC")
    overriding = changed(METADATA, category_combo_overrides={element: combo}, workflow_id="w1234567890")
    by_metric = row("SOH_aspirin", "5", categoryOptionCombo="STOCK_ON_HAND")
    for version in Version:
        with stand_in(version, overriding) as dhis2:
            answer = push(dhis2, session, by_metric, query={**COMBO_CODES, **STRICT})
            assert errors(answer) == []
            found = session.get(
                f"{dhis2.url}/api/dataSets/{uid('dataSet', 'MSUPPLY_STOCK')}",
                params={"fields": "workflow[id],dataSetElements[categoryCombo[id],dataElement[code]]"},
                timeout=10,
            ).json()
            assert found["workflow"] == {"id": "w1234567890"}
            assert {"dataElement": {"code": "SOH_aspirin"}, "categoryCombo": {"id": combo}} in found[
                "dataSetElements"
            ]
            assert {"dataElement": {"code": "SOH_ors"}} in found["dataSetElements"]
            session.cookies.clear()


def test_several_places_at_once(session: requests.Session) -> None:
    combo = uid("categoryOptionCombo", "STOCK_ON_HAND")
    wanted = [
        row("aspirin", "1", period="202601", attributeOptionCombo=combo),
        row("aspirin", "2", period="202601", org_unit="KAMO", attributeOptionCombo=combo),
        row("aspirin", "3", attributeOptionCombo=combo),
        row("ors", "4", org_unit="KAMO", attributeOptionCombo=combo),
    ]
    unwanted = row("aspirin", "5", period="202512", attributeOptionCombo=combo)
    for version in Version:
        with stand_in(version) as dhis2:
            push(dhis2, session, *wanted, unwanted, data_set="STOCK_ATTRIBUTE", query={**CODES, **STRICT})
            read = session.get(
                f"{dhis2.url}/api/dataValueSets",
                params={
                    "dataSet": uid("dataSet", "STOCK_ATTRIBUTE"),
                    "period": ["202601", "202602"],
                    "orgUnit": [uid("organisationUnit", code) for code in ("OPUA", "KAMO")],
                },
                timeout=10,
            ).json()
            assert "period" not in read
            assert "orgUnit" not in read
            assert {
                (value["dataElement"], value["period"], value["orgUnit"], value["value"])
                for value in read["dataValues"]
            } == {
                (
                    uid("dataElement", str(sent["dataElement"])),
                    sent["period"],
                    uid("organisationUnit", str(sent["orgUnit"])),
                    sent["value"],
                )
                for sent in wanted
            }
            assert {value["attributeOptionCombo"] for value in read["dataValues"]} == {combo}
            session.cookies.clear()


def test_pages(session: requests.Session) -> None:
    many = stock_metadata([(f"UNIT_{n:03}", f"Unit {n:03}") for n in range(120)], [], [])
    with StandIn(many, users=USERS) as dhis2:
        address: str | None = f"{dhis2.url}/api/organisationUnits?fields=code&filter=code:like:UNIT"
        pages = []
        for number in (1, 2, 3):
            body = session.get(f"{address}&page={number}", timeout=10).json()
            pages.append([unit["code"] for unit in body["organisationUnits"]])
        assert [len(page) for page in pages] == [50, 50, 20]
        assert sum(pages, []) == [f"UNIT_{n:03}" for n in range(120)]  # noqa: RUF017 - three short lists


# Logging in


def test_no_login() -> None:
    for version in Version:
        with stand_in(version) as dhis2:
            address = f"{dhis2.url}/api/me"
            page = requests.get(address, allow_redirects=False, timeout=10)
            script = requests.get(address, headers={"X-Requested-With": "XMLHttpRequest"}, timeout=10)
            assert (page.status_code, page.headers["Location"]) == (302, dhis2.url + version.login_page)
            assert (script.status_code, script.json()["message"]) == (401, "Unauthorized")


def test_refused_login() -> None:
    for version in Version:
        with stand_in(version) as dhis2:
            for login, text in (
                (("pusher", "wrong"), "Unauthorized"),
                (("gone", "right"), "Account disabled"),
            ):
                answer = requests.get(f"{dhis2.url}/api/me", auth=login, timeout=10)
                assert (answer.status_code, answer.json()["message"]) == (401, text)


def test_session_cookie(session: requests.Session) -> None:
    with stand_in(Version.V2_42) as dhis2:
        first = session.get(f"{dhis2.url}/api/me", timeout=10)
        assert "JSESSIONID" in first.cookies
        session.auth = None
        again = session.get(f"{dhis2.url}/api/me", timeout=10)
        assert again.json()["username"] == "pusher"
        assert "Set-Cookie" not in again.headers
        dhis2.forget_sessions()
        assert session.get(f"{dhis2.url}/api/me", allow_redirects=False, timeout=10).status_code == 302


TOKEN = new_token("pusher's")


def with_token(version: Version, **of_token: object) -> StandIn:
    token = PersonalAccessToken.model_validate({"username": "pusher", "token": TOKEN, **of_token})
    return StandIn(METADATA, version=version, users=USERS, tokens=[token], now=TODAY)


def by_token(dhis2: StandIn, token: str = TOKEN, path: str = "/api/me") -> requests.Response:
    return requests.get(
        f"{dhis2.url}{path}",
        headers={"Authorization": f"ApiToken {token}"},
        allow_redirects=False,
        timeout=10,
    )


def test_token() -> None:
    for version in (version for version in Version if version.has_tokens):
        with with_token(version) as dhis2:
            answer = by_token(dhis2)
            assert answer.json()["username"] == "pusher"
            assert "Set-Cookie" not in answer.headers
            assert dhis2.requests[-1].username == "pusher"


def test_no_tokens_2_37() -> None:
    with with_token(Version.V2_37) as dhis2:
        assert by_token(dhis2).status_code == 302


def test_mistyped_token() -> None:
    mistyped = TOKEN[:-1] + str(9 - int(TOKEN[-1]))
    for version, of_mistyped in ((Version.V2_40, 401), (Version.V2_41, 400), (Version.V2_43, 400)):
        with with_token(version) as dhis2:
            assert by_token(dhis2, mistyped).status_code == of_mistyped
            assert by_token(dhis2, new_token("another")).status_code == 401


@pytest.mark.parametrize(
    ("of_token", "says"),
    [
        ({"expires": datetime(2026, 3, 10)}, "token has expired"),  # noqa: DTZ001 - the server's clock is in UTC
        ({"methods": ("POST",)}, "method is not allowed"),
        ({"addresses": ("10.0.0.1",)}, "ip address is not allowed"),
    ],
)
def test_restricted_token(of_token: dict[str, Any], says: str) -> None:
    for version in (version for version in Version if version.has_tokens):
        with with_token(version, **of_token) as dhis2:
            answer = by_token(dhis2)
            assert answer.status_code == 401
            assert says in answer.json()["message"]


def test_deleted_token_2_40() -> None:
    for version, afterwards in ((Version.V2_40, 200), (Version.V2_41, 401)):
        with with_token(version) as dhis2:
            by_token(dhis2)
            del dhis2.tokens[TOKEN]
            assert by_token(dhis2).status_code == afterwards
            dhis2.forget_sessions()
            assert by_token(dhis2).status_code == 401


def test_token_first_use() -> None:
    with with_token(Version.V2_43, first_use_fails=True) as dhis2:
        assert [by_token(dhis2).status_code for _ in range(3)] == [500, 200, 200]


CLIENT = OAuth2Client(client="msupply", secret=SecretStr("hush"))


def with_client(version: Version, client: OAuth2Client = CLIENT) -> StandIn:
    return StandIn(METADATA, version=version, users=USERS, oauth2_clients=[client], now=TODAY)


def ask_for_access(dhis2: StandIn, **form: str) -> requests.Response:
    return requests.post(
        f"{dhis2.url}/uaa/oauth/token",
        auth=("msupply", "hush"),
        data=form or {"grant_type": "password", "username": "pusher", "password": "right"},
        allow_redirects=False,
        timeout=10,
    )


def by_access_token(dhis2: StandIn, token: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{dhis2.url}/api/me", headers=headers, allow_redirects=False, timeout=10)


def test_access_token_before_2_42() -> None:
    for version in (Version.V2_37, Version.V2_40, Version.V2_41):
        with with_client(version) as dhis2:
            first, second = ask_for_access(dhis2).json(), ask_for_access(dhis2).json()
            assert first["access_token"] == second["access_token"]
            assert by_access_token(dhis2, first["access_token"]).json()["username"] == "pusher"
            dhis2.expire_access_tokens()
            ended = by_access_token(dhis2, first["access_token"])
            assert (ended.status_code, ended.json()["error"]) == (401, "invalid_token")
            third = ask_for_access(dhis2).json()["access_token"]
            assert by_access_token(dhis2, third).status_code == 200


def test_access_token_refresh() -> None:
    with with_client(Version.V2_41) as dhis2:
        first = ask_for_access(dhis2).json()
        refreshed = ask_for_access(
            dhis2, grant_type="refresh_token", refresh_token=first["refresh_token"]
        ).json()
        assert by_access_token(dhis2, first["access_token"]).status_code == 401
        assert by_access_token(dhis2, refreshed["access_token"]).status_code == 200


def test_no_password_grant_2_42() -> None:
    for version in (Version.V2_42, Version.V2_43):
        with with_client(version) as dhis2:
            asked = ask_for_access(dhis2)
            assert (asked.status_code, asked.json()["httpStatus"]) == (401, "Unauthorized")
            assert by_access_token(dhis2, "anything").status_code == 302


def test_locked_account() -> None:
    for version in Version:
        with StandIn(METADATA, version=version, users=USERS, now=TODAY, lock_after_failures=4) as dhis2:

            def log_in(password: str, dhis2: StandIn = dhis2) -> requests.Response:
                return requests.get(f"{dhis2.url}/api/me", auth=("pusher", password), timeout=10)

            assert [log_in("wrong").status_code for _ in range(3)] == [401, 401, 401]
            assert log_in("right").status_code == 200
            assert [log_in("wrong").status_code for _ in range(4)] == [401] * 4
            assert dhis2.is_locked("pusher")
            assert log_in("right").json()["message"] == "Account locked"
            assert dhis2.failed_logins == {"pusher": 7}
            dhis2.now = datetime.combine(TODAY, time(0, 15))
            assert not dhis2.is_locked("pusher")
            assert log_in("right").status_code == 200


def test_locked_by_access_tokens() -> None:
    with StandIn(
        METADATA, version="2.41", users=USERS, oauth2_clients=[CLIENT], lock_after_failures=2
    ) as dhis2:
        for _ in range(2):
            ask_for_access(dhis2, grant_type="password", username="pusher", password="wrong")
        assert dhis2.is_locked("pusher")
        assert ask_for_access(dhis2).json()["error"] == "invalid_grant"


def test_account_expiry() -> None:
    ending = USERS[1].model_copy(update={"account_expires": TODAY})
    with StandIn(METADATA, users=[ending], now=TODAY) as dhis2:
        assert requests.get(f"{dhis2.url}/api/me", auth=("pusher", "right"), timeout=10).status_code == 401
        dhis2.now = TODAY - timedelta(days=1)
        assert requests.get(f"{dhis2.url}/api/me", auth=("pusher", "right"), timeout=10).status_code == 200


def test_wrong_context_path(session: requests.Session) -> None:
    for version in Version:
        with stand_in(version) as dhis2:
            read = session.get(f"{dhis2.url}/dhis/api/me", allow_redirects=False, timeout=10)
            pushed = session.post(
                f"{dhis2.url}/dhis/api/dataValueSets", json={}, allow_redirects=False, timeout=10
            )
            expected = (301, 301) if version.runs_on_tomcat else (404, 405)
            assert (read.status_code, pushed.status_code) == expected


def test_context_path(session: requests.Session) -> None:
    with StandIn(METADATA, users=USERS, base_path="/dhis") as dhis2:
        assert dhis2.url.endswith("/dhis")
        info = session.get(f"{dhis2.url}/api/system/info", timeout=10).json()
        assert info["contextPath"] == dhis2.url
        outside = session.get(f"{dhis2.url.removesuffix('/dhis')}/api/me", allow_redirects=False, timeout=10)
        assert outside.status_code == 301


# Faults


@pytest.mark.parametrize(
    ("kind", "more", "status"),
    [
        (FaultKind.STATUS, {"status": 502}, 502),
        (FaultKind.UNAUTHORIZED, {}, 401),
        (FaultKind.LOGIN_PAGE, {}, 200),
        (FaultKind.TOO_MANY_REQUESTS, {"seconds": 7}, 429),
        (FaultKind.TOO_LARGE, {"size": 10}, 413),
        (FaultKind.TRANSIENT_CONFLICT, {}, 409),
        (FaultKind.REDIRECT, {}, 301),
    ],
)
def test_fault_count(kind: FaultKind, more: dict[str, Any], status: int, session: requests.Session) -> None:
    with stand_in(Version.V2_42) as dhis2:
        dhis2.faults.next(kind, times=2, **more)
        struck = [push(dhis2, session, row("SOH_aspirin", "5")) for _ in range(2)]
        assert [answer.status_code for answer in struck] == [status, status]
        assert len(dhis2.values) == 0
        assert push(dhis2, session, row("SOH_aspirin", "5")).status_code == 200
        assert [request.status for request in dhis2.requests] == [status, status, 200]


def test_fault_kinds(session: requests.Session) -> None:
    with stand_in(Version.V2_42) as dhis2:
        dhis2.faults.next(FaultKind.TOO_MANY_REQUESTS, seconds=7)
        assert push(dhis2, session, row("SOH_aspirin", "5")).headers["Retry-After"] == "7"
        dhis2.faults.next(FaultKind.REDIRECT)
        location = push(dhis2, session, row("SOH_aspirin", "5")).headers["Location"]
        assert location.startswith(f"https{dhis2.url.removeprefix('http')}/api/dataValueSets?")
        dhis2.faults.next(FaultKind.LOGIN_PAGE)
        assert push(dhis2, session, row("SOH_aspirin", "5")).headers["Content-Type"].startswith("text/html")
        dhis2.faults.next(FaultKind.TRANSIENT_CONFLICT)
        transient = push(dhis2, session, row("SOH_aspirin", "5"))
        assert summary(transient)["description"].startswith("The import process failed:")
        assert (counts(transient), errors(transient)) == ((0, 0, 0, 0), [])


@pytest.mark.parametrize(("after_import", "stored"), [(False, 0), (True, 1)])
def test_cut_connection(
    after_import: bool,  # noqa: FBT001 - a column of the table
    stored: int,
    session: requests.Session,
) -> None:
    with stand_in(Version.V2_42) as dhis2:
        dhis2.faults.next(FaultKind.CUT, after_import=after_import)
        with pytest.raises(requests.ConnectionError):
            push(dhis2, session, row("SOH_aspirin", "5"))
        assert len(dhis2.values) == stored
        assert dhis2.requests[-1].status is None


def test_fault_target(session: requests.Session) -> None:
    with stand_in(Version.V2_42) as dhis2:
        dhis2.faults.next(FaultKind.STATUS, status=503, path="/api/me", method="GET")
        dhis2.faults.next(FaultKind.TOO_LARGE, size=400, times=None)
        few = [row("SOH_aspirin", "5")]
        many = [row("SOH_aspirin", "5", period=f"2025{month:02}") for month in range(1, 13)]
        assert push(dhis2, session, *few).status_code == 200
        assert push(dhis2, session, *many).status_code == 413
        assert push(dhis2, session, *many).status_code == 413
        assert session.get(f"{dhis2.url}/api/me", timeout=10).status_code == 503
        assert session.get(f"{dhis2.url}/api/me", timeout=10).status_code == 200
        dhis2.faults.clear()
        assert push(dhis2, session, *many).status_code == 200


def test_delay(session: requests.Session) -> None:
    with stand_in(Version.V2_42) as dhis2:
        dhis2.faults.next(FaultKind.DELAY, seconds=60)
        with pytest.raises(requests.ReadTimeout):
            session.get(f"{dhis2.url}/api/me", timeout=0.2)


def push_packed(dhis2: StandIn, session: requests.Session, *rows: dict[str, object]) -> requests.Response:
    body = json.dumps({"dataSet": "MSUPPLY_STOCK", "dataValues": rows}).encode()
    return session.post(
        f"{dhis2.url}/api/dataValueSets",
        params=CODES,
        data=gzip.compress(body),
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
        timeout=10,
    )


def test_proxy_without_gzip(session: requests.Session) -> None:
    for status in (415, 400):
        with stand_in(Version.V2_42) as dhis2:
            dhis2.faults.next(FaultKind.GZIP_REFUSED, times=None, status=status)
            assert push_packed(dhis2, session, row("SOH_aspirin", "5")).status_code == status
            assert push(dhis2, session, row("SOH_aspirin", "5")).status_code == 200


def test_damaged_gzip(session: requests.Session) -> None:
    for version in Version:
        with stand_in(version) as dhis2:
            dhis2.faults.next(FaultKind.GZIP_DAMAGED)
            damaged = push_packed(dhis2, session, row("SOH_aspirin", "5"))
            if version is Version.V2_43:
                assert damaged.status_code == 500
            else:
                assert summary(damaged)["description"].startswith("The import process failed")
            assert push_packed(dhis2, session, row("SOH_aspirin", "5")).status_code == 200


def test_deadlock(session: requests.Session) -> None:
    rows = [row("SOH_aspirin", "5", period=f"20250{month}") for month in range(1, 9)]
    for version in Version:
        with stand_in(version) as dhis2:
            dhis2.faults.next(FaultKind.DEADLOCK)
            answer = push(dhis2, session, *rows)
            if version is Version.V2_43:
                assert (answer.status_code, len(dhis2.values)) == (500, 0)
            else:
                assert "Failed to flush BatchHandler" in summary(answer)["description"]
                assert (counts(answer), len(dhis2.values)) == ((0, 0, 0, 0), 4)
            assert push(dhis2, session, *rows).status_code == 200
            assert len(dhis2.values) == 8


def test_new_period_race(session: requests.Session) -> None:
    old, new = row("SOH_aspirin", "5", period="202501"), row("SOH_aspirin", "6", period="202502")
    for version in Version:
        with stand_in(version) as dhis2:
            push(dhis2, session, old)
            dhis2.faults.next(FaultKind.PERIOD_RACE, times=None)
            raced = push(dhis2, session, old, new)
            if version is Version.V2_43:
                assert (raced.status_code, summary(raced)["status"], errors(raced)) == (200, "SUCCESS", [])
                assert counts(raced) == (0, 1, 1, 0)
            else:
                assert errors(raced) == [("E7611", [1])]
            assert len(dhis2.values) == 1
            assert errors(push(dhis2, session, old, new)) == []
            assert len(dhis2.values) == 2


@pytest.mark.parametrize("version", [Version.V2_42, Version.V2_43])
def test_concurrent_new_period(version: Version) -> None:
    ready = Barrier(2)

    def put(org_unit: str) -> requests.Response:
        with requests.Session() as own:
            own.auth = ("pusher", "right")
            ready.wait()
            return push(dhis2, own, row("SOH_aspirin", "5", org_unit=org_unit))

    with stand_in(version) as dhis2, ThreadPoolExecutor(2) as pool:
        dhis2.faults.next(FaultKind.SLOW_IMPORT, times=2, seconds=1)
        both_import = Barrier(2)
        dhis2.pause = lambda seconds: both_import.wait(60) if seconds == 1 else sleep(seconds)
        answers = list(pool.map(put, ("OPUA", "KAMO")))
        assert len(dhis2.values) == 1
        (lost,) = [answer for answer in answers if counts(answer)[:2] == (0, 0)]
        if version is Version.V2_43:
            assert (lost.status_code, counts(lost), errors(lost)) == (200, (0, 0, 1, 0), [])
        else:
            assert errors(lost) == [("E7611", [0])]
        for answer in pool.map(put, ("OPUA", "KAMO")):
            assert errors(answer) == []
        assert len(dhis2.values) == 2


def test_restart(session: requests.Session) -> None:
    with stand_in(Version.V2_42) as dhis2:
        session.get(f"{dhis2.url}/api/me", timeout=10)
        dhis2.faults.next(FaultKind.RESTART, times=2, status=502)
        struck = [push(dhis2, session, row("SOH_aspirin", "5")).status_code for _ in range(3)]
        assert struck == [502, 502, 200]
        assert "JSESSIONID" in session.cookies
        assert len(dhis2.sessions) == 1


def test_password_change(session: requests.Session) -> None:
    with stand_in(Version.V2_42) as dhis2:
        dhis2.faults.next(FaultKind.CREDENTIALS_CHANGED, after=2, path="/api/dataValueSets")
        pushed = [push(dhis2, session, row("SOH_aspirin", "5")).status_code for _ in range(4)]
        assert pushed == [200, 200, 401, 401]
        assert dhis2.failed_logins == {"pusher": 2}


def test_poison(session: requests.Session) -> None:
    for poison in ("SOH_ors", uid("dataElement", "SOH_ors"), "KAMO"):
        with stand_in(Version.V2_43) as dhis2:
            dhis2.faults.next(FaultKind.POISON, times=None, holds=poison)
            good, bad = row("SOH_aspirin", "5"), row("SOH_ors", "5", org_unit="KAMO")
            assert push(dhis2, session, good, bad).status_code == 500
            assert push(dhis2, session, good).status_code == 200
            assert push_packed(dhis2, session, bad).status_code == 500


def test_large_pushes_only(session: requests.Session) -> None:
    rows = [row("SOH_aspirin", "5", period=f"20250{month}") for month in range(1, 6)]
    with stand_in(Version.V2_42) as dhis2:
        dhis2.faults.next(FaultKind.STATUS, times=None, status=504, more_than_values=4, after_import=True)
        assert push(dhis2, session, *rows[:4]).status_code == 200
        assert push(dhis2, session, *rows).status_code == 504
        assert len(dhis2.values) == 5


def test_slow_server(session: requests.Session) -> None:
    rows = [row("SOH_aspirin", "5", period=f"20250{month}") for month in range(1, 6)]
    with stand_in(Version.V2_42) as dhis2:
        dhis2.faults.next(FaultKind.SLOW_IMPORT, times=None, seconds_per_value=0.05)
        taken: list[float] = []
        dhis2.pause = taken.append
        for sent in (1, 5):
            push(dhis2, session, *rows[:sent])
        assert taken == [0.05, 0.25]


def test_concurrent_key(session: requests.Session) -> None:
    for version in Version:
        with stand_in(version) as dhis2:
            push(dhis2, session, row("SOH_aspirin", "5", org_unit="KAMO"))
            dhis2.faults.next(FaultKind.SLOW_IMPORT, seconds=1.5)
            is_imported, is_over = Event(), Event()

            def take_time(_: float, began: Event = is_imported, ends: Event = is_over) -> None:
                began.set()
                ends.wait(60)

            dhis2.pause = take_time
            with ThreadPoolExecutor(1) as pool:
                pool.submit(push, dhis2, session, row("SOH_aspirin", "5"))
                assert is_imported.wait(60)
                with requests.Session() as own:
                    own.auth = session.auth
                    again = push(dhis2, own, row("SOH_aspirin", "5"))
                    other = push(dhis2, own, row("SOH_ors", "5"))
                is_over.set()
            collides = version in (Version.V2_41, Version.V2_42)
            assert again.status_code == (409 if collides else 200)
            assert other.status_code == 200


def test_faults_by_chance(session: requests.Session) -> None:
    with stand_in(Version.V2_42) as dhis2:
        dhis2.faults.next(FaultKind.STATUS, times=None, status=503, share=0.25)
        statuses = [
            session.get(f"{dhis2.url}/api/me", auth=("admin", "district"), timeout=10).status_code
            for _ in range(200)
        ]
    assert set(statuses) == {200, 503}
    assert 25 < statuses.count(503) < 75


def test_before_the_answer(session: requests.Session) -> None:
    met = []
    with stand_in(Version.V2_42) as dhis2:
        dhis2.before_answer = lambda call, noted: met.append((call.port, noted.values, len(dhis2.values)))
        answer = session.post(
            f"{dhis2.url}/api/dataValueSets",
            params=CODES,
            json={"dataSet": "MSUPPLY_STOCK", "dataValues": [row("SOH_aspirin", "5")]},
            stream=True,
            timeout=10,
        )
        connection = answer.raw.connection
        assert connection is not None
        own_port = connection.sock.getsockname()[1]
        answer.close()
    assert met == [(own_port, 1, 1)]


def test_poison_needs_a_name() -> None:
    with stand_in(Version.V2_42) as dhis2, pytest.raises(ValueError, match="poison needs it"):
        dhis2.faults.next(FaultKind.POISON)


def test_stopped(session: requests.Session) -> None:
    with stand_in(Version.V2_42) as dhis2:
        session.get(f"{dhis2.url}/api/me", timeout=10)
    with pytest.raises(requests.ConnectionError):
        session.get(f"{dhis2.url}/api/me", timeout=10)


# In a process of its own


def test_own_process(tmp_path: Path, session: requests.Session) -> None:
    (tmp_path / "password").write_text("right\n")
    (tmp_path / "metadata.json").write_text(METADATA.model_dump_json())
    command = [
        sys.executable,
        "-m",
        "sandbox.dhis2",
        "--version",
        "2.43",
        "--user",
        "pusher",
        "--now",
        "2026-03-10",
    ]
    files = ["--password-file", str(tmp_path / "password"), "--metadata", str(tmp_path / "metadata.json")]
    root = PROJECT
    with subprocess.Popen(
        [*command, *files],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:
        try:
            assert process.stdout is not None
            said = re.fullmatch(
                r"DHIS2 stand-in 2\.43 at (http://127\.0\.0\.1:\d+)\n", process.stdout.readline()
            )
            assert said is not None
            address = said[1]
            planned = requests.post(f"{address}/__faults", json={"kind": "status", "status": 503}, timeout=10)
            wrong = requests.post(f"{address}/__faults", json={"kind": "earthquake"}, timeout=10)
            body = {"dataSet": "MSUPPLY_STOCK", "dataValues": [row("SOH_aspirin", "5")]}
            pushes = [
                session.post(f"{address}/api/dataValueSets", params=CODES, json=body, timeout=10)
                for _ in range(2)
            ]
            values = requests.get(f"{address}/__values", timeout=10).json()
            calls = requests.get(f"{address}/__requests", timeout=10).json()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert (planned.status_code, wrong.status_code) == (204, 400)
    assert [answer.status_code for answer in pushes] == [503, 200]
    assert values == [
        {
            "dataElement": "SOH_aspirin",
            "period": "202602",
            "orgUnit": "OPUA",
            "categoryOptionCombo": "default",
            "attributeOptionCombo": "default",
            "value": "5",
        }
    ]
    assert [(call["method"], call["status"], call["values"]) for call in calls] == [
        ("POST", 503, 0),
        ("POST", 200, 1),
    ]
