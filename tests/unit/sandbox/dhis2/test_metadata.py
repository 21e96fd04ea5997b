"""The stand-in's metadata: made from codes, and as one JSON document."""

import pytest
from pydantic import ValidationError

from sandbox.dhis2 import PREFIXES, Metadata, User, stock_metadata, uid
from sandbox.dhis2.fields import BadFilterError, Filter, parse_fields, render
from sandbox.dhis2.metadata import DataSet, is_uid

METADATA = stock_metadata(
    [("OPUA", "Opua"), ("KAMO", "Kamo")],
    [("368c74bf", "Amoxicillin"), ("14ef8a9c", "Paracetamol")],
    list(PREFIXES),
    zero_is_significant=False,
)


def test_uid_from_kind_and_code() -> None:
    assert uid("dataSet", "A") == uid("dataSet", "A")
    assert len({uid(kind, code) for kind in ("dataSet", "dataElement") for code in ("A", "B", "a")}) == 6
    assert all(is_uid(uid("dataElement", str(number))) for number in range(500))


def test_data_set_per_setup() -> None:
    assert [data_set.code for data_set in METADATA.data_sets] == [
        "STOCK_CATEGORY",
        "STOCK_ATTRIBUTE",
        "MSUPPLY_STOCK",
        "STOCK_SINGLE",
    ]
    for data_set in METADATA.data_sets:
        assert len(data_set.org_unit_ids) == 2
        assert all(METADATA.data_element.by_id(element) is not None for element in data_set.data_element_ids)


def test_metrics_as_option_combos() -> None:
    combo = METADATA.option_combo.by_scheme("CODE", "STOCK_ON_HAND")
    assert combo is not None
    data_sets = {data_set.code: data_set for data_set in METADATA.data_sets}
    assert METADATA.combo_of(data_sets["STOCK_ATTRIBUTE"]).has(combo.id)
    assert not METADATA.combo_of(data_sets["STOCK_CATEGORY"]).has(combo.id)
    by_category = METADATA.data_element.by_scheme("CODE", "STOCK_368c74bf")
    plain = METADATA.data_element.by_scheme("CODE", "368c74bf")
    assert by_category is not None
    assert plain is not None
    assert METADATA.combo_of(by_category).has(combo.id)
    assert not METADATA.combo_of(plain).has(combo.id)


def test_data_elements_per_item() -> None:
    types = {
        prefix: element.value_type
        for prefix in PREFIXES.values()
        if (element := METADATA.data_element.by_scheme("CODE", f"{prefix}_14ef8a9c")) is not None
    }
    assert types == {prefix: "BOOLEAN" if prefix == "OUT" else "NUMBER" for prefix in PREFIXES.values()}


def test_json_round_trip() -> None:
    assert Metadata.model_validate_json(METADATA.model_dump_json()) == METADATA


def test_copy_is_independent() -> None:
    assert METADATA.data_set.by_scheme("CODE", "STOCK_SINGLE") is not None
    without = METADATA.model_copy(update={"data_sets": METADATA.data_sets[:1]})
    assert without.data_set.by_scheme("CODE", "STOCK_SINGLE") is None
    assert without.data_elements == METADATA.data_elements


def test_unknown_period_type() -> None:
    with pytest.raises(ValidationError, match="Fortnightly is none of Daily"):
        DataSet(id="abcdefghij1", code="A", name="A", period_type="Fortnightly")


def test_password_hidden() -> None:
    assert "secret-one" not in repr(User.model_validate({"username": "a", "password": "secret-one"}))


def test_selected_fields() -> None:
    inner = {"id": lambda: "b", "name": lambda: "Inner"}
    view = {"id": lambda: "a", "code": lambda: None, "child": lambda: inner, "children": lambda: [inner]}
    fields = parse_fields("id,code,nothing,child[name],children")
    assert render(view, fields) == {"id": "a", "child": {"name": "Inner"}, "children": [{"id": "b"}]}


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("code:eq:SOH_1", True),
        ("code:eq:soh_1", False),
        ("code:in:[A,SOH_1]", True),
        ("code:in:[A,SOH_]", False),
        ("code:like:OH_", True),
        ("code:like:H__$", False),
        ("code:like:O_H", False),
        ("code:like:S_H", True),
        ("code:ilike:soh", True),
        ("options.id:eq:b", True),
        ("options.id:eq:c", False),
    ],
)
def test_filter_matches(
    text: str,
    passes: bool,  # noqa: FBT001 - a column of the table
) -> None:
    view = {"code": lambda: "SOH_1", "options": lambda: [{"id": lambda: "a"}, {"id": lambda: "b"}]}
    assert Filter.parse(text).accepts(view) is passes


@pytest.mark.parametrize("text", ["code:frobs:SOH_1", "code", "code:"])
def test_unknown_operator(text: str) -> None:
    with pytest.raises(BadFilterError):
        Filter.parse(text)
