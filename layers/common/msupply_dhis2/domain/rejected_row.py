"""A value that is not in DHIS2, with all that somebody needs to put it right."""

from pydantic import BaseModel, ConfigDict


class Why(BaseModel):
    """One reason: DHIS2's code and words, and what to do."""

    model_config = ConfigDict(frozen=True)

    code: str
    reason: str
    what_to_do: str


class RejectedRow(BaseModel):
    """One value and the reasons for which it is not in DHIS2, at least one.

    Attributes
    ----------
    fate
        ``rejected``, ``unaccounted`` for one that DHIS2 neither stored nor refused, ``perhaps unaccounted`` for one of
        a call of which some are and nobody can tell which, ``not deleted`` for one that was to be deleted.
    """

    model_config = ConfigDict(frozen=True)

    fate: str
    store: str
    item: str
    metric: str
    data_element: str
    org_unit: str
    period: str
    category_option_combo: str | None
    attribute_option_combo: str | None
    value: str
    why: tuple[Why, ...]
