"""What the tab's choices can be."""

import re
from dataclasses import dataclass

from msupply_dhis2.text import Choice

_UID = re.compile(r"[A-Za-z][A-Za-z0-9]{10}")


class Setup(Choice):
    """How a metric of an item becomes something that DHIS2 has an identifier for."""

    CATEGORY_OPTION_COMBO = "category_option_combo", "Using category option combo"
    DATA_ELEMENT_PER_ITEM = "data_element_per_item", "Different data elements per item"
    SINGLE_DATA_ELEMENT = "single_data_element", "Push only 1 data element"

    @property
    def label(self) -> str:
        """The tab's words for it."""
        return self.words[0]


class Scheme(Choice):
    """What DHIS2 is to recognise something by."""

    UID = "uid", "UUID", "UUIDs"
    CODE = "code", "item code", "item codes", "name code", "name codes"

    @property
    def other(self) -> "Scheme":
        """The other of the two."""
        return Scheme.CODE if self is Scheme.UID else Scheme.UID

    def takes(self, identifier: str) -> bool:
        """Return whether something can be an identifier: a UID has 11 letters and digits, the first of them a letter."""
        return self is Scheme.CODE or _UID.fullmatch(identifier) is not None


class ItemField(Choice):
    """Which field of an item holds its identifier; in the tab "Custom field" is chosen, and a name typed beside it."""

    UNIVERSAL_CODE = "universal_code"
    USER_FIELD_1 = "user_field_1", "Custom field user_field_1"
    USER_FIELD_2 = "user_field_2", "Custom field user_field_2"
    USER_FIELD_3 = "user_field_3", "Custom field user_field_3"
    USER_FIELD_6 = "user_field_6", "Custom field user_field_6"


class OptionComboField(Choice):
    """Which of the two places for an option combo the category option ID goes to."""

    AUTO = "auto"
    ATTRIBUTE = "attribute"
    CATEGORY = "category"


class ReadBack(Choice):
    """How much of what was stored is read again and compared."""

    NONE = "none"
    SAMPLE = "sample"
    ALL = "all"


class ChannelBinding(Choice):
    """Whether mSupply's database must prove that it knows the password, where its certificate is not verified."""

    REQUIRED = "required"
    NOT_REQUIRED = "not_required"


class Reporting(Choice):
    """Which customers that are not stores are sent."""

    NONE = "none"
    REQUISITIONS = "requisitions"


class CustomerReceived(Choice):
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
