"""Whether each metric's option combo is there, and which of the two places for an option combo it belongs to."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msupply_dhis2.dhis2.deadline import Deadline
from msupply_dhis2.dhis2.metadata import find_category_option, find_option_combos
from msupply_dhis2.dhis2.models import DataElement, DataSet, OptionCombo
from msupply_dhis2.dhis2.parsing import ReadsDhis2
from msupply_dhis2.domain.lookalikes import difference
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.preflight.check import Check, failed, passed
from msupply_dhis2.preflight.facts import Use, called, row_labels, title_of
from msupply_dhis2.preflight.nearest import Nearest
from msupply_dhis2.settings import DataElementRow, OptionComboField, Scheme, Settings, Setup
from msupply_dhis2.text import count, joined, listed

NAME = "option combos"
_ATTRIBUTE = "attribute option combo (of the data set)"
_CATEGORY = "category option combo (of the data elements)"
_NAMED = 3
_DEFAULT = "default"
_SCHEME_TITLE = str(DataElementRow.model_fields["category_option_combo_id_scheme"].title)


@dataclass(frozen=True, slots=True)
class UsedCombos:
    """The option combos that values are sent with, named or not, as far as they are known."""

    category: frozenset[OptionCombo]
    attribute: frozenset[OptionCombo]

    @property
    def all(self) -> tuple[OptionCombo, ...]:
        """Return each of them once, by name."""
        return tuple(sorted(self.category | self.attribute, key=lambda combo: (combo.name, combo.id)))


def used_combos(settings: Settings, data_set: DataSet, uses: Sequence[Use]) -> UsedCombos:
    """Find the option combos that push sends values with."""
    category: set[OptionCombo | None] = set()
    attribute: set[OptionCombo | None] = set()
    for use in uses:
        for row in use.rows:
            identifier, scheme = row.category_option_id, row.category_option_combo_id_scheme
            named = settings.setup is Setup.CATEGORY_OPTION_COMBO and identifier is not None
            of_data_set, of_element = data_set.option_combos, use.data_element.option_combos
            as_attribute = as_category = None
            if named and settings.option_combo_field is not OptionComboField.CATEGORY:
                as_attribute = _called(str(identifier), scheme, of_data_set)
            if named and as_attribute is None:
                as_category = _called(str(identifier), scheme, of_element)
            attribute.add(as_attribute or _only(of_data_set))
            category.add(as_category or _only(of_element))
    return UsedCombos(
        frozenset(combo for combo in category if combo), frozenset(combo for combo in attribute if combo)
    )


def _only(combos: Sequence[OptionCombo]) -> OptionCombo | None:
    return combos[0] if len(combos) == 1 else None


class _Verdict(NamedTuple):
    """What is to be said of a row, and where its option combo is sent: ``None`` where it does not fit."""

    sentence: str
    place: str | None = None


class Combos:
    """Judges the rows' option combos by those of the data set and of its data elements.

    Parameters
    ----------
    client, deadline
        Where option combos are looked for that neither the data set nor its data elements have, and for how long.
    """

    def __init__(
        self, settings: Settings, data_set: DataSet, client: ReadsDhis2, *, deadline: Deadline
    ) -> None:
        self._settings = settings
        self._data_set = data_set
        self._client = client
        self._deadline = deadline

    def check(self, uses: Sequence[Use]) -> Check:
        """Whether the option combos of the active rows fit the data set, or its data elements.

        Parameters
        ----------
        uses
            What is sent to which data elements, as far as it is known.
        """
        settings, data_set = self._settings, self._data_set
        elements = [use.data_element for use in uses] or list(data_set.data_elements)
        if not data_set.option_combos or any(not element.option_combos for element in elements):
            return failed(
                NAME,
                "DHIS2 does not let the user see the option combos of the data set or of its data elements, so that "
                "nothing can be told about them; values are sent as the settings say. Let the user view the category "
                'combinations, with metadata access "can view".',
            )
        if settings.setup is not Setup.CATEGORY_OPTION_COMBO:
            return _without_combos(data_set, elements)
        labels = row_labels(settings)
        wrong: list[str] = []
        right: list[str] = []
        places: Counter[str] = Counter()
        for label, row in zip(labels, settings.active_rows, strict=True):
            of_row = [use.data_element for use in uses if row in use.rows] or elements
            verdict = self._judge(row, of_row)
            (wrong if verdict.place is None else right).append(f"{label}: {verdict.sentence}")
            if verdict.place is not None:
                places[verdict.place] += 1
        number = count(len(labels), "metric")
        if wrong:
            message = (
                f"The option combos of {len(wrong)} of {number} do not fit; values for them are refused."
            )
            return failed(NAME, message, wrong)
        said = joined(f"{number_there:,} as {place}" for place, number_there in places.items())
        message = f"The option combos of {number} fit; they are sent as DHIS2 has them: {said}."
        return passed(NAME, message, right)

    def _judge(self, row: DataElementRow, elements: Sequence[DataElement]) -> _Verdict:
        """Return whether the option combo of a row fits, and where it belongs, or what is wrong with it."""
        identifier, scheme = str(row.category_option_id), row.category_option_combo_id_scheme
        attribute = _called(identifier, scheme, self._data_set.option_combos)
        of_elements = [(element, _called(identifier, scheme, element.option_combos)) for element in elements]
        category = next((combo for _, combo in of_elements if combo), None)
        field = self._settings.option_combo_field
        name = called(category) if category else ""
        if attribute is None and category is None:
            verdict = _Verdict(self._what_it_is_instead(identifier, scheme, row, elements))
        elif field is OptionComboField.ATTRIBUTE and attribute is None:
            verdict = self._wrong_field(identifier, "the data elements'", OptionComboField.CATEGORY)
        elif field is OptionComboField.CATEGORY and category is None:
            verdict = self._wrong_field(identifier, "the data set's", OptionComboField.ATTRIBUTE)
        elif attribute is not None and field is not OptionComboField.CATEGORY:
            sent = _Verdict(f"{called(attribute)} is sent as {_ATTRIBUTE}.", _ATTRIBUTE)
            fault = _needs_category(elements)
            verdict = _Verdict(fault) if fault else sent
        elif _needs_naming(self._data_set.option_combos):
            verdict = _Verdict(
                f"{name} belongs to the data elements, but the data set has a category combination of its own besides, "
                "whose option combo would have to be named too. Give the data set the category combination 'default'."
            )
        elif lacking := [called(element) for element, combo in of_elements if combo is None]:
            verdict = _Verdict(
                f"{name} belongs to the category combination of other data elements, but not to that of "
                f"{count(len(lacking), 'data element')}: {listed(lacking, _NAMED)}. Give them the same category "
                "combination in DHIS2."
            )
        else:
            verdict = _Verdict(f"{name} is sent as {_CATEGORY}.", _CATEGORY)
        return verdict

    def _wrong_field(self, identifier: str, whose: str, right: OptionComboField) -> _Verdict:
        return _Verdict(
            f"{title_of('option_combo_field')} is '{self._settings.option_combo_field.value}', but {identifier} belongs "
            f"to {whose} category combination. Set option_combo_field: auto, or {right.value}."
        )

    def _what_it_is_instead(
        self, identifier: str, scheme: Scheme, row: DataElementRow, elements: Sequence[DataElement]
    ) -> str:
        """Return what an identifier is, if it is no option combo of the data set or its data elements."""
        of_elements = {combo.id: combo for element in elements for combo in element.option_combos}
        ours = {**of_elements, **{combo.id: combo for combo in self._data_set.option_combos}}
        named = [combo for combo in ours.values() if _DEFAULT not in (combo.name, combo.code)]
        other = scheme.other
        if meant := _called(identifier, other, named):
            return (
                f"'{identifier}' is the {other.value} of the option combo {meant.name}, but {_SCHEME_TITLE} is "
                f"'{scheme.value}'. Set category_option_combo_id_scheme: {other.value}."
            )
        try:
            of_option = self._deadline.ask(lambda: find_category_option(self._client, identifier, scheme))
            if of_option:
                return _category_option(identifier, scheme, of_option, ours.keys())
            known = self._deadline.ask(lambda: find_option_combos(self._client, [identifier], scheme))
        except Dhis2Error as error:
            return (
                f"'{identifier}' is no option combo of the data set or its data elements; whether it is anything else "
                f"in DHIS2 cannot be read: {error}"
            )
        if known:
            return (
                f"{called(known[0])} is an option combo, but belongs neither to the category combination of the data "
                f"set {called(self._data_set)} nor to that of its data elements. Use one of theirs"
                f"{_or_nearest(identifier, row, named)}"
            )
        return (
            f"DHIS2 has no category option combo whose {scheme.value} is '{identifier}', or does not let the user see "
            f"it. Correct Category option ID{_or_nearest(identifier, row, named)}"
        )


def _category_option(
    identifier: str, scheme: Scheme, combos: Sequence[OptionCombo], ours: Collection[str]
) -> str:
    fitting = [combo for combo in combos if combo.id in ours]
    said = f"'{identifier}' is the {scheme.value} of a category option, where that of an option combo is needed. "
    if not fitting:
        names = listed([_in_full(combo) for combo in combos], _NAMED)
        return (
            f"{said}Its option combos ({names}) belong neither to the category combination of the data set nor to "
            "that of its data elements: use one of theirs."
        )
    if len(fitting) > 1:
        names = listed([_in_full(combo) for combo in fitting], _NAMED)
        return f"{said}Write one of its option combos: {names}."
    (meant,) = fitting
    write = meant.id if scheme is Scheme.UID or meant.code is None else meant.code
    instead = "" if scheme is Scheme.UID or meant.code else " and category_option_combo_id_scheme: uid"
    return f"{said}The one that is meant is {_in_full(meant)}: write category_option_id: {write}{instead}."


def _in_full(combo: OptionCombo) -> str:
    code = f", code {combo.code}" if combo.code else ""
    return f"{combo.name} (uid {combo.id}{code})"


def _called(identifier: str, scheme: Scheme, combos: Sequence[OptionCombo]) -> OptionCombo | None:
    return next((combo for combo in combos if combo.is_called(identifier, scheme)), None)


def _or_nearest(identifier: str, row: DataElementRow, combos: Sequence[OptionCombo]) -> str:
    near = Nearest(combos).to(identifier, row.metric.label)
    if near is None:
        return "."
    named = near.id if row.category_option_combo_id_scheme is Scheme.UID else near.code or ""
    differs = difference(identifier, named, here="the settings")
    return f"; did you mean {_in_full(near)}?{f' {differs}' if differs else ''}"


def _without_combos(data_set: DataSet, elements: Sequence[DataElement]) -> Check:
    """Judge the setups that name no option combo: "default" must do for data set and data elements."""
    faults = []
    if _needs_naming(data_set.option_combos):
        faults.append(
            f"The data set {called(data_set)} has a category combination of its own, whose option combos would have to be "
            f"named. Give it the category combination 'default', or choose the {title_of('setup')} "
            f"'{Setup.CATEGORY_OPTION_COMBO.label}'."
        )
    if fault := _needs_category(elements):
        faults.append(fault)
    if not faults:
        return passed(NAME, "None are needed, and none are sent.")
    of_elements = [
        f"{called(element)}: has a category combination of its own."
        for element in elements
        if _needs_naming(element.option_combos)
    ]
    message = f"No option combos are sent, but DHIS2 needs them. {faults[0]}"
    return failed(NAME, message, [*faults, *of_elements])


def _needs_category(elements: Sequence[DataElement]) -> str | None:
    with_categories = [element for element in elements if _needs_naming(element.option_combos)]
    if not with_categories:
        return None
    return (
        f"{count(len(with_categories), 'data element')} "
        f"({listed([called(element) for element in with_categories], _NAMED)}) have a category combination of their "
        "own, whose option combos would have to be named too. Give them the category combination 'default'."
    )


def _needs_naming(combos: Sequence[OptionCombo]) -> bool:
    # Where there is only one, such as "default", it is the one that is meant.
    return len(combos) > 1
