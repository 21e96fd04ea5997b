"""A small country on the stand-in that has something of everything that can keep a value from being stored."""

from dataclasses import dataclass
from datetime import date

from pydantic import SecretStr

from sandbox.dhis2 import Metadata, StandIn, User, ValueKey, uid
from sandbox.dhis2.metadata import (
    DEFAULT_CATEGORY_COMBO,
    DEFAULT_CATEGORY_COMBO_ID,
    CategoryCombo,
    CategoryOption,
    CategoryOptionCombo,
    DataElement,
    DataInputPeriod,
    DataSet,
    LockException,
    OptionSet,
    OrgUnit,
)
from sandbox.dhis2.periods import parse_period

TODAY = date(2026, 6, 15)
DATA_SET = "STOCK"
"""The code of the data set that values are sent to; ``OTHER`` shares its data element ``SHARED``, ``ELSEWHERE`` none."""

METRIC = uid("categoryCombo", "METRIC")
REPORT = uid("categoryCombo", "REPORT")
ONLY = uid("categoryCombo", "ONLY")

USER = User(
    username="pusher",
    password=SecretStr("secret"),
    authorities=("F_DATAVALUE_ADD",),
    org_unit_ids=(uid("organisationUnit", "DISTRICT"),),
)


@dataclass(frozen=True)
class Rules:
    """What the data set says about periods and combos."""

    period_type: str = "Monthly"
    open_future_periods: int = 1
    expiry_days: int = 0
    input_periods: tuple[DataInputPeriod, ...] = ()
    category_combo: str = DEFAULT_CATEGORY_COMBO_ID
    lock_exceptions: tuple[tuple[str, str], ...] = ()
    """Org unit by code, and period."""


def clinic_world(rules: Rules) -> Metadata:
    """Set up the country."""
    elements = (
        _element("NUMBER"),
        _element("NUMBER_0", zero_is_significant=False),
        _element("AVERAGE_0", zero_is_significant=False, aggregation_type="AVERAGE"),
        _element("INTEGER_0", value_type="INTEGER_ZERO_OR_POSITIVE", zero_is_significant=False),
        _element("INTEGER", value_type="INTEGER"),
        _element("PERCENTAGE", value_type="PERCENTAGE"),
        _element("BOOLEAN_0", value_type="BOOLEAN", zero_is_significant=False),
        _element("TRUE_ONLY", value_type="TRUE_ONLY"),
        _element("TEXT", value_type="TEXT"),
        _element("OPTIONS", value_type="TEXT", option_set_id=uid("optionSet", "YES")),
        _element("BY_METRIC", category_combo_id=METRIC),
        _element("OVERRIDDEN"),
        _element("ONE_OPTION", category_combo_id=ONLY),
        _element("SHARED"),
    )
    outside = _element("OUTSIDE")
    country = uid("organisationUnit", "COUNTRY")
    district = f"/{country}/{uid('organisationUnit', 'DISTRICT')}"
    assigned = (
        _org_unit("NEAR", district),
        _org_unit("FAR", f"/{country}"),
        _org_unit("CLOSED", district, closed_date=date(2020, 1, 31)),
        _org_unit("NEW", district, opening_date=date(2026, 5, 1)),
    )
    others = (
        OrgUnit(id=country, code="COUNTRY", name="Country", path=f"/{country}"),
        _org_unit("DISTRICT", f"/{country}"),
        _org_unit("UNASSIGNED", district),
        _org_unit("UNASSIGNED_FAR", f"/{country}"),
    )
    data_set = uid("dataSet", DATA_SET)
    return Metadata(
        org_units=(*assigned, *others),
        category_options=tuple(
            CategoryOption(id=uid("categoryOption", code), code=f"OPTION_{code}", name=code.title())
            for code in ("SOH", "AMC", "DRAFT", "FINAL", "ALONE")
        ),
        category_combos=(
            DEFAULT_CATEGORY_COMBO,
            _combo(METRIC, "SOH", "AMC"),
            _combo(REPORT, "DRAFT", "FINAL"),
            _combo(ONLY, "ALONE"),
        ),
        data_elements=(*elements, outside),
        data_sets=(
            DataSet(
                id=data_set,
                code=DATA_SET,
                name="Stock",
                period_type=rules.period_type,
                open_future_periods=rules.open_future_periods,
                expiry_days=rules.expiry_days,
                data_input_periods=rules.input_periods,
                category_combo_id=rules.category_combo,
                category_combo_overrides={uid("dataElement", "OVERRIDDEN"): METRIC},
                data_element_ids=tuple(element.id for element in elements),
                org_unit_ids=tuple(org_unit.id for org_unit in assigned),
            ),
            DataSet(
                id=uid("dataSet", "OTHER"),
                code="OTHER",
                name="Other",
                period_type="Yearly",
                open_future_periods=5,
                data_element_ids=(uid("dataElement", "SHARED"),),
                org_unit_ids=(uid("organisationUnit", "UNASSIGNED"),),
            ),
            DataSet(
                id=uid("dataSet", "ELSEWHERE"),
                code="ELSEWHERE",
                name="Elsewhere",
                period_type=rules.period_type,
                data_element_ids=(outside.id,),
            ),
        ),
        option_sets=(OptionSet(id=uid("optionSet", "YES"), code="YES", name="Yes", options=("yes",)),),
        lock_exceptions=tuple(
            LockException(data_set_id=data_set, org_unit_id=uid("organisationUnit", code), period=period)
            for code, period in rules.lock_exceptions
        ),
    )


