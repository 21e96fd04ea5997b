"""Connection test and push never disagree: each meets the same situation, and the stand-in of each version is there.

What the connection test calls well is stored to the last value; where push, or the server, refuses a value, it has said so.
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from msupply_dhis2.domain.batch import encode
from msupply_dhis2.domain.data_value import Column, DataValue, Origin
from msupply_dhis2.domain.mapped import MappedNames, MappedStore
from msupply_dhis2.domain.stock import ItemGroup
from msupply_dhis2.mapping import identifier_of
from msupply_dhis2.periods import Calendar, window
from msupply_dhis2.push.job import Dhis2Session, push
from msupply_dhis2.settings import Settings, parse_settings
from sandbox.dhis2 import Metadata, User, uid
from sandbox.dhis2.metadata import DataInputPeriod, LockException
from tests.support.direct import DirectClient
from tests.support.preflight import (
    ELEMENTS,
    NOW,
    PUSHER,
    SINGLE,
    STORES,
    WITH_CATEGORIES,
    WITH_COMBOS,
    Change,
    approved,
    items,
    mapped,
    report_by,
    requiring_combos,
    row,
    row_with_combo,
    settings_text,
    with_data_elements,
    with_data_set,
    with_option,
    with_org_unit,
    world,
)

SHOWN_OTHERWISE = {"aggregation"}
"""What the connection test looks at for the sake of what DHIS2 shows of stored values."""

EDITOR = PUSHER.model_copy(update={"authorities": ("F_DATAVALUE_ADD", "F_EDIT_EXPIRED")})
SUPERUSER = PUSHER.model_copy(update={"authorities": ("ALL",)})
NARROW = PUSHER.model_copy(update={"org_unit_ids": (uid("organisationUnit", "KAMO"),)})
NOBODY = PUSHER.model_copy(update={"authorities": ()})


@dataclass(frozen=True)
class Situation:
    """What differs from a DHIS2, settings and an mSupply that suit each other."""

    name: str
    change: Change = lambda metadata: metadata
    settings: dict[str, Any] = field(default_factory=dict)
    user: User = PUSHER
    names: MappedNames | None = None
    numbers: tuple[str, ...] = ("12", "0")


def input_periods(*periods: DataInputPeriod, **changes: object) -> Change:
    return with_data_set(SINGLE, data_input_periods=[each.model_dump() for each in periods], **changes)


def locked(*org_units: str) -> Change:
    """Let the expiry days be over, but for these org units."""

    def change(metadata: Metadata) -> Metadata:
        exceptions = tuple(
            LockException(
                data_set_id=uid("dataSet", SINGLE), org_unit_id=uid("organisationUnit", code), period="202601"
            )
            for code in org_units
        )
        return with_data_set(SINGLE, expiry_days=2)(metadata).model_copy(
            update={"lock_exceptions": exceptions}
        )

    return change


CURRENT_DAY = {"data_elements": [row("stock_on_hand", basis="current_day")]}


ALL_ORG_UNITS = [uid("organisationUnit", store.org_unit) for store in STORES]
OPTION_CHANGES: dict[str, dict[str, object]] = {
    "that may not be written": {"writers": ("somebody",)},
    "that ended before": {"end_date": date(2025, 12, 31)},
    "that ends within the period": {"end_date": date(2026, 1, 15)},
    "that begins within the period": {"start_date": date(2026, 1, 15)},
    "that begins with the period": {"start_date": date(2026, 1, 1)},
    "of one org unit": {"org_unit_ids": (ALL_ORG_UNITS[0],)},
    "of all org units": {"org_unit_ids": tuple(ALL_ORG_UNITS)},
}
SITUATIONS = [
    Situation("all is well"),
    Situation("attribute option combos", settings=WITH_COMBOS),
    Situation("category option combos", settings=WITH_CATEGORIES),
    # Periods
    Situation("a calendar of another kind", lambda given: given.model_copy(update={"calendar": "nepali"})),
    Situation("a data set of another period type", with_data_set(SINGLE, period_type="Weekly")),
    Situation("another period type, in the format as well", with_data_set(SINGLE, period_type="QuarterlyNov"), {"period_format": "QuarterlyNov"}),
    Situation("a quarter that is over", with_data_set(SINGLE, period_type="Quarterly", open_future_periods=1), {"period_format": "Quarterly"}),
    Situation("the current day without open future periods", with_data_set(SINGLE, open_future_periods=0), CURRENT_DAY),
    Situation("the current day with one", with_data_set(SINGLE, open_future_periods=1), CURRENT_DAY),
    Situation("the current day for a superuser", with_data_set(SINGLE, open_future_periods=0), CURRENT_DAY, SUPERUSER),
    Situation("expiry days that are over", with_data_set(SINGLE, expiry_days=2)),
    Situation("expiry days that are over for all but an editor", with_data_set(SINGLE, expiry_days=2), user=EDITOR),
    Situation("expiry days that are not over", with_data_set(SINGLE, expiry_days=10)),
    Situation("lock exceptions for all", locked("KAMO", "OPUA", "PAIHIA")),
    Situation("lock exceptions for some", locked("KAMO")),
    Situation("other data input periods", input_periods(DataInputPeriod(period="202512"))),
    Situation("other data input periods, for a superuser", input_periods(DataInputPeriod(period="202512")), user=SUPERUSER),
    Situation("an open data input period", input_periods(DataInputPeriod(period="202601"))),
    Situation("a data input period that is over", input_periods(DataInputPeriod(period="202601", closing_date=date(2026, 2, 1)))),
    Situation("a data input period that is over, and expiry days", input_periods(DataInputPeriod(period="202601", closing_date=date(2026, 2, 1)), expiry_days=2)),
    # Org units
    *(
        Situation(f"an org unit with {name}", with_org_unit("OPUA", **dates))
        for name, dates in {
            "a closed date long ago": {"closed_date": date(2020, 1, 1)},
            "a closed date within the period": {"closed_date": date(2026, 1, 15)},
            "a closed date after the period": {"closed_date": date(2026, 2, 3)},
            "an opening date within the period": {"opening_date": date(2026, 1, 15)},
            "an opening date after the period": {"opening_date": date(2026, 2, 3)},
        }.items()
    ),
    Situation("an org unit that is unknown", names=mapped(stores=(*STORES, MappedStore("Far", "FAR", "FAR")))),
    Situation("an org unit without the data set", with_data_set(SINGLE, org_unit_ids=ALL_ORG_UNITS[:2])),
    Situation("no org unit with the data set", with_data_set(SINGLE, org_unit_ids=[])),
    Situation("org units out of reach", user=NARROW),
    Situation("org units by their uids", names=mapped(stores=tuple(store._replace(org_unit=uid("organisationUnit", store.org_unit)) for store in STORES))),
    # Data elements
    Situation("a data element that is unknown", names=mapped(items=items(("nothing",), ("7a8e5b10",)))),
    Situation("a data element that the data set lacks", with_data_set(SINGLE, data_element_ids=[uid("dataElement", ELEMENTS[0])])),
    Situation("a data set without data elements", with_data_set(SINGLE, data_element_ids=[])),
    Situation("zeros that are not significant", with_data_elements(*ELEMENTS, zero_is_significant=False)),
    Situation("whole numbers for fractions", with_data_elements(*ELEMENTS, value_type="INTEGER"), {"data_elements": [row("months_of_stock")]}, numbers=("1.5",)),
    Situation("only positive numbers", with_data_elements(*ELEMENTS, value_type="INTEGER_POSITIVE")),
    Situation("yes only", with_data_elements(*ELEMENTS, value_type="TRUE_ONLY"), {"data_elements": [row("stocked_out")]}, numbers=("1",)),
    # Option combos
    Situation("none, where the data set has some", settings={**WITH_COMBOS, "setup": "single_data_element", "data_elements": [row("stock_on_hand")]}, names=mapped(1)),
    Situation("none, where the data elements have some", settings={**WITH_CATEGORIES, "names": None, "setup": "single_data_element", "data_elements": [row("stock_on_hand", prefix="STOCK_")]}, names=mapped(1, "STOCK_")),
    Situation("an unknown one", settings={**WITH_COMBOS, "data_elements": [row_with_combo("stock_on_hand", category_option_id="NOPE")]}, names=mapped(1)),
    Situation("a category option's identifier", settings={**WITH_COMBOS, "data_elements": [row_with_combo("stock_on_hand", category_option_id="OPTION_STOCK_ON_HAND")]}, names=mapped(1)),
    Situation("the wrong field", settings={**WITH_COMBOS, "option_combo_field": "category"}),
    Situation("the other wrong field", settings={**WITH_CATEGORIES, "option_combo_field": "attribute"}),
    Situation("option combos that the server insists on", requiring_combos),
    Situation("option combos that the server insists on, where some are named", requiring_combos, WITH_CATEGORIES),
    # Category options
    *(
        Situation(f"a category option {name}, {place}", with_option("STOCK_ON_HAND", **changes), settings)
        for place, settings in (("of the data set", WITH_COMBOS), ("of data elements", WITH_CATEGORIES))
        for name, changes in OPTION_CHANGES.items()
    ),
    Situation("a category option that may not be written, for a superuser", with_option("STOCK_ON_HAND", writers=("somebody",)), WITH_COMBOS, SUPERUSER),
    # Approval
    Situation("approved data", approved("KAMO", "202601")),
    Situation("approved data of another period", approved("KAMO", "202512")),
    # The user
    Situation("a user without the authority", user=NOBODY),
    Situation("a data set that may not be written", with_data_set(SINGLE, writers=[])),
    Situation("a data set that may not be written, for a superuser", with_data_set(SINGLE, writers=[]), user=SUPERUSER),
]  # fmt: skip


def names_of(situation: Situation) -> MappedNames:
    given = situation.names or situation.settings.get("names")
    rows = situation.settings.get("data_elements", [row("stock_on_hand")])
    return given or mapped(len(rows))


def values_of(settings: Settings, names: MappedNames, numbers: tuple[str, ...]) -> list[DataValue]:
    """Return what compute would send: a value for each store, item and active row."""
    calendar = Calendar(ZoneInfo("Pacific/Auckland"))
    values = []
    for place, (store, item) in enumerate((store, item) for store in names.stores for item in names.items):
        for active, identifier in zip(settings.active_rows, item.data_elements, strict=True):
            # The prefix is in the mapped identifier already.
            group = ItemGroup(identifier, ())
            sent = identifier_of(settings, active.model_copy(update={"prefix": ""}), group)
            assert sent is not None
            data_element, category, attribute = sent
            values.append(
                DataValue(
                    Column(
                        (data_element, category, attribute),
                        window(active.basis, NOW, calendar, settings.period).period,
                        active.category_option_combo_id_scheme,
                        active.metric,
                        item.name,
                    ),
                    Origin(store.org_unit, store.name),
                    numbers[place % len(numbers)],
                )
            )
    return values


@pytest.mark.parametrize("version", ["2.40", "2.42", "2.43"])
@pytest.mark.parametrize("situation", SITUATIONS, ids=[situation.name for situation in SITUATIONS])
def test_agrees_with_push(situation: Situation, version: str) -> None:
    metadata, names = situation.change(world()), names_of(situation)
    changes = {name: value for name, value in situation.settings.items() if name != "names"}
    client = DirectClient(metadata, version, NOW.date(), situation.user)
    report = report_by(lambda *_: client, user=situation.user, names=names, **changes)
    wrong = {check.name for check in report.checks if not check.ok} - SHOWN_OTHERWISE

    settings = parse_settings(settings_text("https://dhis2.example.org", **changes))
    values = values_of(settings, names, situation.numbers)
    batch = encode(values, run_id="run-1", as_of=NOW, destination=settings.destination)
    result = push(batch, Dhis2Session(client, pause=lambda _: None), settings=settings)

    assert result.failure is None
    stored = result.applied
    assert (stored == set(range(len(values)))) is (not wrong), (report.summary, result.lines)
