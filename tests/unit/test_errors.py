"""Whose a fault is, and whether the same may succeed later."""

import pytest

from msupply_dhis2 import errors
from msupply_dhis2.errors import MsupplyDhis2Error

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MsupplyDhis2Error) and kind is not MsupplyDhis2Error
]
MAY_PASS = (
    *(errors.SourceUnreachableError, errors.Dhis2TransientError, errors.AwsBusyError),
    errors.InFlightError,
)
OWNERS = (
    *(errors.ConfigurationError, errors.SettingsError, errors.CredentialsError, errors.EventError),
    *(errors.SourceError, errors.Dhis2Error, errors.AwsError, errors.InFlightError),
)


@pytest.mark.parametrize("kind", KINDS)
def test_owner_and_retry(
    kind: type[MsupplyDhis2Error],
) -> None:
    assert len([owner for owner in OWNERS if issubclass(kind, owner)]) == 1
    assert kind.is_transient is issubclass(kind, MAY_PASS)
