"""What ``/api/metadata`` stores: what the database refuses although the checks let it pass, and what it adds."""

from collections.abc import Sequence
from typing import Any

from sandbox.dhis2.documents import with_documents
from sandbox.dhis2.import_report import FlushError, Found
from sandbox.dhis2.importer import Server
from sandbox.dhis2.metadata import Metadata, uid
from sandbox.dhis2.sharing import NOT_SHARED, SHARED_WITH_ALL, Document
from sandbox.dhis2.versions import Version


def stored(
    server: Server, found: Sequence[Found], *, skips_sharing: bool = False, comes_alone: bool = False
) -> Metadata:
    """Return what is set up afterwards.

    Raises
    ------
    FlushError
        The database refuses what the checks let pass.
    """
    changed: dict[str, dict[str, dict[str, Any]]] = {}
    for each in found:
        _flush(server, each, found, comes_alone=comes_alone)
        changed.setdefault(each.kind.plural, {})[each.id] = _complete(
            server, each, skips_sharing=skips_sharing
        )
    return with_documents(server.metadata, changed, server.users.values())


def _complete(server: Server, found: Found, *, skips_sharing: bool) -> dict[str, Any]:
    """Return the document with what the server adds to it."""
    user, now = server.user, server.now.isoformat(timespec="milliseconds")
    before = server.metadata.documents.get(found.kind.plural, {}).get(found.id, {})
    who = {
        "id": user.uid,
        "code": user.username,
        "name": f"{user.first_name} {user.surname}",
        "displayName": f"{user.first_name} {user.surname}",
        "username": user.username,
    }
    document = {
        **found.document,
        "created": before.get("created", now),
        "createdBy": before.get("createdBy", who),
        "lastUpdated": now,
        "lastUpdatedBy": who,
    }
    if found.kind.is_shared:
        document["sharing"] = _sharing(found, before, user.uid, skips_sharing=skips_sharing)
    if found.kind.plural == "dashboards":
        document["dashboardItems"] = [
            {"id": uid("dashboardItem", f"{found.id} {number}"), **item}
            for number, item in enumerate(document.get("dashboardItems", ()))
        ]
    return document


def _sharing(found: Found, before: Document, owner: str, *, skips_sharing: bool) -> dict[str, Any]:
    if skips_sharing:
        given = before.get("sharing", {"public": NOT_SHARED})
    else:
        given = found.document.get("sharing", {})
    nobody = {"owner": owner, "external": False, "users": {}, "userGroups": {}, "public": SHARED_WITH_ALL}
    return {**nobody, **given}


def _flush(server: Server, found: Found, together: Sequence[Found], *, comes_alone: bool) -> None:
    document, version = found.document, server.version
    begins = "org.hibernate.PropertyValueException: " if version.is_at_least(Version.V2_41) else ""
    match found.kind.plural:
        case "dataSets":
            brought = {each.id for each in together if each.kind.plural == "dataElements"}
            for element in document.get("dataSetElements", ()):
                identifier = element["dataElement"].get("id")
                if identifier not in brought and server.metadata.data_element.by_id(identifier) is None:
                    raise FlushError(
                        f"{begins}not-null property references a null or transient value : "
                        "org.hisp.dhis.dataset.DataSetElement.dataElement"
                    )
        case "users" if any(
            user.username == document["username"] and user.uid != found.id for user in server.users.values()
        ):
            raise FlushError(
                'ERROR: duplicate key value violates unique constraint "uk_userinfo_username"\n'
                f"  Detail: Key (username)=({document['username']}) already exists."
                if version.is_at_least(Version.V2_41)
                else "org.hibernate.exception.ConstraintViolationException: could not execute statement"
            )
        case "maps":
            _flush_map(server, found, comes_alone=comes_alone)


def _flush_map(server: Server, found: Found, *, comes_alone: bool) -> None:
    """Up to 2.42 ``/api/metadata`` takes no map that shows something; 2.40 wants to know when a map was last changed."""
    views, version = found.document.get("mapViews", ()), server.version
    if comes_alone:
        if version is Version.V2_40 and not found.is_new and "lastUpdated" not in found.document:
            raise FlushError(
                "org.hibernate.PropertyValueException: not-null property references a null or transient value : "
                "org.hisp.dhis.mapping.Map.lastUpdated"
            )
        before = server.metadata.documents.get("maps", {}).get(found.id, {}).get("mapViews", ())
        there = {view.get("id") for view in before} - {None}
        for view in views:
            if view.get("id") in there:
                raise FlushError(
                    'ERROR: duplicate key value violates unique constraint "uk_1dw8gju4leg7iud4gpsr5r1ng"\n'
                    f"  Detail: Key (uid)=({view['id']}) already exists."
                )
        return
    if version.is_at_least(Version.V2_43):
        return
    for view in views:
        for is_there, field_name, target in (
            (view.get("legendSet"), "mapping.MapView.legendSet", "legend.LegendSet"),
            (view.get("dataDimensionItems"), "common.DataDimensionItem.indicator", "indicator.Indicator"),
        ):
            if is_there:
                raise FlushError(_transient(version, field_name, target))


def _transient(version: Version, field_name: str, target: str) -> str:
    if version.is_at_least(Version.V2_41):
        return (
            "org.hibernate.TransientPropertyValueException: object references an unsaved transient instance - save the "
            f"transient instance before flushing : org.hisp.dhis.{field_name} -> org.hisp.dhis.{target}"
        )
    return (
        "org.hibernate.TransientObjectException: object references an unsaved transient instance - save the transient "
        f"instance before flushing: org.hisp.dhis.{target}"
    )
