"""Whether the data elements take what is sent to them, keep its zeros, and add it up as it is meant."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from msupply_dhis2.dhis2.error_catalogue import TRUE_ONLY, ZERO_NOT_KEPT
from msupply_dhis2.dhis2.models import DataElement
from msupply_dhis2.dhis2.value_rules import NUMERIC_TYPES, drops_zeros_of, shape
from msupply_dhis2.domain.metric import FLOWS, Metric
from msupply_dhis2.domain.outcome import Reason
from msupply_dhis2.preflight.check import Check, failed, judged, noted, passed
from msupply_dhis2.preflight.facts import Facts, Use, called, cure_of, some
from msupply_dhis2.text import count, joined

_LEVELS = frozenset(Metric) - FLOWS - {Metric.STOCKED_OUT}
"""What is there at an instant (docs/metrics.md): two months of it are not twice as much."""

_SUMMED = frozenset({"SUM", "COUNT"})
"""The aggregation types that add up over time."""

_FRACTIONAL = frozenset({Metric.MONTHS_OF_STOCK, Metric.AVERAGE_MONTHLY_CONSUMPTION})
"""Quotients: nearly always fractions. Quantities are only where packs are opened."""

_VALUE_TYPE = "E7619"
"""DHIS2's code for a value that does not fit its value type."""

_YES_OR_NO = frozenset({"BOOLEAN", "TRUE_ONLY"})

_SAMPLES = {
    Metric.STOCKED_OUT: ("1", "0"),
    Metric.DAYS_OUT_OF_STOCK: ("31", "0"),
    Metric.ADJUSTMENTS: ("1200", "0", "-20"),
    **dict.fromkeys(_FRACTIONAL, ("120", "0", "1.5")),
}
"""Values as the metrics have them every day, where these are not just quantities."""


def check_value_types(facts: Facts, uses: Sequence[Use]) -> Check | None:
    """Whether the value types of the data elements can hold the metrics that are sent to them."""
    if not uses:
        return None
    round_off = facts.settings.round_off
    causes, cures, details = Counter[str](), dict[str, None](), list[str]()
    remarks: defaultdict[str, list[str]] = defaultdict(list)
    faulty = 0
    for use in uses:
        faults = _unfit(use, round_off=round_off)
        faulty += bool(faults)
        for (cause, code), sentence in faults.items():
            causes[cause] += 1
            cures[cure_of(code)] = None
            details.append(f"{called(use.data_element)}: {sentence}")
        for remark in _remarks(use, round_off=round_off):
            remarks[remark].append(called(use.data_element))
    number = count(len(uses), "data element")
    if faulty:
        why = joined(f"{of_it:,} {cause}" for cause, of_it in causes.most_common())
        message = f"{faulty:,} of {number} cannot hold what is sent there; such values are refused ({why})."
        return failed(" ".join((message, *cures)), [*details, *_sentences(remarks)])
    message = f"{number} can hold what is sent to {'it' if len(uses) == 1 else 'them'}."
    return noted(message, _sentences(remarks)) if remarks else passed(message)


def _unfit(use: Use, *, round_off: bool) -> dict[tuple[str, str], str]:
    """Return why a data element cannot hold what is sent to it, with DHIS2's code for that, and a sentence about each."""
    refused: dict[tuple[str, str], tuple[str, list[Metric]]] = {}
    for row in use.rows:
        for value in _SAMPLES.get(row.metric, ("1200", "0")):
            is_rounded = round_off and "." in value
            if not is_rounded and (cause := _refused(use.data_element, row.metric, value)):
                refused.setdefault(cause, (value, []))[1].append(row.metric)
    return {
        cause: f"{_labels(metrics)} can be {value}, and it is {cause[0]}."
        for cause, (value, metrics) in refused.items()
    }


def _refused(element: DataElement, metric: Metric, value: str) -> tuple[str, str] | None:
    """Return why a data element cannot hold a value, and the code of that; ``None`` where it can."""
    value_type, refusal = element.value_type, shape(value, element.value_type)
    if element.has_option_set:
        return "limited to an option set, which takes only its own codes", "E7621"
    of_type = f"of the type {value_type}, which"
    if value_type in {"TEXT", "LONG_TEXT"}:
        return f"{of_type} is stored but never added up", _VALUE_TYPE
    if value_type not in NUMERIC_TYPES | _YES_OR_NO:
        return f"{of_type} holds no numbers", _VALUE_TYPE
    # A 0 of the type "Yes only" is told by sending nothing.
    if not isinstance(refusal, Reason) or (refusal.code == TRUE_ONLY and metric is Metric.STOCKED_OUT):
        return None
    if value_type in _YES_OR_NO:
        return f"{of_type} holds 'stocked out' only", _VALUE_TYPE
    return f"{of_type} takes no {value}", refusal.code


