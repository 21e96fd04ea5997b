"""The picture of the dashboard: its definition as it is deployed, over lines that the functions have written."""

from local.tools import PROJECT

PICTURE = PROJECT / "docs" / "dashboard.png"
