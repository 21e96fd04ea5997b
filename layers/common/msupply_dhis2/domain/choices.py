"""What the tab's choices can be."""

import re
from dataclasses import dataclass
from enum import StrEnum

_UID = re.compile(r"[A-Za-z][A-Za-z0-9]{10}")


class Setup(StrEnum):
    """How a metric of an item becomes something that DHIS2 has an identifier for."""

    CATEGORY_OPTION_COMBO = "category_option_combo"
    DATA_ELEMENT_PER_ITEM = "data_element_per_item"
    SINGLE_DATA_ELEMENT = "single_data_element"

    @property
    def label(self) -> str:
        """The tab's words for it."""
        return _LABELS[self]


_LABELS = {
    Setup.CATEGORY_OPTION_COMBO: "Using category option combo",
    Setup.DATA_ELEMENT_PER_ITEM: "Different data elements per item",
    Setup.SINGLE_DATA_ELEMENT: "Push only 1 data element",
}


class Scheme(StrEnum):
    """What DHIS2 is to recognise something by."""

    UID = "uid"
    CODE = "code"

    @property
    def other(self) -> "Scheme":
        """The other of the two."""
        return Scheme.CODE if self is Scheme.UID else Scheme.UID

    def takes(self, identifier: str) -> bool:
        """Return whether something can be an identifier: a UID has 11 letters and digits, the first of them a letter."""
        return self is Scheme.CODE or _UID.fullmatch(identifier) is not None


class OptionComboField(StrEnum):
    """Which of the two places for an option combo the category option ID goes to."""

    AUTO = "auto"
    ATTRIBUTE = "attribute"
    CATEGORY = "category"


class ReadBack(StrEnum):
    """How much of what was stored is read again and compared."""

    NONE = "none"
    SAMPLE = "sample"
    ALL = "all"


class ChannelBinding(StrEnum):
    """Whether mSupply's database must prove that it knows the password, where its certificate is not verified."""

    REQUIRED = "required"
    NOT_REQUIRED = "not_required"


class Reporting(StrEnum):
    """Which customers that are not stores are sent."""

    NONE = "none"
    REQUISITIONS = "requisitions"


class CustomerReceived(StrEnum):
    """Where what a customer received is taken from: its own reports, or what stores have issued to it."""

    REPORTED = "reported"
    SUPPLIED = "supplied"


PUBLIC_AUTHORITIES = "public authorities"
"""What stands in place of a certificate where those of the publicly known authorities are meant."""


@dataclass(frozen=True, slots=True)
class DatabaseTrust:
    """How a server is known to be mSupply's database before it is given the password."""

    ca_certificate: str | None = None
    """PEM text of the authority that signed its certificate, or ``PUBLIC_AUTHORITIES``; ``None``: it is not verified."""
    channel_binding: ChannelBinding = ChannelBinding.REQUIRED
    """What holds where it is not verified."""
