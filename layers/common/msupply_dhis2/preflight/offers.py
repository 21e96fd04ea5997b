"""What DHIS2 has to choose from in the settings: data sets, option combos, period types."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.dhis2.metadata import list_data_sets
from msupply_dhis2.dhis2.models import Identified
from msupply_dhis2.errors import Dhis2Error
from msupply_dhis2.preflight.facts import Facts


class Offers(BaseModel):
    """What there is, by UID, code and name; nothing where it could not be read."""

    model_config = ConfigDict(frozen=True)

    data_sets: tuple[Identified, ...] = ()
    option_combos: tuple[Identified, ...] = ()
    period_types: tuple[str, ...] = ()


def read_offers(facts: Facts) -> Offers:
    """Read the data sets; the option combos are those of the chosen one and of its data elements."""
    try:
        listed = list_data_sets(facts.client)
    except Dhis2Error:
        # The checks tell what cannot be read; without this nothing is missing but a choice.
        return Offers()
    chosen = (facts.data_set, *facts.data_set.data_elements) if facts.data_set else ()
    return Offers(
        data_sets=_offers(listed),
        option_combos=_offers(combo for each in chosen for combo in each.option_combos),
        period_types=tuple(sorted({data_set.period_type for data_set in listed})),
    )


def _offers(things: Iterable[Identified]) -> tuple[Identified, ...]:
    unique = {thing.id: thing for thing in things}
    return tuple(sorted(unique.values(), key=lambda thing: thing.name.casefold()))
