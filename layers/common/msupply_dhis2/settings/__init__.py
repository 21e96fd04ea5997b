"""The DHIS2 tab of mSupply's preferences, as a model that explains its own faults.

One document, YAML or JSON, has the tab's fields by name; ``docs/settings.md`` describes them. Each fault is
a sentence in the tab's words that says where it is and what to do, and all of them are told at once.
"""

from msupply_dhis2.domain.choices import OptionComboField, ReadBack, Scheme, Setup
from msupply_dhis2.settings.fields import DataElementRow
from msupply_dhis2.settings.model import Settings, parse_settings

__all__ = [
    "DataElementRow",
    "OptionComboField",
    "ReadBack",
    "Scheme",
    "Settings",
    "Setup",
    "parse_settings",
]
