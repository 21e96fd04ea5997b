"""What DHIS2 holds, as a person asks test connection: against the stand-in of an old and a new version."""

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from msupply_dhis2.aws import clients
from msupply_dhis2.dhis2 import held as dhis2_held
from msupply_dhis2.handlers import held
from sandbox.dhis2 import StandIn, User, ValueKey, stock_metadata, uid
from sandbox.dhis2.metadata import DEFAULT_OPTION_COMBO_ID
from sandbox.dhis2.values import StoredValue
from tests.conftest import BUCKET, Aws
from tests.support.functions import ComputeAnswers, Invocation, invoke

PASSWORD = "mark3d-secret"
METRICS = ("stock_on_hand", "issued")
STORED_AT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
MAPPED = {
    "stores": [["Kamo clinic", "KAM", "OU_KAMO"], ["Opua", "OPU", "OU_OPUA"]],
    "items": [["Amoxicillin", "AMX", ["abc", "abc"]], ["Paracetamol", "PAR", ["def", "def"]]],
}

type Ask = Callable[..., Invocation]


@pytest.fixture(params=["2.41", "2.43"])
def dhis2(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    units = [("OU_KAMO", "Kamo"), ("OU_OPUA", "Opua"), ("OU_FAR", "Far")]
    metadata = stock_metadata(units, [("abc", "Amoxicillin"), ("def", "Paracetamol")], METRICS)
    near = tuple(uid("organisationUnit", unit) for unit in ("OU_KAMO", "OU_OPUA"))
    user = User(username="pusher", password=PASSWORD, authorities=("F_DATAVALUE_ADD",), org_unit_ids=near)
    with StandIn(metadata, version=request.param, users=[user]) as server:
        number = 0
        for period in ("202601", "202602"):
            for unit in ("OU_KAMO", "OU_OPUA", "OU_FAR"):
                for item in ("abc", "def"):
                    for metric in METRICS:
                        number += 1
                        key = ValueKey(
                            uid("dataElement", item),
                            period,
                            uid("organisationUnit", unit),
                            DEFAULT_OPTION_COMBO_ID,
                            uid("categoryOptionCombo", metric.upper()),
                        )
                        server.values.rows[key] = StoredValue(str(number), "nurse", STORED_AT, STORED_AT)
        yield server


@pytest.fixture
def ask(aws: Aws, dhis2: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    rows = [
        {
            "metric": metric,
            "active": True,
            "interval": "monthly",
            "basis": "previous_month",
            "category_option_id": metric.upper(),
            "category_option_combo_id_scheme": "code",
        }
        for metric in METRICS
    ]
    aws.put_settings(
        json.dumps(
            {
                "use_dhis2": False,
                "basic_authentication": True,
                "url": dhis2.url,
                "setup": "category_option_combo",
                "data_elements": rows,
                "data_set_id": "STOCK_ATTRIBUTE",
                "data_set_id_scheme": "code",
                "period_format": "YYYYMM",
                "item_field_reference": "universal_code",
                "data_element_id_scheme": "code",
                "org_unit_scheme": "code",
            }
        )
    )
    aws.put_dhis2_credentials("pusher", PASSWORD)
    compute = ComputeAnswers({"status": "database reached", "message": "It answers.", "mapped": MAPPED})
    monkeypatch.setattr(clients, "lambda_", lambda: compute)

    def ask(**what: object) -> Invocation:
        return invoke("test_connection", {"held": what}, capsys)

    return ask


def told(invocation: Invocation) -> list[tuple[str, ...]]:
    assert invocation.answer["status"] == "read", invocation.answer["message"]
    names = ("data_element", "org_unit", "period", "attribute_option_combo", "value")
    return sorted(tuple(value[name] for name in names) for value in invocation.answer["values"])


def test_value_and_author(ask: Ask, dhis2: StandIn) -> None:
    asked = ask(stores=["kam"], items="Amoxicillin", metrics=["stock on hand"], periods=["202601"])
    (value,) = asked.answer["values"]
    assert value.pop("last_updated").startswith("2026-02-03T04:05:06.000")
    assert value == {
        "data_element": "abc",
        "org_unit": "OU_KAMO",
        "period": "202601",
        "category_option_combo": DEFAULT_OPTION_COMBO_ID,
        "attribute_option_combo": "STOCK_ON_HAND",
        "value": "1",
        "stored_by": "nurse",
    }
    assert asked.answer["message"] == "DHIS2 holds 1 value of what was asked for."
    assert {request.method for request in dhis2.requests} == {"GET"}


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ({"org_units": "OU_OPUA", "periods": "202602"}, "17 18 19 20"),
        ({"stores": ["Opua", "KAM"], "items": ["PAR"], "periods": "202601"}, "3 4 7 8"),
        ({"org_units": ["OU_OPUA"], "metrics": ["issued"], "periods": ["202601", "2026-02"]}, "6 8 18 20"),
        ({"org_units": ["OU_KAMO"], "data_elements": ["def"], "periods": ["202601"]}, "3 4"),
        ({"org_units": ["OU_KAMO"], "periods": ["202512"]}, ""),
    ],
)  # fmt: skip
def test_only_asked_values(ask: Ask, what: dict[str, object], values: str) -> None:
    assert sorted((each[-1] for each in told(ask(**what))), key=int) == values.split()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"org_units": "OU_KAMO"}, "held.periods is missing."),
        ({"org_units": "OU_KAMO", "Period": "202601"}, "Did you mean periods?"),
        ({"org_units": [], "periods": "202601"}, "held.org_units is empty"),
        ({"Org units": "OU_NO", "PERIODS": "202601"}, "held.org_units: DHIS2 has no org unit OU_NO"),
        ({"periods": "202601"}, "held: name org_units or stores, one of the two"),
        ({"org_units": "A", "stores": "B", "periods": "202601"}, "held: name org_units or stores"),
        ({"org_units": "OU_KAMO", "periods": "January"}, "held.periods: 'January' is not a period of DHIS2."),
        ({"org_units": "OU_KAMO", "periods": "202601", "item": "x"}, "held.item is not a field. Did you mean items?"),
        ({"org_units": "OU_KAMO", "periods": "202601", "metrics": "stock"}, "one of held.metrics is 'stock'. Did you mean"),
        ({"org_units": "OU_KAMO", "periods": "202601", "metrics": "received"}, "held.metrics: no active row"),
        ({"org_units": "OU_KAMO", "periods": "202601", "items": "x"}, "held.items: mSupply has no items x mapped"),
        ({"stores": "Nowhere", "periods": "202601"}, "held.stores: mSupply has no stores Nowhere mapped"),
        ({"org_units": "OU_NO", "periods": "202601"}, "held.org_units: DHIS2 has no org unit OU_NO"),
        ({"org_units": "OU_FAR", "periods": "202601"}, "held.org_units: the user pusher may not read the values of Far"),
        ({"org_units": "OU_KAMO", "periods": "202601", "data_elements": "x"}, "held.data_elements: DHIS2's data set"),
        (
            {"org_units": "OU_KAMO", "periods": "202601", "data_elements": "abc", "items": "AMX"},
            "held.data_elements: not together with items or metrics",
        ),
    ],
)  # fmt: skip
def test_faulty_field(ask: Ask, what: dict[str, object], said: str) -> None:
    asked = ask(**what)
    assert asked.answer["status"] == "failed"
    assert said in asked.answer["message"]
    assert asked.said(said)[0]["event"] == "held_values_read"


