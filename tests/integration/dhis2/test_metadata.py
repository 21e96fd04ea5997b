"""What DHIS2 has set up, read from the stand-in of every version and from what real servers answered."""

import json
from datetime import date
from urllib.parse import urlencode

import pytest
import requests

from msupply_dhis2.dhis2 import models
from msupply_dhis2.dhis2.metadata import (
    MAXIMUM_QUERY,
    find,
    find_category_option,
    read_data_set,
    read_server,
    read_user,
)
from msupply_dhis2.dhis2.models import DataElement, OptionCombo, OrgUnit, Query
from msupply_dhis2.errors import Dhis2Error, Dhis2PermanentError
from msupply_dhis2.settings import Scheme
from sandbox.dhis2 import ADMIN, Metadata, StandIn, User, stock_metadata, uid
from sandbox.dhis2.metadata import DataInputPeriod
from tests.support.paths import SHARED

RECORDINGS = SHARED / "dhis2"
VERSIONS = ("2.37", "2.40", "2.41", "2.42", "2.43")
METRICS = ("stock_on_hand", "issued")


class Reader:
    """Reads from a stand-in, and keeps the queries."""

    def __init__(self, dhis2: StandIn, user: User = ADMIN) -> None:
        self._url = dhis2.url
        self._session = requests.Session()
        self._session.auth = (user.username, user.password.get_secret_value())
        self.queries: list[str] = []

    def get(self, path: str, params: Query | None = None) -> object:
        self.queries.append(urlencode(params or {}))
        response = self._session.get(self._url + path, params=params, timeout=10)
        if not response.ok:
            raise Dhis2PermanentError(response.text)
        return response.json()


