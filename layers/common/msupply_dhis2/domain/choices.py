"""What the tab's choices can be."""

from dataclasses import dataclass
from enum import StrEnum


class Setup(StrEnum):
    """How a metric of an item becomes something that DHIS2 has an identifier for."""

    CATEGORY_OPTION_COMBO = "category_option_combo"
    DATA_ELEMENT_PER_ITEM = "data_element_per_item"
    SINGLE_DATA_ELEMENT = "single_data_element"

    @property
    def label(self) -> str:
        """The tab's words for it."""
        match self:
            case Setup.CATEGORY_OPTION_COMBO:
                return "using category option combo"
            case Setup.DATA_ELEMENT_PER_ITEM:
                return "using different data elements per item"
            case Setup.SINGLE_DATA_ELEMENT:
                return "using single data element"


class Scheme(StrEnum):
    """What DHIS2 is to recognise something by."""

    UID = "uid"
    CODE = "code"


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


PUBLIC_AUTHORITIES = "public authorities"
"""What stands in place of a certificate where those of the publicly known authorities are meant."""


@dataclass(frozen=True, slots=True)
class DatabaseTrust:
    """How a server is known to be mSupply's database before it is given the password.

    Attributes
    ----------
    ca_certificate
        PEM text of the authority that signed its certificate, or ``PUBLIC_AUTHORITIES``; ``None``: the certificate is
        not verified.
    channel_binding
        What holds then.
    """

    ca_certificate: str | None = None
    channel_binding: ChannelBinding = ChannelBinding.REQUIRED
