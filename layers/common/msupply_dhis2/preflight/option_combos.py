"""Whether each metric's option combo is there, and which of the two places for an option combo it belongs to."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from msupply_dhis2.dhis2.models import DataElement, DataSet, OptionCombo
from msupply_dhis2.domain.lookalikes import difference
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.preflight.check import Check, make_check
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


class FindsCombos(Protocol):
    """Where option combos are looked for that neither the data set nor its data elements have."""

    def option_combos(self, identifier: str, scheme: Scheme) -> Sequence[OptionCombo]:
        """Find option combos of whatever category combination."""

    def of_category_option(self, identifier: str, scheme: Scheme) -> Sequence[OptionCombo]:
        """Find the option combos of a category option."""


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


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is to be said of a row."""

    ok: bool
    sentence: str
    place: str = ""
    """Where the option combo is sent."""


def check_option_combos(
    settings: Settings, data_set: DataSet, uses: Sequence[Use], finds: FindsCombos
) -> Check:
    """Whether the option combos of the active rows fit the data set, or its data elements.

    Parameters
    ----------
    uses
        What is sent to which data elements, as far as it is known.
    """
    elements = [use.data_element for use in uses] or list(data_set.data_elements)
    if not data_set.option_combos or any(not element.option_combos for element in elements):
        return make_check(
            NAME,
            ok=False,
            message="DHIS2 does not let the user see the option combos of the data set or of its data elements, so that "
            "nothing can be told about them; values are sent as the settings say. Let the user view the category "
            'combinations, with metadata access "can view".',
        )
    if settings.setup is not Setup.CATEGORY_OPTION_COMBO:
        return _without_combos(data_set, elements)
    labels = row_labels(settings)
    combos = _Combos(settings, data_set, finds)
    verdicts = []
    for label, row in zip(labels, settings.active_rows, strict=True):
        of_row = [use.data_element for use in uses if row in use.rows] or elements
        verdicts += [
            replace(verdict, sentence=f"{label}: {verdict.sentence}") for verdict in combos.judge(row, of_row)
        ]
    wrong = [verdict.sentence for verdict in verdicts if not verdict.ok]
    right = [verdict.sentence for verdict in verdicts if verdict.ok]
    if not wrong:
        places = Counter(verdict.place for verdict in verdicts)
        said = joined(f"{number:,} as {place}" for place, number in places.items())
        return make_check(
            NAME,
            ok=True,
            message=f"The option combos of {count(len(labels), 'metric')} fit; they are sent as DHIS2 has them: {said}.",
            details=right,
        )
    faulty = len({sentence.partition(": ")[0] for sentence in wrong})
    return make_check(
        NAME,
        ok=False,
        message=f"The option combos of {faulty} of {count(len(labels), 'metric')} do not fit; values for them are refused.",
        details=wrong,
    )


def _without_combos(data_set: DataSet, elements: Sequence[DataElement]) -> Check:
    """Judge the setups that name no option combo: "default" must do for data set and data elements."""
    faults = [
        sentence
        for sentence in (_needs_attribute(data_set), _needs_category(elements))
        if sentence is not None
    ]
    if faults:
        return make_check(
            NAME,
            ok=False,
            message=f"No option combos are sent, but DHIS2 needs them. {faults[0]}",
            details=[*faults, *_named_with_categories(elements)],
        )
    return make_check(NAME, ok=True, message="None are needed, and none are sent.")


def _needs_attribute(data_set: DataSet) -> str | None:
    if not _needs_naming(data_set.option_combos):
        return None
    return (
        f"The data set {called(data_set)} has a category combination of its own, whose option combos would have to be "
        f"named. Give it the category combination 'default', or choose the {title_of('setup')} "
        f"'{Setup.CATEGORY_OPTION_COMBO.label}'."
    )


def _needs_category(elements: Sequence[DataElement]) -> str | None:
    with_categories = [element for element in elements if _needs_naming(element.option_combos)]
    if not with_categories:
        return None
    return (
        f"{count(len(with_categories), 'data element')} "
        f"({listed([called(element) for element in with_categories], _NAMED)}) have a category combination of their "
        "own, whose option combos would have to be named too. Give them the category combination 'default'."
    )


def _named_with_categories(elements: Sequence[DataElement]) -> Iterator[str]:
    for element in elements:
        if _needs_naming(element.option_combos):
            yield f"{called(element)}: has a category combination of its own."


def _needs_naming(combos: Sequence[OptionCombo]) -> bool:
    # Where there is only one, such as "default", it is the one that is meant.
    return len(combos) > 1


