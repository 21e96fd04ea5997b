"""A value that is not in DHIS2, with all that somebody needs to put it right."""

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.domain.data_value import DataValueKey


class Why(BaseModel):
    """One reason: DHIS2's code and words, and what to do."""

    model_config = ConfigDict(frozen=True)

    code: str
    reason: str
    what_to_do: str


class RejectedRow(BaseModel):
    """One value, what became of it, and the reasons for which it is not in DHIS2, at least one."""

    model_config = ConfigDict(frozen=True)

    outcome: str
    store: str
    item: str
    metric: str
    key: DataValueKey
    value: str
    why: tuple[Why, ...]