class Says:
    """A server that gives the same answer to everything."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def get(self, path: str, params: Query | None = None) -> object:  # noqa: ARG002 - as a client has it
        return self._answer


def world(org_units: int = 3) -> Metadata:
    made = stock_metadata(
        [(f"OU_{number}", f"Clinic {number}") for number in range(org_units)],
        [("abc", "Amoxicillin"), ("def", "Paracetamol")],
        METRICS,
        open_future_periods=2,
    )
    first, *others = made.data_sets
    period = DataInputPeriod(period="202601", opening_date=date(2026, 1, 5))
    return made.model_copy(
        update={
            "data_sets": (
                first.model_copy(update={"data_input_periods": (period,), "expiry_days": 10}),
                *others,
            )
        }
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_server_info(version: str) -> None:
    with StandIn(world(), version=version, now=date(2026, 1, 15)) as dhis2:
        server = read_server(Reader(dhis2))
    assert server.version == (2, int(version[2:]))
    assert server.is_known_version
    assert server.calendar == "iso8601"
    assert server.server_date.date() == date(2026, 1, 15)
    assert (server.imports_by_group, server.drops_zeros) == (
        (True, False) if version == "2.43" else (False, True)
    )


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.36.13.2", (2, 36)),
        ("2.40.12", (2, 40)),
        ("2.42.5.2", (2, 42)),
        ("2.43-SNAPSHOT", (2, 43)),
        ("43.1", (2, 43)),
        ("44", (2, 44)),
    ],
)
def test_version_notations(text: str, version: tuple[int, int]) -> None:
    server = read_server(Says({"version": text, "serverDate": "2026-01-15T10:00:00.000"}))
    assert server.version == version
    assert server.is_known_version


@pytest.mark.parametrize("text", ["master", "", "2.4", "2.402", "3.0.1"])
def test_unknown_version(text: str) -> None:
    server = read_server(Says({"version": text, "serverDate": "2026-01-15T10:00:00.000+0000"}))
    assert server.imports_by_group
    assert not server.drops_zeros
    assert not server.is_known_version


@pytest.mark.parametrize("version", VERSIONS)
def test_user(version: str) -> None:
    user = User(
        username="narrow",
        password=ADMIN.password,
        authorities=("F_DATAVALUE_ADD",),
        org_unit_ids=(uid("organisationUnit", "OU_1"),),
    )
    with StandIn(world(), version=version, users=(user,)) as dhis2:
        reader = Reader(dhis2, user)
        found = read_user(reader)
        near, far = find(OrgUnit, reader, ["OU_1", "OU_2"], Scheme.CODE)
    assert (found.username, found.org_units) == ("narrow", (near.id,))
    assert found.may("F_DATAVALUE_ADD")
    assert not found.may("F_EDIT_EXPIRED")
    assert not found.is_kept_out_of(near)
    assert found.is_kept_out_of(far)


def test_user_of_old_server() -> None:
    user = read_user(
        Says({"id": "xE7jOejl9FI", "userCredentials": {"username": "admin"}, "authorities": ["ALL"]})
    )
    assert user.username == "admin"
    assert user.may("anything")


@pytest.mark.parametrize("version", VERSIONS)
def test_data_set(version: str) -> None:
    with StandIn(world(), version=version) as dhis2:
        reader = Reader(dhis2)
        by_code = read_data_set(reader, "STOCK_CATEGORY", Scheme.CODE)
        by_uid = read_data_set(reader, uid("dataSet", "STOCK_CATEGORY"), Scheme.UID)
    assert by_code is not None
    assert by_code == by_uid
    assert (by_code.period_type, by_code.open_future_periods, by_code.expiry_days) == ("Monthly", 2, 10)
    (period,) = by_code.input_periods
    assert (period.period, period.opening_date, period.closing_date) == ("202601", date(2026, 1, 5), None)
    assert by_code.may_write
    assert by_code.workflow is None
    assert [combo.name for combo in by_code.option_combos] == ["default"]
    assert {element.code for element in by_code.data_elements} == {"STOCK_abc", "STOCK_def"}
    (element, other) = by_code.data_elements
    assert {combo.code for combo in element.option_combos} == {"STOCK_ON_HAND", "ISSUED"}
    assert element.option_combos is other.option_combos
    assert (element.value_type, element.aggregation_type, element.zero_is_significant) == (
        "NUMBER",
        "LAST",
        True,
    )
    assert {org_unit.code for org_unit in by_code.org_units} == {"OU_0", "OU_1", "OU_2"}
    assert all(org_unit.path.endswith(org_unit.id) for org_unit in by_code.org_units)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("identifier", "scheme"),
    [
        ("stock_category", Scheme.CODE),
        ("not a uid", Scheme.UID),
        ("abcdefghij1", Scheme.UID),
        ("", Scheme.CODE),
    ],
)
def test_no_such_data_set(version: str, identifier: str, scheme: Scheme) -> None:
    with StandIn(world(), version=version) as dhis2:
        assert read_data_set(Reader(dhis2), identifier, scheme) is None


def test_data_set_category_combo() -> None:
    own = {"id": "own", "categoryOptionCombos": [{"id": "a"}]}
    given = {"id": "given", "categoryOptionCombos": [{"id": "b", "code": "B", "name": "Bee"}]}
    element = {"id": "element", "valueType": "NUMBER", "categoryCombo": own}
    memberships = [{"dataSet": {"id": "set"}}, {"dataSet": {"id": "another"}}]
    hidden: dict[str, object] = {"dataSet": {}}
    answer = {
        "id": "set",
        "periodType": "Monthly",
        "workflow": {"id": "approval"},
        "dataSetElements": [
            {"categoryCombo": given, "dataElement": {**element, "dataSetElements": memberships}},
            {
                "dataElement": {
                    **element,
                    "optionSet": {"id": "options"},
                    "dataSetElements": [memberships[0], hidden],
                }
            },
        ],
        "organisationUnits": [{"id": "unit", "openingDate": "1990", "closedDate": "2020-01-01T00:00:00.000"}],
    }
    data_set = read_data_set(Says({"dataSets": [answer]}), "set", Scheme.UID)
    assert data_set is not None
    first, second = data_set.data_elements
    assert [combo.id for combo in first.option_combos] == ["b"]
    assert [combo.id for combo in second.option_combos] == ["a"]
    assert (first.has_option_set, second.has_option_set) == (False, True)
    assert [each.is_in_another_than("set") for each in data_set.data_elements] == [True, False]
    assert data_set.workflow == "approval"
    assert data_set.may_write is None
    assert (data_set.org_units[0].opening_date, data_set.org_units[0].closed_date) == (None, date(2020, 1, 1))


@pytest.mark.parametrize("version", VERSIONS)
def test_short_addresses(version: str) -> None:
    count = 250
    codes = [f"OU_{number}" for number in range(count)]
    absent = [f"Nowhere / {number} {'é' * 30}" for number in range(60)]
    with StandIn(world(count), version=version) as dhis2:
        reader = Reader(dhis2)
        found = find(OrgUnit, reader, [*codes, *absent, "A,B", *codes], Scheme.CODE)
    assert sorted(str(org_unit.code) for org_unit in found) == sorted(codes)
    assert len(reader.queries) > 3
    assert max(map(len, reader.queries)) <= MAXIMUM_QUERY


@pytest.mark.parametrize("version", VERSIONS)
def test_outside_the_data_set(version: str) -> None:
    with StandIn(world(), version=version) as dhis2:
        reader = Reader(dhis2)
        elements = find(DataElement, reader, ["abc", "nothing"], Scheme.CODE)
        combos = find(OptionCombo, reader, [uid("categoryOptionCombo", "ISSUED")], Scheme.UID)
        of_option = find_category_option(reader, uid("categoryOption", "ISSUED"), Scheme.UID)
        assert find_category_option(reader, uid("categoryOptionCombo", "ISSUED"), Scheme.UID) == ()
        assert find(DataElement, reader, [], Scheme.CODE) == ()
    assert [element.code for element in elements] == ["abc"]
    assert [combo.code for combo in combos] == ["ISSUED"]
    assert of_option == combos
    assert combos[0].category_combo == uid("categoryCombo", "STOCK_METRIC")


@pytest.mark.parametrize(
    "answer", [None, [], "", 7, {}, {"dataSets": 7}, {"dataSets": [{"name": "x"}]}, {"id": 1}]
)
def test_unexpected_answer(answer: object) -> None:
    readers = (
        read_server,
        read_user,
        lambda client: read_data_set(client, "x", Scheme.UID),
        lambda client: find(OrgUnit, client, ["x"], Scheme.UID),
        lambda client: find(DataElement, client, ["x"], Scheme.UID),
        lambda client: find(OptionCombo, client, ["x"], Scheme.UID),
        lambda client: find_category_option(client, "x", Scheme.UID),
    )
    for read in readers:
        with pytest.raises(Dhis2Error, match=r"DHIS2 answered /api/\S+ in a way that is not understood"):
            read(Says(answer))


recorded = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recorded answers of real servers (../shared/dhis2) are not here"
)


def recording(version: str) -> dict[str, object]:
    """Return the bodies of a version's recorded answers, by case."""
    (file,) = RECORDINGS.glob(f"{version}.*.jsonl")
    with file.open() as lines:
        return {case["case"]: case["response"]["body"] for case in map(json.loads, lines)}


