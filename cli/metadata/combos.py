"""The category option combos that DHIS2 has already: those of the settings, and those that it has made itself."""

from collections.abc import Mapping, Sequence

from cli.metadata.existing import AsksDhis2, Existing, Listed, read_option_combos
from cli.metadata.names import uid
from cli.metadata.objects import Brief, rows_with_combos
from cli.metadata.wanted import Wanted, reference
from msupply_dhis2.errors import ConfigurationError


def combo_uid(row: str) -> str:
    """Return the identifier that stands for the option combo of a row."""
    return reference("categoryOptionCombos", row)["id"]


def find_option_combos(
    brief: Brief, client: AsksDhis2, existing: Existing, wanted: Sequence[Wanted], problems: list[str]
) -> dict[str, str]:
    """Find the option combos of the settings' rows; where they are not of the category combo that is made here, return theirs.

    Those that DHIS2 has made itself, of our category combo and without codes, are noted as generated.
    """
    there = existing.index(wanted)
    combo = brief.code("METRICS")
    ours = there.get(("categoryCombos", combo))
    own = {each.key: each for each in wanted if each.kind == "categoryOptionCombos"}
    found = {key: existing.owned["categoryOptionCombos", there["categoryOptionCombos", key].id] for key in own if ("categoryOptionCombos", key) in there}  # fmt: skip
    foreign = {owned["categoryCombo"]["id"] for owned in found.values()} - {ours.id if ours else ""}
    if not foreign:
        if ours:
            _note_generated(client, existing, own, there, ours)
        return {}
    if len(foreign) > 1 or (
        ours and any(owned["categoryCombo"]["id"] == ours.id for owned in found.values())
    ):
        raise ConfigurationError(
            "The option combos of the settings' rows belong to several category combos in DHIS2. A data element has one only. "
            "Name option combos of one category combo in category_option_id, or plan with --shape items."
        )
    problems += [
        f"{row.metric.label.capitalize()}: DHIS2 has no option combo {key} beside the others of that category combo. Its values are left out "
        "here. Add the option to the category in DHIS2, or correct category_option_id."
        for key, row in rows_with_combos(brief.settings).items()
        if key not in found
    ]
    others = {combo_uid(key): owned["id"] for key, owned in found.items()}
    return {**others, reference("categoryCombos", combo)["id"]: foreign.pop()}


def _note_generated(
    client: AsksDhis2,
    existing: Existing,
    own: Mapping[str, Wanted],
    there: Mapping[tuple[str, str], Listed],
    combo: Listed,
) -> None:
    options = {key: own[key].body["categoryOptions"][0]["id"] for key in own}
    held = {uid("categoryOptions", key): listed.id for (kind, key), listed in there.items() if kind == "categoryOptions"}  # fmt: skip
    made = read_option_combos(client, combo.id)
    for key, option in options.items():
        for each in made:
            if [of["id"] for of in each.get("categoryOptions", [])] == [held.get(option, option)]:
                existing.generated[key] = Listed(each["id"], each.get("code"), each.get("name", ""))
                existing.owned["categoryOptionCombos", each["id"]] = each
