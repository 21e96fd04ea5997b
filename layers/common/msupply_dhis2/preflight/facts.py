"""What the preflight knows when it judges: settings, what DHIS2 has set up, what mSupply has mapped."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from msupply_dhis2.dhis2.models import DataElement, DataSet, Identified
from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.settings import DataElementRow, Scheme, Settings, Setup


def title_of(name: str) -> str:
    """Return the name of a setting as the tab shows it."""
    return str(Settings.model_fields[name].title)


def called(thing: Identified) -> str:
    """Name a thing of DHIS2: ``Kamo (OU_KAMO)``, or with its UID where it has no code."""
    return f"{thing.name} ({thing.code or thing.id})"


def row_labels(settings: Settings) -> tuple[str, ...]:
    """Name each active row by its metric, and where two have the same by its index too."""
    metrics = [row.metric for row in settings.active_rows]
    return tuple(
        f"{metric.label} (active row {index})" if metrics.count(metric) > 1 else metric.label
        for index, metric in enumerate(metrics, 1)
    )


@dataclass(frozen=True, slots=True)
class Matched[Thing: Identified]:
    """What became of identifiers of mSupply in DHIS2.

    Attributes
    ----------
    inside
        What they mean, where it belongs to the data set.
    elsewhere
        What they mean, where DHIS2 has it, but not in the data set.
    unknown
        Those that mean nothing in DHIS2, or nothing that the user may see.
    unclear
        Those that are not in the data set, and were not looked for elsewhere.
    """

    inside: Mapping[str, Thing] = field(default_factory=dict)
    elsewhere: Mapping[str, Thing] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    unclear: frozenset[str] = frozenset()

    @property
    def found(self) -> Mapping[str, Thing]:
        """What identifiers mean, in the data set or not."""
        return {**self.elsewhere, **self.inside}


def match[Thing: Identified](
    identifiers: Collection[str],
    scheme: Scheme,
    of_data_set: Collection[Thing],
    find: Callable[[Collection[str], Scheme], Sequence[Thing]],
    most: int,
) -> Matched[Thing]:
    """Match identifiers of mSupply with what the data set has, and up to ``most`` of the others with what DHIS2 finds."""
    wanted = dict.fromkeys(identifiers)
    of_ours = _by_identifier(of_data_set, scheme)
    inside = {identifier: of_ours[identifier] for identifier in wanted if identifier in of_ours}
    missing = [identifier for identifier in wanted if identifier not in inside]
    looked_for, unclear = missing[:most], missing[most:]
    found = _by_identifier(find(looked_for, scheme), scheme) if looked_for else {}
    return Matched(
        inside,
        {identifier: found[identifier] for identifier in looked_for if identifier in found},
        frozenset(identifier for identifier in looked_for if identifier not in found),
        frozenset(unclear),
    )


def _by_identifier[Thing: Identified](things: Collection[Thing], scheme: Scheme) -> dict[str | None, Thing]:
    return {thing.id if scheme is Scheme.UID else thing.code: thing for thing in things}


@dataclass(frozen=True, slots=True)
class Use:
    """A data element, and the rows whose values go to it."""

    data_element: DataElement
    rows: tuple[DataElementRow, ...]


def uses_of_mapped(
    settings: Settings, mapped: MappedNames, data_elements: Mapping[str, DataElement]
) -> tuple[Use, ...]:
    """Return the data elements that items are mapped to, each with the rows that send to it.

    Parameters
    ----------
    data_elements
        By their identifier in mSupply, prefix included.
    """
    rows: dict[str, dict[int, DataElementRow]] = {}
    for item in mapped.items:
        for index, (row, identifier) in enumerate(zip(settings.active_rows, item.data_elements, strict=True)):
            if identifier is not None and identifier in data_elements:
                rows.setdefault(identifier, {})[index] = row
    return tuple(Use(data_elements[identifier], tuple(sent.values())) for identifier, sent in rows.items())


def uses_by_prefix(settings: Settings, data_set: DataSet) -> tuple[Use, ...]:
    """Return what may be sent to which data elements, as far as that can be told without mSupply's items.

    With different data elements per item only prefixes tell which of them a row is for.
    """
    per_item = settings.setup is Setup.DATA_ELEMENT_PER_ITEM
    uses = (
        Use(
            data_element,
            tuple(
                row
                for row in settings.active_rows
                if (data_element.code or "").startswith(row.prefix) and (row.prefix or not per_item)
            ),
        )
        for data_element in data_set.data_elements
    )
    return tuple(use for use in uses if use.rows)