@recorded
@pytest.mark.parametrize("version", ["2.40", "2.41", "2.42", "2.43"])
def test_recorded_answers(version: str) -> None:
    answers = recording(version)
    server = read_server(Says(answers["system_info"]))
    assert server.version == (2, int(version[2:]))
    assert server.server_date.date() == date(2026, 11, 23)
    assert (server.calendar, server.name) == ("iso8601", "DHIS 2")
    user = read_user(Says(answers["me_ok"]))
    assert (user.username, user.authorities) == ("pusher", frozenset({"F_DATAVALUE_ADD", "F_EXPORT_DATA"}))
    assert user.org_units == ("kpzj5PlYrPM",)

    def data_set(case: str) -> models.DataSet:
        (answer,) = [answers[case]]
        assert isinstance(answer, dict)
        found = read_data_set(Says({"dataSets": [answer]}), answer["id"], Scheme.UID)
        assert found is not None
        return found

    stock = data_set("dataset_read_pusher")
    assert (stock.period_type, stock.open_future_periods, stock.expiry_days) == ("Monthly", 1, 0)
    assert (len(stock.data_elements), len(stock.org_units)) == (30, 5)
    assert [data_set(f"dataset_read_{name}").may_write for name in ("pusher", "reader", "nowrite")] == [
        True,
        False,
        False,
    ]
    by_code = {element.code: element for element in stock.data_elements}
    assert not by_code["SOH_368c74bf"].zero_is_significant
    assert by_code["SOHZ_368c74bf"].zero_is_significant
    assert by_code["AMC_368c74bf"].aggregation_type == "AVERAGE_SUM_ORG_UNIT"
    assert by_code["DOS_368c74bf"].value_type == "INTEGER_ZERO_OR_POSITIVE"
    (closed,) = [org_unit for org_unit in stock.org_units if org_unit.code == "OU_CLOSED"]
    assert (closed.opening_date, closed.closed_date) == (date(2000, 1, 1), date(2020, 1, 1))
    by_category = data_set("dataset_read_coc")
    assert {len(element.option_combos) for element in by_category.data_elements} == {6}
    by_attribute = data_set("dataset_read_aoc")
    assert {combo.code for combo in by_attribute.option_combos} == {"AOC_SOH", "AOC_AMC", None}
    assert find(OrgUnit, Says(answers["orgunits_code_in"]), ["OU_KOPU"], Scheme.CODE)[0].code == "OU_CLOSED"
    assert find(DataElement, Says(answers["dataelements_paging_false_token"]), ["x"], Scheme.CODE)
    (combo,) = find(OptionCombo, Says(answers["coc_code_in"]), ["AOC_SOH"], Scheme.CODE)
    assert combo.id in {each.id for each in by_attribute.option_combos}
    option = answers["category_option_combos_of_option"]
    assert find_category_option(Says({"categoryOptions": [option]}), "MtWOrkJiMP4", Scheme.UID) == (combo,)
    assert read_data_set(Says(answers["dataset_by_code"]), "DS_STOCK", Scheme.CODE) is not None
    assert read_data_set(Says(answers["dataset_by_code_none"]), "NOPE", Scheme.CODE) is None


@recorded
@pytest.mark.parametrize("version", ["2.40", "2.41", "2.42", "2.43"])
def test_recorded_input_periods(version: str) -> None:
    answer = recording(version)["dataset_read_input_periods"]
    assert isinstance(answer, dict)
    data_set = read_data_set(
        Says({"dataSets": [{**answer, "periodType": "Monthly"}]}), answer["id"], Scheme.UID
    )
    assert data_set is not None
    assert [period.period for period in data_set.input_periods] == ["202510"]
