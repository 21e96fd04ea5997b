"""What the stand-in's charts show: the table of the aggregation types, and what real servers answered."""

from collections.abc import Iterator, Mapping
from datetime import datetime

import pytest
import requests

from sandbox.dhis2 import ADMIN, Metadata, StandIn, ValueKey, Version, uid
from sandbox.dhis2.metadata import DEFAULT_OPTION_COMBO_ID, DataElement, OrgUnit
from sandbox.dhis2.values import StoredValue
from tests.support.metadata_recordings import MORE, Recorded, recorded

NOW = datetime.fromisoformat("2026-11-29T01:30:00")
NATION, D1, D2 = "u9QBQd0EtQP", "oIbczx1t58C", "EdvG20Jdcdp"
F11, F12, F21, F22 = "Mcfp8sSU2p2", "eIoebIX4XGz", "cDQptDILaLC", "yPaPP7aqnHn"
ABOVE = {D1: NATION, D2: NATION, F11: D1, F12: D1, F21: D2, F22: D2}
STOCK = {
    F11: {"202607": "100", "202608": "80", "202609": "60"},
    F12: {"202607": "50", "202608": "0", "202609": "40"},
    F21: {"202607": "200", "202608": "180", "202609": "160"},
    F22: {"202607": "30", "202608": "20"},
}
TYPES = (
    "SUM",
    "AVERAGE",
    "LAST",
    "LAST_AVERAGE_ORG_UNIT",
    "LAST_IN_PERIOD",
    "LAST_IN_PERIOD_AVERAGE_ORG_UNIT",
    "FIRST",
    "FIRST_AVERAGE_ORG_UNIT",
    "MAX",
    "MIN",
    "COUNT",
)

type Rows = dict[tuple[str, ...], str]


def path_of(unit: str) -> str:
    return f"{path_of(ABOVE[unit]) if unit in ABOVE else ''}/{unit}"


def metadata(elements: Mapping[str, str], **documents: dict[str, dict[str, object]]) -> Metadata:
    """Set org units up, and data elements by UID with their aggregation types."""
    units = (NATION, *ABOVE)
    return Metadata(
        org_units=tuple(OrgUnit(id=unit, code=unit, name=unit, path=path_of(unit)) for unit in units),
        data_elements=tuple(
            DataElement(id=identifier, code=None, name=kind, aggregation_type=kind)
            for identifier, kind in elements.items()
        ),
        documents=documents,
    )


def store(dhis2: StandIn, element: str, stock: Mapping[str, Mapping[str, str]]) -> None:
    for unit, months in stock.items():
        for month, value in months.items():
            key = ValueKey(element, month, unit, DEFAULT_OPTION_COMBO_ID, DEFAULT_OPTION_COMBO_ID)
            dhis2.values.rows[key] = StoredValue(value, "somebody", NOW, NOW)


def call(dhis2: StandIn, method: str, path: str, body: object = None) -> requests.Response:
    password = ADMIN.password.get_secret_value()
    address = f"{dhis2.url}/api/{path}"
    text = body if isinstance(body, str) else None
    return requests.request(
        method,
        address,
        data=text,
        json=None if text else body,
        auth=(ADMIN.username, password),
        timeout=10,
    )


def build(dhis2: StandIn, *, zeros: bool, periods: bool = True) -> None:
    """Build the tables, with the two settings of the server."""
    switch = "true" if zeros else "false"
    assert call(dhis2, "POST", "systemSettings/keyIncludeZeroValuesInAnalytics", switch).ok
    if dhis2.version is Version.V2_43:
        types = [{"name": name} for name in ("Monthly", "Quarterly", "Yearly")] if periods else []
        assert call(dhis2, "POST", "configuration/dataOutputPeriodTypes", types).ok
    started = call(dhis2, "POST", "resourceTables/analytics?lastYears=1").json()
    task = call(dhis2, "GET", started["response"]["relativeNotifierEndpoint"].removeprefix("/api/")).json()
    assert task[0]["completed"]
    assert call(dhis2, "GET", "system/info").json()["lastAnalyticsTableSuccess"]


def ask(dhis2: StandIn, query: str) -> Rows:
    answer = call(dhis2, "GET", f"analytics?{query}")
    assert answer.ok, answer.text
    return {tuple(row[:-1]): row[-1] for row in answer.json()["rows"]}


