"""The template as it is deployed: resources, saved queries, and the links of its alarms."""

from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote

from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from sandbox.tools import PROJECT

_LOG_GROUPS = {
    "PushLogGroup": "push",
    "ComputeLogGroup": "compute",
    "TestConnectionLogGroup": "test-connection",
    "WatchdogLogGroup": "watchdog",
}


@dataclass(frozen=True)
class SavedQuery:
    """A query and the log groups that it is asked of."""

    log_groups: tuple[str, ...]
    query: str


@cache
def template_resources() -> dict[str, Any]:
    """Return the template's resources by their logical ids."""
    template: dict[str, Any] = yaml_parse((PROJECT / "template.yaml").read_text(encoding="utf-8"))
    resources: dict[str, Any] = template["Resources"]
    return resources


def dashboard_body(stack: str = "stack", region: str = "us-east-1") -> str:
    """Return the dashboard's body as it is deployed."""
    body: str = template_resources()["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    return body.replace("${AWS::StackName}", stack).replace("${AWS::Region}", region)


def saved_queries(stack: str = "stack") -> dict[str, SavedQuery]:
    """Return the saved queries by their logical ids."""
    return {
        name: SavedQuery(
            tuple(
                f"/{stack}/{_LOG_GROUPS[group['Ref']]}" for group in resource["Properties"]["LogGroupNames"]
            ),
            resource["Properties"]["QueryString"],
        )
        for name, resource in template_resources().items()
        if resource["Type"] == "AWS::Logs::QueryDefinition"
    }


def alarm_links(alarm: str, stack: str = "stack") -> list[tuple[str, str]]:
    """Return log group and filter pattern of each link of an alarm to a log."""
    said: str = template_resources()[alarm]["Properties"]["AlarmDescription"]["Fn::Sub"]
    return [
        log_and_filter(word)
        for word in said.replace("${AWS::StackName}", stack).split()
        if "#logsV2:" in word
    ]


def log_and_filter(link: str) -> tuple[str, str]:
    """Return the log group and the filter pattern that a link to CloudWatch's console shows."""
    _, _, place = link.partition("#logsV2:log-groups/log-group/")
    group, _, pattern = place.partition("/log-events$3FfilterPattern$3D")
    return _decoded(group), _decoded(pattern)


def _decoded(part: str) -> str:
    # The console's addresses are encoded twice, the second time with another sign.
    return unquote(unquote(part.replace("$25", "%25")))
