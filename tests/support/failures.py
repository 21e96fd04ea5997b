"""Calls that fail, and what their errors may not hold."""

import traceback
from collections.abc import Callable, Collection

import pytest

from msupply_dhis2.errors import Dhis2Error


def failure_of(call: Callable[[], object], secrets: Collection[str]) -> Dhis2Error:
    """Make a call that fails, and make sure that its error holds no secret wherever one looks."""
    with pytest.raises(Dhis2Error) as raised:
        call()
    error = raised.value
    assert error.__cause__ is None
    assert error.__context__ is None
    told = "".join(traceback.format_exception(error)) + repr(error)
    assert not any(secret in told for secret in secrets)
    return error
