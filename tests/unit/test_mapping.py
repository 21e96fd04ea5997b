"""Groups to data values, for the three setups of the DHIS2 tab."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import MICRO, GroupHistory, Item, ItemGroup, OrgUnit, PairHistory, Store
from msupply_dhis2.mapping import Mapper, collisions, group_items, group_stores, without_collisions
from msupply_dhis2.metrics.calculate import GroupValues
from msupply_dhis2.metrics.quantity import Quantity
from msupply_dhis2.periods import Basis, Calendar, window
from msupply_dhis2.settings import Scheme, Settings, parse_settings

KAMO = Store("s1", "KAM", "Kamo", "OU_KAMO")
KAMO_PHARMACY = Store("s2", "KAP", "Kamo pharmacy", "OU_KAMO")
OPUA = Store("s3", "OPU", "Opua", "OU_OPUA")


def settings(setup: str, rows: str, more: str = "") -> Settings:
    return parse_settings(f"""
use_dhis2: true
basic_authentication: true
url: https://dhis2.example.org
setup: {setup}
data_elements: {rows}
data_set_id: DS_STOCK
data_set_id_scheme: code
period_format: YYYYMM
org_unit_scheme: code
{more}
""")


def item(name: str, **fields: str) -> Item:
    return Item(name.lower(), name[:3].upper(), name, fields)


def combo_settings(more: str = "") -> Settings:
    rows = """
  - {metric: stock_on_hand, active: true, category_option_id: SOH, category_option_combo_id_scheme: code,
     interval: monthly, basis: current_day}
  - {metric: issued, active: true, category_option_id: abcdefghij1, interval: monthly, basis: previous_month}
"""
    return settings(
        "category_option_combo",
        rows,
        f"item_field_reference: universal_code\ndata_element_id_scheme: code\n{more}",
    )


def per_item_settings(more: str = "data_element_id_scheme: code") -> Settings:
    prefix = ", prefix: SOH_" if "code" in more else ""
    rows = f"""
  - {{metric: stock_on_hand, active: true, custom_field_name: user_field_1, interval: monthly, basis: current_day{prefix}}}
  - {{metric: issued, active: true, custom_field_name: issued_id, interval: monthly, basis: current_day}}
