"""The kinds of objects that ``/api/metadata`` takes: what each must have, what is unique in it, what it refers to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LONGEST = {"name": 230, "shortName": 50, "code": 50}
"""How many characters a text of an object may have."""

VALUE_TYPES = frozenset(
    [
        "TEXT",
        "LONG_TEXT",
        "MULTI_TEXT",
        "LETTER",
        "PHONE_NUMBER",
        "EMAIL",
        "BOOLEAN",
        "TRUE_ONLY",
        "DATE",
        "DATETIME",
        "TIME",
        "NUMBER",
        "UNIT_INTERVAL",
        "PERCENTAGE",
        "INTEGER",
        "INTEGER_POSITIVE",
        "INTEGER_NEGATIVE",
        "INTEGER_ZERO_OR_POSITIVE",
        "TRACKER_ASSOCIATE",
        "USERNAME",
        "COORDINATE",
        "ORGANISATION_UNIT",
        "REFERENCE",
        "AGE",
        "URL",
        "FILE_RESOURCE",
        "IMAGE",
        "GEOJSON",
    ]
)
AGGREGATION_TYPES = [
    "MIN_SUM_ORG_UNIT",
    "DEFAULT",
    "MAX",
    "LAST_AVERAGE_ORG_UNIT",
    "SUM",
    "MAX_SUM_ORG_UNIT",
    "COUNT",
    "FIRST",
    "CUSTOM",
    "STDDEV",
    "AVERAGE_SUM_ORG_UNIT",
    "LAST",
    "NONE",
    "AVERAGE",
    "LAST_LAST_ORG_UNIT",
    "LAST_IN_PERIOD_AVERAGE_ORG_UNIT",
    "FIRST_AVERAGE_ORG_UNIT",
    "MIN",
    "FIRST_FIRST_ORG_UNIT",
    "LAST_IN_PERIOD",
    "VARIANCE",
]
"""In the order in which the server lists them."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of object.

    Attributes
    ----------
    plural
        Its name in addresses and payloads: ``dataElements``.
    klass
        Its name in reports, without what all of them begin with: ``dataelement.DataElement``.
    creators
        The authorities of which one is needed to create an object of it.
    required
        The properties without which it is refused.
    unique
        The properties that no two objects of it may share, besides the UID.
    references
        Where it refers to which kind: a property, or one behind another, as ``dashboardItems.visualization``.
    is_shared
        Whether an object says who may read and change it.
    """

    plural: str
    klass: str
    creators: tuple[str, ...]
    required: tuple[str, ...] = ("name",)
    unique: tuple[str, ...] = ("code", "name")
    references: Mapping[str, str] = field(default_factory=dict)
    is_shared: bool = True

    @property
    def java_class(self) -> str:
        """The whole name of the class in reports."""
        return f"org.hisp.dhis.{self.klass}"

    @property
    def simple_name(self) -> str:
        """The name in sentences: ``DataElement``."""
        return self.klass.rpartition(".")[2]

    @property
    def singular(self) -> str:
        """The name of one in a reference: ``dataElement``."""
        return self.simple_name[0].lower() + self.simple_name[1:]


def _shared(name: str) -> tuple[str, ...]:
    return (f"F_{name}_PUBLIC_ADD", f"F_{name}_PRIVATE_ADD")


_NAMED = ("name", "shortName")
_UNIQUE_NAMES = ("code", "name", "shortName")
_CODE_ONLY = ("code",)
_DISPLAYED = {
    "dataDimensionItems.indicator": "indicators",
    "dataDimensionItems.dataElement": "dataElements",
    "legend.set": "legendSets",
}

KINDS = {
    kind.plural: kind
    for kind in (
        Kind(
            "organisationUnits",
            "organisationunit.OrganisationUnit",
            ("F_ORGANISATIONUNIT_ADD",),
            required=("name", "shortName", "openingDate"),
            unique=_CODE_ONLY,
            references={"parent": "organisationUnits"},
            is_shared=False,
        ),
        Kind("userRoles", "user.UserRole", _shared("USERROLE")),
        Kind(
            "users",
            "user.User",
            ("F_USER_ADD",),
            required=("username", "firstName", "surname"),
            unique=_CODE_ONLY,
            references={
                "userRoles": "userRoles",
                "organisationUnits": "organisationUnits",
                "dataViewOrganisationUnits": "organisationUnits",
                "userGroups": "userGroups",
            },
        ),
        Kind("userGroups", "user.UserGroup", _shared("USERGROUP"), references={"users": "users"}),
        Kind("legendSets", "legend.LegendSet", _shared("LEGEND_SET"), unique=_CODE_ONLY),
        Kind("optionSets", "option.OptionSet", _shared("OPTIONSET")),
        Kind(
            "categoryOptions",
            "category.CategoryOption",
            _shared("CATEGORY_OPTION"),
            required=_NAMED,
            references={"organisationUnits": "organisationUnits"},
        ),
        Kind(
            "categories",
            "category.Category",
            _shared("CATEGORY"),
            required=_NAMED,
            references={"categoryOptions": "categoryOptions"},
        ),
        Kind(
            "categoryCombos",
            "category.CategoryCombo",
            _shared("CATEGORY_COMBO"),
            references={"categories": "categories"},
        ),
        Kind(
            "categoryOptionCombos",
            "category.CategoryOptionCombo",
            _shared("CATEGORY_COMBO"),
            required=(),
            unique=_CODE_ONLY,
            references={"categoryCombo": "categoryCombos", "categoryOptions": "categoryOptions"},
            is_shared=False,
        ),
        Kind(
            "dataElements",
            "dataelement.DataElement",
            _shared("DATAELEMENT"),
            required=("name", "shortName", "valueType", "aggregationType", "domainType"),
            unique=_UNIQUE_NAMES,
            references={
                "categoryCombo": "categoryCombos",
                "optionSet": "optionSets",
                "legendSets": "legendSets",
            },
        ),
        Kind(
            "dataElementGroups",
            "dataelement.DataElementGroup",
            _shared("DATAELEMENTGROUP"),
            required=_NAMED,
            unique=_UNIQUE_NAMES,
            references={"dataElements": "dataElements"},
        ),
        Kind("indicatorTypes", "indicator.IndicatorType", ("F_INDICATORTYPE_ADD",), is_shared=False),
        Kind(
            "indicators",
            "indicator.Indicator",
            _shared("INDICATOR"),
            required=("name", "shortName", "indicatorType", "numerator", "denominator"),
            unique=_UNIQUE_NAMES,
            references={"indicatorType": "indicatorTypes", "legendSets": "legendSets"},
        ),
        Kind(
            "indicatorGroups",
            "indicator.IndicatorGroup",
            _shared("INDICATORGROUP"),
            references={"indicators": "indicators"},
        ),
        Kind(
            "dataSets",
            "dataset.DataSet",
            _shared("DATASET"),
            required=("name", "shortName", "periodType"),
            references={
                "categoryCombo": "categoryCombos",
                "organisationUnits": "organisationUnits",
                "indicators": "indicators",
                "legendSets": "legendSets",
            },
        ),
        Kind(
            "sections",
            "dataset.Section",
            ("F_SECTION_ADD",),
            required=("name", "dataSet"),
            unique=_CODE_ONLY,
            references={"dataSet": "dataSets", "dataElements": "dataElements", "indicators": "indicators"},
            is_shared=False,
        ),
        Kind("maps", "mapping.Map", ("F_MAP_PUBLIC_ADD",), unique=_CODE_ONLY),
        Kind(
            "visualizations",
            "visualization.Visualization",
            ("F_VISUALIZATION_PUBLIC_ADD",),
            required=("name", "type"),
            unique=_CODE_ONLY,
            references=_DISPLAYED,
        ),
        Kind(
            "dashboards",
            "dashboard.Dashboard",
            ("F_DASHBOARD_PUBLIC_ADD",),
            unique=_CODE_ONLY,
            references={"dashboardItems.visualization": "visualizations", "dashboardItems.map": "maps"},
        ),
    )
}
"""Every kind, by its plural."""
