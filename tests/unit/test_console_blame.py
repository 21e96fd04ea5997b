"""Whose a failure is."""

import pytest

from cli.console.blame import blamed
from cli.options import OptionError
from cli.stack import FunctionFailedError, LoginError, StackError
from msupply_dhis2.errors import (
    AwsBusyError,
    Dhis2AuthenticationError,
    Dhis2BlockedError,
    Dhis2DownError,
    EventError,
    MsupplyDhis2Error,
    SettingsError,
    SourceError,
    SourceUnreachableError,
)


def of(error: MsupplyDhis2Error, cause: BaseException) -> MsupplyDhis2Error:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SettingsError(["url is missing."]), "Settings: "),
        (Dhis2AuthenticationError("Wrong."), "DHIS2: Wrong."),
        (Dhis2DownError("No answer."), "DHIS2, or the network to it: No answer."),
        (Dhis2BlockedError("A proxy."), "Network: A proxy."),
        (SourceError("No store."), "mSupply's database: No store."),
        (SourceUnreachableError("No answer."), "mSupply's database, or the network to it: No answer."),
        (AwsBusyError("Later."), "AWS: Later."),
        (LoginError("Log in."), "AWS: Log in."),
        (of(OptionError("--source"), SourceError("No.")), "mSupply's database: --source"),
        (FunctionFailedError("PushFunction", "EventError", "Which run?"), "PushFunction failed"),
        (FunctionFailedError("ComputeFunction", "SourceError", "No."), "mSupply's database: "),
        (EventError("as_of: soon."), "as_of: soon."),
        (StackError("DHIS2 refused."), "DHIS2 refused."),
        (
            EventError("Send the dead letters again (make redrive)."),
            "Send the batches that were not delivered again.",
        ),
    ],
)
def test_whose(error: MsupplyDhis2Error, said: str) -> None:
    assert blamed(error).startswith(said)
