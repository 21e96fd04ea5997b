"""Reading stored values back, from the stand-in of every version and from what real servers answered."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import urlencode

import pytest

from msupply_dhis2.dhis2.import_request import UIDS, SentValue, request_body, request_parameters
from msupply_dhis2.dhis2.metadata import read_stored
from msupply_dhis2.domain.data_value import DataValueKey
from msupply_dhis2.errors import Dhis2Error
from sandbox.dhis2 import ADMIN, Metadata, User, ValueKey, stock_metadata, uid
from sandbox.dhis2.values import StoredValue
from tests.support.direct import DirectClient
from tests.support.paths import SHARED

RECORDINGS = SHARED / "dhis2"
VERSIONS = ("2.37", "2.40", "2.41", "2.42", "2.43")
DATA_SET = uid("dataSet", "MSUPPLY_STOCK")
DEFAULT = "HllvX50cXC0"


class Reader(DirectClient):
    """Keeps the queries."""

    def __init__(self, metadata: Metadata, version: str, user: User = ADMIN) -> None:
        super().__init__(metadata, version, date(2026, 6, 15), user)
        self.queries: list[str] = []

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> object:
        self.queries.append(urlencode(params or {}, doseq=True))
        return super().get(path, params)


class Says:
    """A server that gives the same answer to everything."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> object:  # noqa: ARG002 - as a client has it
        return self._answer


def world(org_units: int) -> Metadata:
    return stock_metadata(
        [(f"OU_{number}", f"Clinic {number}") for number in range(org_units)],
        [("abc", "Amoxicillin"), ("def", "Paracetamol")],
        ["stock_on_hand", "stocked_out"],
    )


def cell(data_element: str, org_unit: str, period: str = "202601") -> DataValueKey:
    return DataValueKey(
        uid("dataElement", data_element), period, uid("organisationUnit", org_unit), DEFAULT, DEFAULT
    )


def store(client: DirectClient, values: Mapping[DataValueKey, str]) -> None:
    rows = [
        SentValue(DataValueKey(each.data_element, each.period, each.org_unit), text)
        for each, text in values.items()
    ]
    client.post_data_values(request_body(DATA_SET, rows, UIDS), request_parameters(UIDS))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "asked",
    [
        [cell("SOH_abc", "OU_0")],
        [cell("SOH_abc", "OU_0"), cell("SOH_abc", "OU_1")],
        [cell("SOH_abc", "OU_0"), cell("SOH_abc", "OU_0", "202602")],
        [cell("SOH_abc", "OU_0"), cell("SOH_abc", "OU_1", "202602"), cell("OUT_abc", "OU_2")],
        [],
    ],
)  # fmt: skip
def test_only_asked_cells(version: str, asked: list[DataValueKey]) -> None:
    client = Reader(world(3), version)
    everything = {
        cell(f"{prefix}_{item}", f"OU_{number}", period): "1"
        for prefix in ("SOH", "OUT")
        for item in ("abc", "def")
        for number in range(3)
        for period in ("202601", "202602", "202603")
    }
    store(client, everything)
    expected = {each: "true" if each.data_element == uid("dataElement", "OUT_abc") else "1" for each in asked}
    assert read_stored(client, DATA_SET, asked) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_empty_and_deleted_cells(version: str) -> None:
    client = Reader(world(2), version)
    there, deleted, never = cell("SOH_abc", "OU_0"), cell("SOH_def", "OU_0"), cell("SOH_abc", "OU_1")
    store(client, {there: "7", deleted: "8"})
    key = ValueKey(**deleted._asdict())
    rows = client.dhis2.values.rows
    kept = rows[key]
    rows[key] = StoredValue(kept.value, kept.stored_by, kept.created, kept.last_updated, deleted=True)
    assert read_stored(client, DATA_SET, [there, deleted, never]) == {there: "7"}


@pytest.mark.parametrize("version", VERSIONS)
def test_short_addresses(version: str) -> None:
    client = Reader(world(250), version)
    values = {cell("SOH_abc", f"OU_{number}"): str(number + 1) for number in range(250)}
    store(client, values)
    assert read_stored(client, DATA_SET, values) == values
    assert len(client.queries) == 3
    assert max(map(len, client.queries)) < 6_500


@pytest.mark.parametrize("version", VERSIONS)
def test_unreadable_data(version: str) -> None:
    far = User(
        username="far",
        password=ADMIN.password,
        authorities=("F_DATAVALUE_ADD",),
        org_unit_ids=(uid("organisationUnit", "OU_1"),),
    )
    with pytest.raises((Dhis2Error, ValueError)):
        read_stored(Reader(world(2), version, far), DATA_SET, [cell("SOH_abc", "OU_0")])


def test_deleted_rows_and_periods() -> None:
    row = {
        "dataElement": uid("dataElement", "SOH_abc"),
        "period": "2026-01",
        "orgUnit": uid("organisationUnit", "OU_0"),
        "categoryOptionCombo": DEFAULT,
        "attributeOptionCombo": DEFAULT,
    }
    wanted = cell("SOH_abc", "OU_0")
    deleted = {"dataValues": [{**row, "value": "9", "deleted": True}]}
    assert read_stored(Says({"dataValues": [{**row, "value": "5"}]}), DATA_SET, [wanted]) == {wanted: "5"}
    assert read_stored(Says(deleted), DATA_SET, [wanted]) == {}
    assert read_stored(Says({}), DATA_SET, [wanted]) == {}


@pytest.mark.parametrize("answer", [None, [], "x", {"dataValues": 7}, {"dataValues": [{"value": "1"}]}])
def test_unexpected_answer(answer: object) -> None:
    with pytest.raises(Dhis2Error, match="DHIS2 answered /api/dataValueSets in a way that is not understood"):
        read_stored(Says(answer), DATA_SET, [cell("SOH_abc", "OU_0")])


@pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recorded answers of real servers (../shared/dhis2) are not here"
)
@pytest.mark.parametrize("version", ["2.40", "2.41", "2.42", "2.43"])
def test_recorded_answers(version: str) -> None:
    (file,) = RECORDINGS.glob(f"{version}.*.jsonl")
    with file.open() as lines:
        answers = {each["case"]: each["response"]["body"] for each in map(json.loads, lines)}

    def at(case: str, data_element: str, period: str, attribute: str = DEFAULT) -> str | None:
        wanted = DataValueKey(data_element, period, "pgC3HU80rr0", DEFAULT, attribute)
        return read_stored(Says(answers[case]), "pnTbB8OqVFu", [wanted]).get(wanted)

    assert at("readback", "EGDlljmuT4z", "202601") == "10"
    assert at("readback", "TRQssOI8Lkh", "202601") == "20"
    assert at("readback_reader", "pWnlyZM2nLw", "202601") == "30"
    assert at("readback", "pWnlyZM2nLw", "202602") is None
    by_attribute = {row["attributeOptionCombo"] for row in answers["readback_aoc"]["dataValues"]}
    assert len(by_attribute) == 2
    assert [at("readback_aoc", "DLlJzuiwI4P", "202302", attribute) for attribute in sorted(by_attribute)] == [
        "6",
        "6",
    ]
    assert at("readback_aoc", "DLlJzuiwI4P", "202302") is None
    # By codes, from a parent's children: org units stand in the rows on every version.
    wanted = DataValueKey("SOH_368c74bf", "202609", "OU_KOPU", "default", "default")
    assert read_stored(Says(answers["readback_children"]), "DS_STOCK", [wanted]) == {wanted: "10"}
