"""Whether each metric's option combo is there, which place it belongs to, and whether its category options take values."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from itertools import chain

from msupply_dhis2.dhis2.metadata import find, find_category_option
from msupply_dhis2.dhis2.models import CategoryOption, DataElement, DataSet, OptionCombo
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.periods import Period, PeriodFormat, add_days
from msupply_dhis2.preflight.check import Check, failed, noted, passed
from msupply_dhis2.preflight.facts import (
    Facts,
    Nearest,
    Use,
    called,
    cure_of,
    some,
    title_of,
    written,
)
from msupply_dhis2.settings import DataElementRow, OptionComboField, Scheme, Settings, Setup
from msupply_dhis2.text import count, joined

_ATTRIBUTE = "attribute option combo (of the data set)"
_CATEGORY = "category option combo (of the data elements)"
_NEITHER = "neither to the category combination of the data set nor to that of its data elements"
_DEFAULT = "default"
_SCHEME_TITLE = str(DataElementRow.model_fields["category_option_combo_id_scheme"].title)
_CAUSES = {"not shared": "E7614", "not valid then": "E7638", "not valid there": "E7639"}
"""Why category options keep values out, and what DHIS2 says then."""

type UsedCombos = Mapping[OptionCombo, bool]
"""Option combos that values are sent with, named or not, and whether each is an attribute option combo."""


def used_combos(settings: Settings, data_set: DataSet, uses: Sequence[Use]) -> UsedCombos:
    """Find the option combos that push sends values with, as far as they are known, by name."""
    category: set[OptionCombo] = set()
    attribute: set[OptionCombo] = set()
    is_named = settings.setup is Setup.CATEGORY_OPTION_COMBO
    for use in uses:
        of_element = use.data_element.option_combos
        for row in use.rows:
            as_attribute = as_category = None
            if is_named and settings.option_combo_field is not OptionComboField.CATEGORY:
                as_attribute = _combo_of(row, data_set.option_combos)
            if is_named and as_attribute is None:
                as_category = _combo_of(row, of_element)
            attribute |= {as_attribute} if as_attribute else _only(data_set.option_combos)
            category |= {as_category} if as_category else _only(of_element)
    by_name = sorted(category | attribute, key=lambda combo: (combo.name, combo.id))
    return {combo: combo in attribute for combo in by_name}


def _combo_of(row: DataElementRow, combos: Sequence[OptionCombo]) -> OptionCombo | None:
    identifier, scheme = str(row.category_option_id), row.category_option_combo_id_scheme
    return next((combo for combo in combos if combo.is_called(identifier, scheme)), None)


def _only(combos: Sequence[OptionCombo]) -> set[OptionCombo]:
    # Where there is only one, such as "default", it is the one that is meant.
    return set(combos) if len(combos) == 1 else set()


def check_combos(facts: Facts, data_set: DataSet, uses: Sequence[Use]) -> Check:
    """Whether the option combos of the active rows fit the data set, or its data elements as far as uses are known."""
    elements = [use.data_element for use in uses] or list(data_set.data_elements)
    if not data_set.option_combos or any(not element.option_combos for element in elements):
        return failed(
            "DHIS2 does not let the user see the option combos of the data set or of its data elements. Values are sent as the "
            'settings say. Let the user view the category combinations, with metadata access "can view".'
        )
    if facts.settings.setup is not Setup.CATEGORY_OPTION_COMBO:
        return _without_combos(data_set, elements)
    labels = facts.row_labels
    told: dict[str | None, list[str]] = {}
    for label, row in zip(labels, facts.settings.active_rows, strict=True):
        of_row = [use.data_element for use in uses if row in use.rows] or elements
        sentence, place = _judge(facts, data_set, row, of_row)
        told.setdefault(place, []).append(f"{label}: {sentence}")
    number = count(len(labels), "metric")
    if wrong := told.get(None):
        message = f"The option combos of {len(wrong)} of {number} do not fit; values for them are refused."
        return failed(message, wrong)
    said = joined(f"{len(rows):,} as {place}" for place, rows in told.items())
    return passed(f"The option combos of {number} fit. Sent: {said}.", [*chain.from_iterable(told.values())])


def _judge(
    facts: Facts, data_set: DataSet, row: DataElementRow, elements: Sequence[DataElement]
) -> tuple[str, str | None]:
    """Return what is to be said of a row, and the place its option combo is sent to: ``None`` where it does not fit."""
    field = facts.settings.option_combo_field
    of_elements = [(element, _combo_of(row, element.option_combos)) for element in elements]
    attribute = _combo_of(row, data_set.option_combos)
    category = next((combo for _, combo in of_elements if combo), None)
    if attribute is None and category is None:
        return _what_it_is_instead(facts, data_set, row, elements), None
    combos = {OptionComboField.ATTRIBUTE: attribute, OptionComboField.CATEGORY: category}
    combo = combos.get(field, attribute or category)
    is_category = field is OptionComboField.CATEGORY
    if combo is None:
        whose, right = ("data set's", "attribute") if is_category else ("data elements'", "category")
        fault = (
            f"{title_of('option_combo_field')} is '{field.value}', but {row.category_option_id} belongs to the {whose} "
            f"category combination. Set option_combo_field: auto, or {right}."
        )
        return fault, None
    if attribute is not None and not is_category:
        place, fault = _ATTRIBUTE, _unnamed(elements, "data element")
    else:
        place, fault = _CATEGORY, _unnamed([data_set], "data set")
        lacking = [called(element) for element, of_it in of_elements if of_it is None]
        if lacking and not fault:
            those = f"{count(len(lacking), 'data element')}: {some(lacking)}"
            cure = "Give them the same category combination in DHIS2."
            fault = f"{called(combo)} belongs to other data elements, but not to {those}. {cure}"
    return (fault, None) if fault else (f"{called(combo)} is sent as {place}.", place)


def _what_it_is_instead(
    facts: Facts, data_set: DataSet, row: DataElementRow, elements: Sequence[DataElement]
) -> str:
    """Return what an identifier is, if it is not an option combo of the data set or its data elements."""
    identifier, scheme = str(row.category_option_id), row.category_option_combo_id_scheme
    ours = {combo.id: combo for each in (*elements, data_set) for combo in each.option_combos}
    named = [combo for combo in ours.values() if _DEFAULT not in (combo.name, combo.code)]
    other = scheme.other.value
    if meant := next((combo for combo in named if combo.is_called(identifier, scheme.other)), None):
        return (
            f"'{identifier}' is the {other} of the option combo {meant.name}, but {_SCHEME_TITLE} is "
            f"'{scheme.value}'. Set category_option_combo_id_scheme: {other}."
        )
    try:
        of_option = find_category_option(facts.client, identifier, scheme)
        if of_option:
            return _category_option(identifier, scheme, of_option, ours.keys())
        known = find(OptionCombo, facts.client, [identifier], scheme)
    except Dhis2Error as error:
        return f"'{identifier}' belongs {_NEITHER}; whether it is anything else cannot be read: {error}"
    guess = Nearest(named).guess(identifier, row.metric.label, scheme)
    if known:
        return f"{called(known[0])} is an option combo, but belongs {_NEITHER}. Use one of theirs.{guess}"
    return (
        f"DHIS2 has no category option combo whose {scheme.value} is '{identifier}', or does not let the user see "
        f"it. Correct Category option ID.{guess}"
    )


def _category_option(
    identifier: str, scheme: Scheme, combos: Sequence[OptionCombo], ours: Collection[str]
) -> str:
    fitting = [combo for combo in combos if combo.id in ours]
    names = some([written(combo, scheme) for combo in fitting or combos])
    if not fitting:
        cure = f"Its option combos ({names}) belong {_NEITHER}: use one of theirs."
    elif len(fitting) > 1:
        cure = f"Write one of its option combos: {names}."
    else:
        by_uid = f"{fitting[0].id} and category_option_combo_id_scheme: uid"
        write = fitting[0].identifier(scheme) or by_uid
        cure = f"You probably mean {called(fitting[0])}: write category_option_id: {write}."
    return f"'{identifier}' is the {scheme.value} of a category option. The {scheme.value} of an option combo is needed. {cure}"


def _without_combos(data_set: DataSet, elements: Sequence[DataElement]) -> Check:
    """Judge the setups that name no option combo: "default" must do for data set and data elements."""
    faults = filter(None, (_unnamed([data_set], "data set"), _unnamed(elements, "data element")))
    if not (said := " ".join(faults)):
        return passed("None are needed, and none are sent.")
    return failed(
        f"No option combos are sent, but DHIS2 needs them. {said} Or choose the {title_of('setup')} "
        f"'{Setup.CATEGORY_OPTION_COMBO.label}'.",
        [called(element) for element in elements if not _only(element.option_combos)],
    )


def _unnamed(things: Sequence[DataSet | DataElement], kind: str) -> str:
    """Say which of some things have several option combos, none of which is named; nothing where none has."""
    names = [called(thing) for thing in things if not _only(thing.option_combos)]
    if not names:
        return ""
    has, have = "has a category combination of its own", "have category combinations of their own"
    return (
        f"{count(len(names), f'{kind} {has}', f'{kind}s {have}')}, whose option combos would have to be named too: "
        f"{some(names)}. Give each the category combination 'default'."
    )


def check_category_options(facts: Facts, data_set: DataSet, used: UsedCombos) -> Check:
    """Whether category options keep values out, as far as the user may see.

    Their dates and org units count for attribute option combos only, their sharing for all.
    """
    try:
        found = find(OptionCombo, facts.client, [combo.id for combo in used], Scheme.UID)
        options = {combo.id: combo.category_options for combo in found}
    except Dhis2Error as error:
        return noted(f"Whether the category options take the values cannot be read. {error}")
    faults = [
        (combo, option, *fault)
        for combo, as_attribute in used.items()
        for option in options.get(combo.id, ())
        for fault in _faults(facts, data_set, option, as_attribute=as_attribute)
    ]
    number = count(len(used), "option combo")
    if not faults:
        return passed(f"The category options of {number} take the values.")
    causes = dict.fromkeys(cause for _, _, cause, _ in faults)
    refused = f"{len({combo.id for combo, *_ in faults}):,} of {number}"
    return failed(
        f"DHIS2 refuses values of {refused}, because of their category options ({joined(causes)}). "
        f"{' '.join(cure_of(_CAUSES[cause]) for cause in causes)}",
        [
            f"Option combo {called(combo)}, category option {called(option)}: {fault}."
            for combo, option, _, fault in faults
        ],
    )


def _faults(
    facts: Facts, data_set: DataSet, option: CategoryOption, *, as_attribute: bool
) -> Iterator[tuple[str, str]]:
    """Yield each cause for which an option keeps values out, and what is wrong."""
    server, user = facts.server_or_newest, facts.user
    if as_attribute:
        open_after, whole = data_set.open_periods_after_end, server.imports_by_group
        outside = [
            label
            for label, period in facts.periods.items()
            if not _is_valid(option, period, open_after, whole=whole)
        ]
        if outside:
            start = f" from {option.start_date}" if option.start_date else ""
            end = f" until {option.end_date}" if option.end_date else ""
            yield "not valid then", f"it is valid only{start}{end}, and takes no values for {joined(outside)}"
        limits, units = set(option.org_units), facts.org_units
        elsewhere = [called(unit) for unit in units if limits and limits.isdisjoint(unit.path.split("/"))]
        if elsewhere:
            number = count(len(elsewhere), "org unit")
            yield "not valid there", f"it is limited to others than {number} of stores ({some(elsewhere)})"
    # 2.40 takes values of a category option that the user may not write.
    if option.may_write is False and server.version > (2, 40) and "ALL" not in user.authorities:
        yield "not shared", f"{user.username} may not enter data for it"


def _is_valid(option: CategoryOption, period: Period, open_after: int, *, whole: bool) -> bool:
    """Whether the option's dates have a day of the period, from 2.43 on all of its days (``whole``).

    Where the data set has open periods after the end date, it is enough that a period so much earlier has.
    """
    periods = PeriodFormat.parse(period.type_name)
    last, earlier = add_days(period.day_after, -1), period.first_day
    for _ in range(open_after):
        earlier = periods.first_day(add_days(earlier, -1))
    begins, ends = option.start_date or date.min, option.end_date or date.max
    if not whole:
        return begins <= last and earlier <= ends
    spans = ((period.first_day, last), (earlier, add_days(periods.day_after(earlier), -1)))
    return any(begins <= first and end <= ends for first, end in spans)