@pytest.fixture(params=(Version.V2_40, Version.V2_43))
def dhis2(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    elements = {uid("element", kind): kind for kind in TYPES}
    with StandIn(metadata(elements), version=request.param, now=NOW) as server:
        for element in elements:
            store(server, element, STOCK)
        yield server


TABLE = {
    "SUM": ("80", "160", "260", None, "330", "590", "920"),
    "AVERAGE": ("40", "160", "86.67", None, "55", "118", "83.64"),
    "LAST": ("80", "180", "280", "280", "100", "180", "280"),
    "LAST_IN_PERIOD": ("80", "160", "260", None, "100", "180", "280"),
    "LAST_IN_PERIOD_AVERAGE_ORG_UNIT": ("40", "160", "86.67", None, "50", "90", "70"),
    "FIRST": ("150", "230", "380", "380", "150", "230", "380"),
}
CELLS = (
    (D1, "202608"),
    (D2, "202609"),
    (NATION, "202609"),
    (NATION, "202610"),
    (D1, "2026Q3"),
    (D2, "2026Q3"),
    (NATION, "2026Q3"),
)


def test_types_add_up(dhis2: StandIn) -> None:
    build(dhis2, zeros=True)
    for kind, wanted in TABLE.items():
        element = uid("element", kind)
        rows = ask(
            dhis2,
            f"dimension=dx:{element}&dimension=pe:202608;202609;202610;2026Q3&dimension=ou:{D1};{D2};{NATION}",
        )
        assert tuple(rows.get((element, month, unit)) for unit, month in CELLS) == wanted, kind


def test_zeros_are_left_out(dhis2: StandIn) -> None:
    build(dhis2, zeros=False)
    query = f"dimension=pe:202608&dimension=ou:{F12};{D1}"
    last, average = uid("element", "LAST_IN_PERIOD"), uid("element", "AVERAGE")
    assert ask(dhis2, f"dimension=dx:{last}&{query}") == {(last, "202608", D1): "80"}
    assert ask(dhis2, f"dimension=dx:{average}&{query}") == {
        (average, "202608", F12): "0",
        (average, "202608", D1): "40",
    }


def test_output_periods_of_a_fresh_2_43(dhis2: StandIn) -> None:
    build(dhis2, zeros=True, periods=False)
    query = f"dimension=pe:202607&dimension=ou:{NATION}"
    has_rows = {kind: bool(ask(dhis2, f"dimension=dx:{uid('element', kind)}&{query}")) for kind in TABLE}
    needs_them = {"SUM", "AVERAGE"} if dhis2.version is Version.V2_43 else set()
    assert {kind for kind, has in has_rows.items() if not has} == needs_them


def test_empty_before_tables_are_built(dhis2: StandIn) -> None:
    query = f"dimension=dx:{uid('element', 'SUM')}&dimension=pe:202607&dimension=ou:{NATION}"
    assert ask(dhis2, query) == {}
    assert "lastAnalyticsTableSuccess" not in call(dhis2, "GET", "system/info").json()


def test_relative_periods_and_own_org_units(dhis2: StandIn) -> None:
    build(dhis2, zeros=True)
    element = uid("element", "LAST_IN_PERIOD")
    query = f"dimension=dx:{element}&dimension=pe:LAST_3_MONTHS;LAST_QUARTER&filter=ou:USER_ORGUNIT"
    assert ask(dhis2, query) == {
        (element, "202608"): "280",
        (element, "202609"): "260",
        (element, "2026Q3"): "280",
    }
    children = ask(dhis2, f"dimension=dx:{element}&filter=pe:202608&dimension=ou:USER_ORGUNIT_CHILDREN")
    assert children == {(element, D1): "80", (element, D2): "200"}
    level = ask(dhis2, f"dimension=dx:{element}&filter=pe:202608&dimension=ou:LEVEL-3")
    assert set(level) == {(element, unit) for unit in STOCK}


@pytest.mark.parametrize(
    ("numerator", "denominator", "wanted"),
    [
        ("#{a}", "#{b}", "2.0"),
        ("#{a}-#{b}*2+1", "1", "1.0"),
        ("if(isNotNull(#{c}),1,0)+if(isNotNull(#{a}),1-#{a},0)", "1", "-79.0"),
        ("if(#{a}>=2*#{b} && #{a}<=3*#{b} && #{b}>0,1,0)", "1", "1.0"),
        ("#{b}.periodOffset(-1)", "1", "150.0"),
        ("#{a}", "#{c}", None),
        ("#{c}", "1", None),
        ("#{a}+(", "1", None),
    ],
)
def test_indicators(numerator: str, denominator: str, wanted: str | None) -> None:
    a, b, c = "aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"
    named = {f"#{{{name[0]}}}": f"#{{{name}}}" for name in (a, b, c)}
    for short, whole in named.items():
        numerator, denominator = numerator.replace(short, whole), denominator.replace(short, whole)
    indicator: dict[str, object] = {
        "id": "indicator01",
        "name": "of two",
        "indicatorType": {"id": "typeNumber1"},
        "numerator": numerator,
        "denominator": denominator,
    }
    documents: dict[str, dict[str, dict[str, object]]] = {
        "indicators": {"indicator01": indicator},
        "indicatorTypes": {"typeNumber1": {"factor": 1}},
    }
    elements = {a: "LAST_IN_PERIOD", b: "LAST_IN_PERIOD", c: "SUM"}
    with StandIn(metadata(elements, **documents), now=NOW) as server:
        store(server, a, {F11: {"202608": "80"}})
        store(server, b, {F11: {"202607": "150", "202608": "40"}})
        build(server, zeros=True)
        query = f"dimension=dx:indicator01&dimension=pe:202608&dimension=ou:{D1}"
        assert ask(server, query).get(("indicator01", "202608", D1)) == wanted


def test_refused_questions(dhis2: StandIn) -> None:
    element = dhis2.metadata.data_elements[0].model_copy(
        update={"id": "nothingHere", "aggregation_type": "NONE"}
    )
    dhis2.metadata = dhis2.metadata.model_copy(update={"data_elements": (element,)})
    rest = f"dimension=pe:202607&dimension=ou:{NATION}"
    for identifier, code in (("nothingHere", "E7115"), ("abcdefghij1", "E7124")):
        answer = call(dhis2, "GET", f"analytics?dimension=dx:{identifier}&{rest}")
        assert (answer.status_code, answer.json()["errorCode"]) == (409, code)


# Against the recordings

needs_recordings = pytest.mark.skipif(
    not MORE.is_dir(), reason="the recorded answers of real servers (../shared/dhis2) are not here"
)


def said(case: Recorded) -> Rows:
    return {tuple(row[:-1]): row[-1] for row in case.said["rows"]}


@needs_recordings
@pytest.mark.parametrize("zeros", [False, True])
def test_types_as_recorded(*, zeros: bool) -> None:
    cases = recorded(Version.V2_42)
    named = {kind: cases[f"analytics_{'zero_' if zeros else ''}T_{kind}"] for kind in TYPES}
    elements = {case.query.partition("dx:")[2][:11]: kind for kind, case in named.items()}
    with StandIn(metadata(elements), now=NOW) as dhis2:
        for element in elements:
            store(dhis2, element, STOCK)
        build(dhis2, zeros=zeros)
        different = {kind for kind, case in named.items() if ask(dhis2, case.query) != said(case)}
    assert different == set()


@needs_recordings
def test_months_of_stock_as_recorded() -> None:
    cases = recorded(Version.V2_42)
    soh, amc, indicator = "zQn85lM7nA8", "sbgYyVVOYZb", "ASkO4lTKbNx"
    documents: dict[str, dict[str, dict[str, object]]] = {
        "indicators": {
            indicator: {
                "id": indicator,
                "name": "Months of stock",
                "indicatorType": {"id": "typeNumber1"},
                "numerator": f"#{{{soh}}}",
                "denominator": f"#{{{amc}}}",
                "decimals": 1,
            }
        }
    }
    with StandIn(metadata(dict.fromkeys((soh, amc), "LAST_IN_PERIOD"), **documents), now=NOW) as dhis2:
        for (element, month, unit), value in said(cases["analytics_metrics"]).items():
            if element in (soh, amc) and month in STOCK[F11] and unit in STOCK:
                store(dhis2, element, {unit: {month: value}})
        build(dhis2, zeros=True)
        rows = ask(dhis2, cases["analytics_indicators"].query.replace(";POwO8Wxsbem;MssLKJyshxB", ""))
    recorded_rows = {
        key: value for key, value in said(cases["analytics_indicators"]).items() if key[0] == indicator
    }
    assert rows == recorded_rows


@needs_recordings
def test_written_zeros_as_recorded() -> None:
    """Only "0" itself is left out, not "0.0"."""
    case = recorded(Version.V2_42)["analytics_zero_forms"]
    values = {F11: "0", F12: "0.0", F21: "0.00", F22: "7"}
    with StandIn(metadata({"hcoHwb62aD8": "LAST_IN_PERIOD"}), now=NOW) as dhis2:
        store(dhis2, "hcoHwb62aD8", {unit: {"202604": value} for unit, value in values.items()})
        build(dhis2, zeros=False)
        assert ask(dhis2, case.query) == said(case)