def test_skip_unknown_org_units(ask: Ask) -> None:
    asked = ask(org_units=["OU_KAMO", "OU_NO", "OU_FAR"], periods="202601", skip_unknown=True)
    assert sorted(each[-1] for each in told(asked)) == ["1", "2", "3", "4"]
    assert asked.answer["left_out"] == {
        "OU_NO": "DHIS2 has no such org unit, or this user may not see it.",
        "OU_FAR": "The user pusher may not read its values in DHIS2.",
    }


def test_file_of_many_values(ask: Ask, aws: Aws, dhis2: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "VALUES_IN_ANSWER", 7)
    monkeypatch.setattr(dhis2_held, "VALUES_A_CALL", 10)
    answer = ask(org_units=["OU_KAMO", "OU_OPUA"], periods=["202601", "202602"]).answer
    assert "values" not in answer
    assert answer["message"].startswith("DHIS2 holds 16 values of what was asked for. They are in a file")
    key = answer["file"].removeprefix(f"s3://{BUCKET}/")
    assert key.startswith("exports/")
    lines = gzip.decompress(aws.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).splitlines()
    numbers = {int(json.loads(line)["value"]) for line in lines}
    assert numbers == {*range(1, 9), *range(13, 21)}
    calls = [request for request in dhis2.requests if request.path == "/api/dataValueSets"]
    assert len(calls) == 4


def test_too_many_places(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dhis2_held, "MOST_PLACES", 3)
    message = ask(org_units=["OU_KAMO", "OU_OPUA"], periods=["202601", "202602"]).answer["message"]
    assert message.startswith("held.org_units: 2 org units in 2 periods are too many")


def test_refused_login_once(ask: Ask, aws: Aws, dhis2: StandIn) -> None:
    aws.put_dhis2_credentials("pusher", "wrong")
    answers = [ask(org_units="OU_KAMO", periods="202601").answer for _ in range(2)]
    assert [answer["status"] for answer in answers] == ["failed", "failed"]
    assert "DHIS2 was not asked" in answers[1]["message"]
    assert len(dhis2.requests) == 1
    assert "wrong" not in json.dumps(answers).replace("wrong password", "")