"""
    return settings("data_element_per_item", rows, more)


def mapped(
    of: Settings, history: GroupHistory, values: Mapping[Basis, Mapping[Metric, Quantity]]
) -> list[DataValue]:
    calendar = Calendar(ZoneInfo("UTC"))
    as_of = datetime(2026, 2, 10, tzinfo=ZoneInfo("UTC"))
    windows = {basis: window(basis, as_of, calendar, of.period) for basis in values}
    rows = tuple((row, row.basis) for row in of.active_rows)
    groups = {basis: GroupValues(dict(numbers), Counter()) for basis, numbers in values.items()}
    return list(Mapper(of, rows, windows).data_values(history, groups))


def history(org_unit: OrgUnit, group: ItemGroup) -> GroupHistory:
    pairs = [
        PairHistory(store, its_item, [], [], None, 0) for store in org_unit.stores for its_item in group.items
    ]
    return GroupHistory(org_unit, group, pairs)


def test_shared_org_unit() -> None:
    org_units, skipped = group_stores([OPUA, KAMO_PHARMACY, KAMO], combo_settings())
    assert org_units == (OrgUnit("OU_KAMO", (KAMO, KAMO_PHARMACY)), OrgUnit("OU_OPUA", (OPUA,)))
    assert skipped == ()


def test_store_without_uid() -> None:
    of = combo_settings().model_copy(update={"org_unit_scheme": Scheme.UID})
    good = Store("s4", "KOP", "Kopu", "a1234567890")
    org_units, skipped = group_stores([KAMO, good], of)
    assert [org_unit.code for org_unit in org_units] == ["a1234567890"]
    assert skipped[0].named == "Kamo (KAM)"
    assert "'OU_KAMO' in its field Dhis2Code is not a DHIS2 UID" in skipped[0].reason


def test_item_groups() -> None:
    brand, generic = item("Brand", universal_code="368c74bf"), item("Generic", universal_code="368c74bf")
    groups, skipped = group_items([generic, item("Other"), brand], [], combo_settings())
    assert groups == (ItemGroup("368c74bf", (brand, generic)),)
    assert skipped == ()


def test_option_combo_for_metric() -> None:
    group = ItemGroup("368c74bf", (item("Amoxicillin", universal_code="368c74bf"),))
    values = mapped(
        combo_settings(),
        history(OrgUnit("OU_KAMO", (KAMO,)), group),
        {
            Basis.CURRENT_DAY: {Metric.STOCK_ON_HAND: 12 * MICRO},
            Basis.PREVIOUS_MONTH: {Metric.ISSUED: Fraction(5 * MICRO, 2)},
        },
    )
    first, second = values
    assert first.key == ("368c74bf", "202602", "OU_KAMO", None, "SOH")
    assert (first.value, first.column.option_combo_scheme) == ("12", Scheme.CODE)
    assert (first.item, first.store, first.metric) == ("Amoxicillin", "Kamo", Metric.STOCK_ON_HAND)
    assert second.key == ("368c74bf", "202601", "OU_KAMO", None, "abcdefghij1")
    assert (second.value, second.column.option_combo_scheme) == ("2.5", Scheme.UID)


def test_option_combo_place() -> None:
    group = ItemGroup("368c74bf", (item("Amoxicillin"),))
    values = mapped(
        combo_settings("option_combo_field: category"),
        history(OrgUnit("OU_KAMO", (KAMO,)), group),
        {Basis.CURRENT_DAY: {Metric.STOCK_ON_HAND: 0}, Basis.PREVIOUS_MONTH: {}},
    )
    assert [value.key for value in values] == [("368c74bf", "202602", "OU_KAMO", "SOH", None)]


def test_zero_versus_missing() -> None:
    group = ItemGroup("368c74bf", (item("Amoxicillin"),))
    values = mapped(
        combo_settings(),
        history(OrgUnit("OU_KAMO", (KAMO,)), group),
        {Basis.CURRENT_DAY: {Metric.STOCK_ON_HAND: 0}, Basis.PREVIOUS_MONTH: {}},
    )
    assert [(value.metric, value.value) for value in values] == [(Metric.STOCK_ON_HAND, "0")]


def test_round_off() -> None:
    group = ItemGroup("368c74bf", (item("Amoxicillin"),))
    values = mapped(
        combo_settings("round_off: true"),
        history(OrgUnit("OU_KAMO", (KAMO,)), group),
        {Basis.CURRENT_DAY: {Metric.STOCK_ON_HAND: 5 * MICRO // 2}, Basis.PREVIOUS_MONTH: {}},
    )
    assert values[0].value == "3"


def test_names_of_all_sources() -> None:
    group = ItemGroup("368c74bf", (item("Brand"), item("Generic")))
    values = mapped(
        combo_settings(),
        history(OrgUnit("OU_KAMO", (KAMO, KAMO_PHARMACY)), group),
        {Basis.CURRENT_DAY: {Metric.STOCK_ON_HAND: MICRO}, Basis.PREVIOUS_MONTH: {}},
    )
    assert (values[0].store, values[0].item) == ("Kamo; Kamo pharmacy", "Brand; Generic")


def test_data_element_per_metric() -> None:
    of = per_item_settings()
    amoxicillin = item("Amoxicillin", user_field_1="AMOX", issued_id="AMOX_ISSUED")
    groups, skipped = group_items([amoxicillin], of.active_rows, of)
    values = mapped(
        of,
        history(OrgUnit("OU_KAMO", (KAMO,)), groups[0]),
        {Basis.CURRENT_DAY: {Metric.STOCK_ON_HAND: MICRO, Metric.ISSUED: 2 * MICRO}},
    )
    assert skipped == ()
    assert [value.key for value in values] == [
        ("SOH_AMOX", "202602", "OU_KAMO", None, None),
        ("AMOX_ISSUED", "202602", "OU_KAMO", None, None),
    ]


def test_empty_field() -> None:
    of = per_item_settings()
    half = item("Amoxicillin", user_field_1="AMOX")
    groups, skipped = group_items([half, item("Bandage")], of.active_rows, of)
    values = mapped(
        of,
        history(OrgUnit("OU_KAMO", (KAMO,)), groups[0]),
        {Basis.CURRENT_DAY: {Metric.STOCK_ON_HAND: MICRO, Metric.ISSUED: 2 * MICRO}},
    )
    assert [value.data_element for value in values] == ["SOH_AMOX"]
    assert [(each.name, each.reason) for each in skipped] == [
        (
            "Amoxicillin",
            "No value in issued_id (issued). Fill it in in mSupply to send the metrics in brackets.",
        )
    ]
    assert len(groups) == 1


def test_field_without_uid() -> None:
    of = per_item_settings("data_element_id_scheme: uid")
    wrong = item("Amoxicillin", user_field_1="AMOX", issued_id="a1234567890")
    groups, skipped = group_items([wrong], of.active_rows, of)
    values = mapped(
        of,
        history(OrgUnit("OU_KAMO", (KAMO,)), groups[0]),
        {Basis.CURRENT_DAY: {Metric.STOCK_ON_HAND: MICRO, Metric.ISSUED: MICRO}},
    )
    assert [value.data_element for value in values] == ["a1234567890"]
    assert "'AMOX' in user_field_1 is not a DHIS2 UID" in skipped[0].reason


def test_single_data_element() -> None:
    rows = "[{metric: stocked_out, active: true, interval: daily, basis: current_day, prefix: OUT_}]"
    of = settings(
        "single_data_element", rows, "item_field_reference: universal_code\ndata_element_id_scheme: code"
    )
    group = ItemGroup("368c74bf", (item("Amoxicillin"),))
    values = mapped(
        of, history(OrgUnit("OU_KAMO", (KAMO,)), group), {Basis.CURRENT_DAY: {Metric.STOCKED_OUT: MICRO}}
    )
    assert [(value.key, value.value) for value in values] == [
        (("OUT_368c74bf", "202602", "OU_KAMO", None, None), "1")
    ]


def test_shared_data_element() -> None:
    of = per_item_settings()
    items = [item("Amoxicillin", user_field_1="AMOX"), item("Ampicillin", user_field_1="AMOX")]
    groups, _ = group_items(items, of.active_rows, of)
    values = [
        value
        for group in groups
        for value in mapped(
            of,
            history(OrgUnit("OU_KAMO", (KAMO,)), group),
            {Basis.CURRENT_DAY: {Metric.STOCK_ON_HAND: MICRO}},
        )
    ]
    kept, conflicts = without_collisions(values, groups, collisions(groups, of))
    assert kept == []
    (conflict,) = conflicts
    sentence = conflict.sentence(org_units=1)
    assert (
        "Amoxicillin (stock on hand) and Ampicillin (stock on hand) claim the same data element" in sentence
    )
    assert "'SOH_AMOX' (in 1 org unit): neither was sent" in sentence


def test_no_false_collision() -> None:
    group = ItemGroup("368c74bf", (item("Amoxicillin"),))
    values = mapped(
        combo_settings(),
        history(OrgUnit("OU_KAMO", (KAMO,)), group),
        {Basis.CURRENT_DAY: {Metric.STOCK_ON_HAND: MICRO}, Basis.PREVIOUS_MONTH: {Metric.ISSUED: MICRO}},
    )
    assert collisions([group], combo_settings()) == {}
    assert without_collisions(values, [group], {}) == (values, [])


def test_two_metrics_one_data_element() -> None:
    of = per_item_settings()
    items = [item("Amoxicillin", user_field_1="X", issued_id="SOH_X")]
    groups, _ = group_items(items, of.active_rows, of)
    ((_, claims),) = collisions(groups, of).items()
    assert sorted(claim.name for claim in claims) == ["Amoxicillin (issued)", "Amoxicillin (stock on hand)"]


def test_never_in_one_org_unit() -> None:
    of = per_item_settings()
    items = [item("Amoxicillin", user_field_1="AMOX"), item("Ampicillin", user_field_1="AMOX")]
    groups, _ = group_items(items, of.active_rows, of)
    values = mapped(
        of,
        history(OrgUnit("OU_KAMO", (KAMO,)), groups[0]),
        {Basis.CURRENT_DAY: {Metric.STOCK_ON_HAND: MICRO}},
    )
    assert without_collisions(values, groups[:1], collisions(groups, of)) == (values, [])


def test_missing_field() -> None:
    rows = """
  - {metric: stock_on_hand, active: true, custom_field_name: user_field_1, interval: daily, basis: current_day, prefix: SOH_}
  - {metric: issued, active: true, custom_field_name: user_field_1, interval: daily, basis: current_day, prefix: ISS_}
  - {metric: received, active: true, custom_field_name: user_field_2, interval: daily, basis: current_day}
"""
    of = settings("data_element_per_item", rows, "data_element_id_scheme: code")
    _, skipped = group_items([item("Amoxicillin", user_field_2="X")], of.active_rows, of)
    assert "user_field_1 (stock on hand, issued)" in skipped[0].reason