def _remarks(use: Use, *, round_off: bool) -> Iterator[str]:
    element = use.data_element
    metrics = {row.metric for row in use.rows}
    if element.value_type == "TRUE_ONLY" and metrics == {Metric.STOCKED_OUT}:
        yield (
            "TRUE_ONLY: an item that is in stock again has no value, and a 'true' of the same period stays. With the "
            "value type Yes/No it would be corrected"
        )
    others = {*_FRACTIONAL, Metric.DAYS_OUT_OF_STOCK, Metric.STOCKED_OUT}
    quantities = [row.metric for row in use.rows if row.metric not in others]
    if element.value_type.startswith("INTEGER") and quantities and not round_off:
        yield (
            f"{element.value_type}: if mSupply counts parts of a unit, DHIS2 refuses such values of "
            f"{_labels(quantities)}; then tick Round off"
        )


def check_zeros(facts: Facts, uses: Sequence[Use]) -> Check | None:
    """Whether zeros are kept: up to 2.42 DHIS2 drops those of data elements without "Store zero data values"."""
    server = facts.server
    if not uses or server is None:
        return None
    if not server.drops_zeros:
        return passed("This version of DHIS2 keeps every zero.")
    number = count(len(uses), "data element")
    losing = [called(use.data_element) for use in uses if drops_zeros_of(server, use.data_element)]
    return judged(
        losing,
        f"Zeros are lost in {len(losing):,} of {number}: DHIS2 does not store a 0, such as no stock on hand, and deletes "
        f"the value before it. {cure_of(ZERO_NOT_KEPT)}",
        f"The zeros of {number} are kept.",
    )


def check_aggregation(uses: Sequence[Use]) -> Check | None:
    """Whether stock levels are not added up over time, as SUM, DHIS2's default, does."""
    if not uses:
        return None
    details = []
    remarks: defaultdict[str, list[str]] = defaultdict(list)
    wrong: set[Metric] = set()
    for use in uses:
        name, aggregation = called(use.data_element), use.data_element.aggregation_type
        if use.data_element.value_type not in NUMERIC_TYPES:
            continue
        levels = [row.metric for row in use.rows if row.metric in _LEVELS]
        flows = [row.metric for row in use.rows if row.metric in FLOWS]
        if levels and aggregation in _SUMMED:
            wrong.update(levels)
            details.append(f"{name}: {aggregation}, but {_labels(levels)} should be {_right_type(levels)}.")
        elif flows and aggregation not in _SUMMED:
            remark = f"With the aggregation type {aggregation}, a quarter shows {_labels(flows)} of one month, not the sum"
            remarks[remark].append(name)
    if not wrong:
        return passed(" ".join(("No stock level is added up over time.", *_sentences(remarks))))
    return failed(
        f"Stock levels are added up over time in {len(details):,} of {count(len(uses), 'data element')}: three months "
        f"with 100 in stock would be shown as 300 for the quarter ({_labels(sorted(wrong, key=list(Metric).index))}). "
        f"Set their aggregation type to {_right_type(wrong)} in DHIS2, Maintenance, Data element.",
        [*details, *_sentences(remarks)],
    )


def _sentences(remarks: Mapping[str, list[str]]) -> list[str]:
    """Return what need not be fixed, but be known, of all data elements in one sentence."""
    return [f"{remark} ({some(elements)})." for remark, elements in remarks.items()]


def _right_type(levels: Collection[Metric]) -> str:
    # Months of several clinics can be added up no more than those of several months.
    if set(levels) == {Metric.MONTHS_OF_STOCK}:
        return "'Last value (average in org unit hierarchy)'"
    is_opening = set(levels) == {Metric.OPENING_STOCK}
    first = "'First value (sum in org unit hierarchy)' or " if is_opening else ""
    return f"{first}'Last value (sum in org unit hierarchy)'"


def _labels(metrics: Sequence[Metric]) -> str:
    return joined(metric.label for metric in dict.fromkeys(metrics))
