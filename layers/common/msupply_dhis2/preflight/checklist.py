"""Asks the questions of the preflight one after the other, each on its own."""

from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.preflight import access, data_elements, option_combos
from msupply_dhis2.preflight.counterparts import compare_items, compare_stores
from msupply_dhis2.preflight.facts import Facts, Use, uses_by_prefix, uses_of_mapped
from msupply_dhis2.preflight.periods import check_periods


def ask_dhis2(facts: Facts) -> None:
    """Check what DHIS2 alone decides: version, authority, data set, periods."""
    facts.tell("server", access.check_server(facts))
    facts.tell("authority", access.check_authority(facts))
    facts.tell("data set", access.check_data_set(facts))
    facts.tell("write access", access.check_write_access(facts))
    # Without the authority a call would be refused for that alone, which the authority's check says.
    if facts.user.may(access.ADD_DATA_VALUES) or not facts.settings.data_set_id:
        facts.tell("trial call", access.check_trial(facts))
    check_periods(facts)


def compare(facts: Facts, mapped: MappedNames | None) -> None:
    """Check how what mSupply has mapped fits what DHIS2 has set up.

    Where the database did not tell, data elements and option combos are looked at by themselves.
    """
    data_set, settings = facts.data_set, facts.settings
    uses: tuple[Use, ...] = ()
    if mapped is None or not facts.windows:
        facts.not_asked += ["stores", "items"]
        if data_set is not None:
            facts.tell("org unit reach", access.check_reach(facts, data_set.org_units))
    else:
        compare_stores(facts, mapped)
        uses = uses_of_mapped(settings, mapped, compare_items(facts, mapped))
    if data_set is None or not facts.windows:
        facts.not_asked += ["option combos", "category options"]
    else:
        uses = uses or uses_by_prefix(settings, data_set)
        facts.tell("option combos", option_combos.check_combos(facts, data_set, uses))
        access.note_import_settings(facts)
        used = option_combos.used_combos(settings, data_set, uses)
        options = option_combos.check_category_options(facts, data_set, used) if used else None
        facts.tell("category options", options)
        if workflow := data_set.workflow:
            facts.tell(
                "approved data", access.check_approved(facts, workflow, used) if facts.periods else None
            )
    facts.tell("value types", data_elements.check_value_types(facts, uses))
    facts.tell("zeros", data_elements.check_zeros(facts, uses))
    facts.tell("aggregation", data_elements.check_aggregation(uses))
