"""The rows of a batch that are not in DHIS2, from what became of its values."""

from collections.abc import Iterator, Sequence

from msupply_dhis2.dhis2.error_catalogue import explain
from msupply_dhis2.domain.data_value import DataValue
from msupply_dhis2.domain.rejected_row import RejectedRow, Why
from msupply_dhis2.push.outcome import Fates, Missing

_UNCLEAR = Why(
    code="unaccounted",
    reason="Of this call DHIS2 did not account for all values, and which are missing could not be read from it.",
    what_to_do="Look at the value in DHIS2. Let the user view the data of the data set, and tick 'Store zero data "
    "values' of the data element.",
)


def rows_of(values: Sequence[DataValue], fates: Fates) -> Iterator[RejectedRow]:
    """Yield the values that got their fate just now and are not in DHIS2, in the order of the batch.

    Parameters
    ----------
    values
        All values of the batch.
    """
    unclear = {place for suspects in fates.suspects for place in suspects.places}
    refused = Missing.NOT_DELETED if fates.deletes else Missing.REJECTED
    for place in sorted({*fates.rejected, *fates.missing, *unclear}):
        if place in fates.rejected:
            fate, reasons = refused, fates.rejected[place]
        elif place in fates.missing:
            fate, reasons = Missing.UNACCOUNTED, (fates.missing[place],)
        else:
            yield _row(values[place], Missing.PERHAPS_UNACCOUNTED, (_UNCLEAR,))
            continue
        why = (
            Why(
                code=reason.code,
                reason=reason.text,
                what_to_do=explain(reason.code, reason.text).cure,
            )
            for reason in reasons
        )
        yield _row(values[place], fate, tuple(why))


def _row(value: DataValue, fate: Missing, why: tuple[Why, ...]) -> RejectedRow:
    return RejectedRow(
        fate=fate.value,
        store=value.store,
        item=value.item,
        metric=value.metric.label,
        data_element=value.data_element,
        org_unit=value.org_unit,
        period=value.period,
        category_option_combo=value.category_option_combo,
        attribute_option_combo=value.attribute_option_combo,
        value=value.value,
        why=why,
    )
