"""The one exception tree: whose a fault is, and whether the same may succeed later.

Every message is written for an integration officer: it says what is wrong, where (the setting, the secret, the
store, the item) and what to do about it. No message ever holds a secret.
"""

from collections.abc import Sequence


class MsupplyDhis2Error(Exception):
    """Base of every fault that a user can be told about: ``str(error)`` is one sentence, or several, a line each."""

    is_transient = False
    """Whether the same may succeed later, without anybody's doing."""


class ConfigurationError(MsupplyDhis2Error):
    """A function's own environment lacks something: the stack is not deployed as the template says."""


class SettingsError(MsupplyDhis2Error):
    """The settings document is missing, unreadable or has ``faults``, each a sentence that names the row and the field."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class CredentialsError(MsupplyDhis2Error):
    """A secret is missing, not filled in yet, or not of the form that it must have.

    ``fault`` is the sentence's end alone, for what was given outside a secret.
    """

    def __init__(self, message: str, fault: str = "") -> None:
        super().__init__(message)
        self.fault = fault


class EventError(MsupplyDhis2Error):
    """The event, or the message of a queue, that a function was invoked with is not one that it understands."""


class BatchError(EventError):
    """A message on the queue of batches is none of this version."""


class InFlightError(MsupplyDhis2Error):
    """Another message must be sent before this one, which is nobody's fault."""

    is_transient = True


class SourceError(MsupplyDhis2Error):
    """mSupply's database cannot be used as it is; trying again does not help."""


class SourceUnreachableError(SourceError):
    """mSupply's database did not answer; trying again later may help."""

    is_transient = True


class Dhis2Error(MsupplyDhis2Error):
    """DHIS2 did not take a request; ``retry_after`` are the seconds that the server asks to wait, if it does."""

    may_still_be_applied = False
    """Whether what was sent may be stored later all the same: there was no answer, or not DHIS2's own."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Dhis2AuthenticationError(Dhis2Error):
    """DHIS2 refused the credentials. Never tried again automatically: it could lock the account."""


class Dhis2PermanentError(Dhis2Error):
    """Trying the same again does not help until somebody changes something."""


class Dhis2TooLargeError(Dhis2PermanentError):
    """The call was too large for what stands before DHIS2; a smaller one may get through."""


class Dhis2TransientError(Dhis2Error):
    """DHIS2 could not take the request just now; the same request may succeed later."""

    is_transient = True


class Dhis2DownError(Dhis2TransientError):
    """DHIS2 cannot be reached, or says itself that it is not there just now. No message is the cause of that."""


class Dhis2BlockedError(Dhis2TransientError):
    """Something before DHIS2, a firewall or a proxy, answered in its place. It may pass, or stay until it is fixed."""


class Dhis2SlowError(Dhis2TransientError):
    """No answer in time. What was sent may be stored, or still be imported; fewer values may be faster."""


class Dhis2FaultError(Dhis2TransientError):
    """DHIS2 failed (status 500). If the same call fails again, one of its values may be the cause."""


class AwsError(MsupplyDhis2Error):
    """A table, queue, bucket, parameter or secret could not be read or written."""


class AwsBusyError(AwsError):
    """AWS did not answer, or takes no more just now, or others change the same row all the time."""

    is_transient = True


class AwsRefusedError(AwsError):
    """AWS does not know who asks, does not allow it, or cannot do what it was asked for."""


class DamagedRowError(AwsError):
    """A row of state cannot be read. It costs what it is about; the message names it."""