def is_seen(metadata: Metadata, key: ValueKey) -> bool:
    """Whether who opens the data set would see a stored value."""
    data_set = metadata.data_set.by_scheme("CODE", DATA_SET)
    element, org_unit = metadata.data_element.by_id(key.data_element), metadata.org_unit.by_id(key.org_unit)
    period = parse_period(key.period)
    assert data_set is not None
    assert element is not None
    assert org_unit is not None
    assert period is not None
    return (
        element.id in data_set.data_element_ids
        and org_unit.id in data_set.org_unit_ids
        and period.period_type == data_set.period_type
        and metadata.combo_within(data_set, element).has(key.category_option_combo)
        and metadata.combo_of(data_set).has(key.attribute_option_combo)
        and period.last >= org_unit.opening_date
        and (org_unit.closed_date is None or period.first <= org_unit.closed_date)
    )


def stored(dhis2: StandIn) -> dict[ValueKey, str]:
    """Return everything that stands in the stand-in."""
    return dict(dhis2.values)


def _element(
    code: str,
    *,
    value_type: str = "NUMBER",
    zero_is_significant: bool = True,
    aggregation_type: str = "LAST",
    category_combo_id: str = DEFAULT_CATEGORY_COMBO_ID,
    option_set_id: str | None = None,
) -> DataElement:
    return DataElement(
        id=uid("dataElement", code),
        code=code,
        name=code.title(),
        value_type=value_type,
        zero_is_significant=zero_is_significant,
        aggregation_type=aggregation_type,
        category_combo_id=category_combo_id,
        option_set_id=option_set_id,
    )


def _org_unit(
    code: str, above: str, *, opening_date: date = date(2000, 1, 1), closed_date: date | None = None
) -> OrgUnit:
    identifier = uid("organisationUnit", code)
    return OrgUnit(
        id=identifier,
        code=code,
        name=code.title(),
        path=f"{above}/{identifier}",
        opening_date=opening_date,
        closed_date=closed_date,
    )


def _combo(identifier: str, *codes: str) -> CategoryCombo:
    return CategoryCombo(
        id=identifier,
        code=None,
        name=identifier,
        option_combos=tuple(
            CategoryOptionCombo(
                id=uid("categoryOptionCombo", code),
                code=code,
                name=code.title(),
                category_option_ids=(uid("categoryOption", code),),
            )
            for code in codes
        ),
    )
