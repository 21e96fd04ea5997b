"""What the tab's choices can be."""

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
