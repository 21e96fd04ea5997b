"""Metadata as a country that sends stock metrics to DHIS2 has them, for each of the three setups."""

from collections.abc import Sequence

from sandbox.dhis2.metadata import (
    DEFAULT_CATEGORY_COMBO,
    DEFAULT_CATEGORY_COMBO_ID,
    CategoryCombo,
    CategoryOption,
    CategoryOptionCombo,
    DataElement,
    DataSet,
    Metadata,
    OrgUnit,
    uid,
)

PREFIXES = {
    "stock_on_hand": "SOH",
    "months_of_stock": "MOS",
    "adjustments": "ADJ",
    "received": "RECEIVED",
    "issued": "ISSUED",
    "expiring": "EXPIRING",
    "expired": "EXPIRED",
    "average_monthly_consumption": "AMC",
    "days_out_of_stock": "DOS",
    "opening_stock": "OPENING",
    "closing_stock": "CLOSING",
    "stocked_out": "OUT",
}
"""The prefix of each metric's data elements in the data set ``MSUPPLY_STOCK``: ``SOH_368c74bf``."""

ROOT_CODE = "COUNTRY"
"""The code of the org unit above all others."""

DISTRICTS = {"DISTRICT_NORTH": "Northern District", "DISTRICT_SOUTH": "Southern District"}
"""Code and name of the org units between the country and its facilities."""


def empty_metadata(org_units: Sequence[tuple[str, str]]) -> Metadata:
    """Set nothing up but org units: the country, its districts, and below them in turn those with these codes and names."""
    root = OrgUnit(
        id=uid("organisationUnit", ROOT_CODE),
        code=ROOT_CODE,
        name="Country",
        path=f"/{uid('organisationUnit', ROOT_CODE)}",
    )
    districts = [_below(root, code, name) for code, name in DISTRICTS.items()]
    facilities = [
        _below(districts[number % len(districts)], code, name)
        for number, (code, name) in enumerate(org_units)
    ]
    return Metadata(org_units=(root, *districts, *facilities))


def _below(parent: OrgUnit, code: str, name: str) -> OrgUnit:
    identifier = uid("organisationUnit", code)
    return OrgUnit(id=identifier, code=code, name=name, path=f"{parent.path}/{identifier}")


def stock_metadata(
    org_units: Sequence[tuple[str, str]],
    references: Sequence[tuple[str, str]],
    metrics: Sequence[str],
    *,
    period_type: str = "Monthly",
    open_future_periods: int = 1,
    zero_is_significant: bool = True,
    stocked_out: str = "BOOLEAN",
) -> Metadata:
    """Set up org units, and for each setup of the DHIS2 tab a data set that suits it.

    UIDs are made from the codes (``metadata.uid``), so they are the same each time.

    Parameters
    ----------
    org_units
        Code and name of each org unit; all are below one country and in every data set.
    references
        Item reference and name of each item.
    metrics
        The codes of the metrics, such as ``stock_on_hand``; option combos have them in capitals.
    period_type, open_future_periods
        Of every data set.
    zero_is_significant
        Of every data element; false makes zeros vanish up to 2.42.
    stocked_out
        The value type of "stocked out" where it has a data element of its own.

    Returns
    -------
    Metadata
        With these data sets, by code:

        ``STOCK_ATTRIBUTE``
            Category option combos of the data set: data elements ``{reference}``; the metrics are attribute
            option combos, by code ``STOCK_ON_HAND`` and so on.
        ``STOCK_CATEGORY``
            Category option combos of the data elements: ``STOCK_{reference}`` (prefix ``STOCK_``), with the
            same option combos.
        ``MSUPPLY_STOCK``
            Different data elements per item: ``SOH_{reference}`` and so on; stocked out is a boolean unless asked otherwise.
        ``STOCK_SINGLE``
            A single data element: ``{reference}``, the data elements of ``STOCK_ATTRIBUTE``, but in a data
            set without a category combo of its own.
    """
    root = uid("organisationUnit", ROOT_CODE)
    units = [OrgUnit(id=root, code=ROOT_CODE, name="Country", path=f"/{root}")]
    for code, name in org_units:
        identifier = uid("organisationUnit", code)
        units.append(OrgUnit(id=identifier, code=code, name=name, path=f"/{root}/{identifier}"))

    combo, options = _metric_combo(metrics)

    def element(
        code: str, name: str, metric: str | None = None, category_combo_id: str = DEFAULT_CATEGORY_COMBO_ID
    ) -> DataElement:
        return DataElement(
            id=uid("dataElement", code),
            code=code,
            name=name,
            value_type=stocked_out if metric == "stocked_out" else "NUMBER",
            zero_is_significant=zero_is_significant,
            category_combo_id=category_combo_id,
        )

    single = [element(reference, name) for reference, name in references]
    by_category = [
        element(f"STOCK_{reference}", f"{name}, by metric", category_combo_id=combo.id)
        for reference, name in references
    ]
    per_item = [
        element(f"{PREFIXES[metric]}_{reference}", f"{_label(metric)}, {name}", metric)
        for metric in metrics
        for reference, name in references
    ]

    def data_set(
        code: str, name: str, elements: list[DataElement], category_combo_id: str = DEFAULT_CATEGORY_COMBO_ID
    ) -> DataSet:
        return DataSet(
            id=uid("dataSet", code),
            code=code,
            name=name,
            period_type=period_type,
            open_future_periods=open_future_periods,
            category_combo_id=category_combo_id,
            data_element_ids=tuple(element.id for element in elements),
            org_unit_ids=tuple(unit.id for unit in units[1:]),
        )

    return Metadata(
        org_units=tuple(units),
        category_options=options,
        category_combos=(DEFAULT_CATEGORY_COMBO, combo),
        data_elements=(*single, *by_category, *per_item),
        data_sets=(
            data_set("STOCK_CATEGORY", "Stock by metric (category)", by_category),
            data_set("STOCK_ATTRIBUTE", "Stock by metric (attribute)", single, combo.id),
            data_set("MSUPPLY_STOCK", "Stock, a data element each", per_item),
            data_set("STOCK_SINGLE", "Stock, one metric", single),
        ),
    )


def _label(metric: str) -> str:
    return metric.replace("_", " ").capitalize()


def _metric_combo(metrics: Sequence[str]) -> tuple[CategoryCombo, tuple[CategoryOption, ...]]:
    """Make a category combo with one option combo for each metric, and its category options."""
    options, option_combos = [], []
    for metric in metrics:
        code = metric.upper()
        option = CategoryOption(id=uid("categoryOption", code), code=f"OPTION_{code}", name=_label(metric))
        options.append(option)
        option_combos.append(
            CategoryOptionCombo(
                id=uid("categoryOptionCombo", code),
                code=code,
                name=_label(metric),
                category_option_ids=(option.id,),
            )
        )
    combo = CategoryCombo(
        id=uid("categoryCombo", "STOCK_METRIC"),
        code="STOCK_METRIC",
        name="Stock metric",
        option_combos=tuple(option_combos),
    )
    return combo, tuple(options)