class _Combos:
    """Judges rows by the option combos of the data set and of data elements."""

    def __init__(self, settings: Settings, data_set: DataSet, finds: FindsCombos) -> None:
        self._settings = settings
        self._data_set = data_set
        self._finds = finds

    def judge(self, row: DataElementRow, elements: Sequence[DataElement]) -> Iterator[_Verdict]:
        """Yield whether the option combo of a row fits, and where it belongs, or what is wrong with it."""
        identifier, scheme = str(row.category_option_id), row.category_option_combo_id_scheme
        attribute = _called(identifier, scheme, self._data_set.option_combos)
        having = [element for element in elements if _called(identifier, scheme, element.option_combos)]
        lacking = [element for element in elements if element not in having]
        field = self._settings.option_combo_field
        if attribute is None and not having:
            yield _Verdict(
                ok=False,
                sentence=self._what_it_is_instead(identifier, scheme, row, elements),
            )
        elif field is OptionComboField.ATTRIBUTE and attribute is None:
            yield self._wrong_field(identifier, "the data elements'", OptionComboField.CATEGORY)
        elif field is OptionComboField.CATEGORY and not having:
            yield self._wrong_field(identifier, "the data set's", OptionComboField.ATTRIBUTE)
        elif attribute is not None and field is not OptionComboField.CATEGORY:
            yield self._as_attribute(attribute, elements)
        else:
            (combo,) = {_called(identifier, scheme, element.option_combos) for element in having[:1]}
            yield from self._as_category(combo, lacking)

    def _wrong_field(self, identifier: str, whose: str, right: OptionComboField) -> _Verdict:
        return _Verdict(
            ok=False,
            sentence=f"{title_of('option_combo_field')} is '{self._settings.option_combo_field.value}', but "
            f"{identifier} belongs to {whose} category combination. Set option_combo_field: auto, or {right.value}.",
        )

    def _as_attribute(self, combo: OptionCombo, elements: Sequence[DataElement]) -> _Verdict:
        if fault := _needs_category(elements):
            return _Verdict(ok=False, sentence=fault)
        return _Verdict(
            ok=True,
            sentence=f"{called(combo)} is sent as {_ATTRIBUTE}.",
            place=_ATTRIBUTE,
        )

    def _as_category(self, combo: OptionCombo | None, lacking: Sequence[DataElement]) -> Iterator[_Verdict]:
        name = called(combo) if combo else ""
        if _needs_naming(self._data_set.option_combos):
            yield _Verdict(
                ok=False,
                sentence=f"{name} belongs to the data elements, but the data set has a category combination of its own "
                "besides, whose option combo would have to be named too. Give the data set the category combination "
                "'default'.",
            )
        elif lacking:
            yield _Verdict(
                ok=False,
                sentence=f"{name} belongs to the category combination of other data elements, but not to that of "
                f"{count(len(lacking), 'data element')}: {listed([called(element) for element in lacking], _NAMED)}. "
                "Give them the same category combination in DHIS2.",
            )
        else:
            yield _Verdict(
                ok=True,
                sentence=f"{name} is sent as {_CATEGORY}.",
                place=_CATEGORY,
            )

    def _what_it_is_instead(
        self, identifier: str, scheme: Scheme, row: DataElementRow, elements: Sequence[DataElement]
    ) -> str:
        """Return what an identifier is, if it is no option combo of the data set or its data elements."""
        of_elements = {combo.id: combo for element in elements for combo in element.option_combos}
        ours = {**of_elements, **{combo.id: combo for combo in self._data_set.option_combos}}
        named = [combo for combo in ours.values() if _DEFAULT not in (combo.name, combo.code)]
        other = Scheme.CODE if scheme is Scheme.UID else Scheme.UID
        if meant := _called(identifier, other, named):
            return (
                f"'{identifier}' is the {other.value} of the option combo {meant.name}, but {_SCHEME_TITLE} is "
                f"'{scheme.value}'. Set category_option_combo_id_scheme: {other.value}."
            )
        try:
            if meant_by_option := self._finds.of_category_option(identifier, scheme):
                return self._category_option(identifier, scheme, meant_by_option, ours.keys())
            known = self._finds.option_combos(identifier, scheme)
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
        self, identifier: str, scheme: Scheme, combos: Sequence[OptionCombo], ours: Collection[str]
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
        return (
            f"{said}The one that is meant is {_in_full(meant)}: write category_option_id: {write}{instead}."
        )


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
