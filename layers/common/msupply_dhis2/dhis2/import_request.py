"""The request by which data values are posted: ``POST /api/dataValueSets``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.data_value import DataValueKey

_STRICT = ("Periods", "CategoryOptionCombos", "AttributeOptionCombos")
_STRICT_OF_DATA_SET = ("DataElements", "OrganisationUnits")
"""Up to 2.42 each of them nearly doubles what an import takes."""


class SentValue(NamedTuple):
    """A data value as it is sent: its key in the request's schemes, and the value as text.

    The value is empty for a zero that is told by having no value, which is not sent: of a data element that takes only
    ``true``. ``is_timely``: its period is known to be of the right type and open. ``vanishes``: a zero that the server drops.
    """

    key: DataValueKey
    value: str
    is_timely: bool = False
    vanishes: bool = False


@dataclass(frozen=True, slots=True)
class Schemes:
    """What the identifiers of a request are: UIDs or codes."""

    data_set: Scheme = Scheme.UID
    data_element: Scheme = Scheme.UID
    org_unit: Scheme = Scheme.UID
    option_combo: Scheme = Scheme.UID


UIDS = Schemes()


def request_body(data_set_id: str, rows: Sequence[SentValue], schemes: Schemes) -> dict[str, object]:
    """Return the body of the call: identifiers of period, org unit and option combos stand in the rows only."""
    body: dict[str, object] = {"dataSet": data_set_id, "dataValues": [*map(_data_value, rows)]}
    if any(row.key.attribute_option_combo for row in rows):
        # From 2.43 the scheme of attribute option combos is taken from here only; older servers ignore it.
        body["attributeOptionComboIdScheme"] = schemes.option_combo.value.upper()
    return body


def _data_value(row: SentValue) -> dict[str, str]:
    key = row.key
    value = {
        "dataElement": key.data_element,
        "period": key.period,
        "orgUnit": key.org_unit,
        "value": row.value,
        "categoryOptionCombo": key.category_option_combo,
        "attributeOptionCombo": key.attribute_option_combo,
    }
    return {name: text for name, text in value.items() if text is not None}


def request_parameters(
    schemes: Schemes, *, deletes: bool = False, are_in_data_set: bool = False
) -> dict[str, str]:
    """Return the query of the call: the schemes, what is strict, and whether the values are to be deleted.

    Without the strict flags DHIS2 2.42 and older store a value under a period type or in an org unit that the
    data set does not have, where nobody sees it. Where the data elements and org units ``are_in_data_set``, as its
    metadata have just told, DHIS2 need not look them up for each value. From 2.43 it is always strict.
    """
    strict = _STRICT if are_in_data_set else _STRICT + _STRICT_OF_DATA_SET
    return {
        "dataSetIdScheme": schemes.data_set.value.upper(),
        "dataElementIdScheme": schemes.data_element.value.upper(),
        "orgUnitIdScheme": schemes.org_unit.value.upper(),
        "categoryOptionComboIdScheme": schemes.option_combo.value.upper(),
        **{f"strict{what}": "true" for what in strict},
        **({"importStrategy": "DELETE"} if deletes else {}),
    }
