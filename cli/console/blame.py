"""Whose a failure is: who looks at a page has to know where to go with it."""

from collections.abc import Iterator

from botocore.exceptions import BotoCoreError, ClientError

from cli.console.words import plain, say
from cli.stack import FunctionFailedError, LoginError
from msupply_dhis2 import errors

_WHOSE: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((errors.SettingsError, errors.CredentialsError), "settings"),
    ((errors.Dhis2BlockedError,), "network"),
    ((errors.Dhis2DownError, errors.Dhis2SlowError), "dhis2_or_network"),
    ((errors.Dhis2Error,), "dhis2"),
    ((errors.SourceUnreachableError,), "msupply_or_network"),
    ((errors.SourceError,), "msupply"),
    ((errors.AwsError, LoginError, BotoCoreError, ClientError), "aws"),
)
"""By kinds of errors, the narrower before the wider."""

_OF_FUNCTIONS = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.MsupplyDhis2Error)
}
"""The kinds by the names that Lambda reports."""


def blamed(error: errors.MsupplyDhis2Error, sentence: str = "") -> str:
    """Return what failed, in words without those of the inside, after whose it is, where that is known."""
    said = plain(sentence or str(error))
    kinds = (whose for each in _causes(error) for kind, whose in _WHOSE if issubclass(each, kind))
    whose = next(kinds, None)
    return said if whose is None else say("whose.sentence", whose=say("whose." + whose), said=said)


def _causes(error: BaseException | None) -> Iterator[type[BaseException]]:
    """Yield what kind of error it is, then of which it came."""
    while error is not None:
        if isinstance(error, FunctionFailedError) and error.kind in _OF_FUNCTIONS:
            yield _OF_FUNCTIONS[error.kind]
        yield type(error)
        error = error.__cause__
