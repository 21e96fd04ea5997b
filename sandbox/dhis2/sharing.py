"""Who may read and change an imported object, and who may enter its data: DHIS2's sharing."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

from sandbox.dhis2.metadata import Metadata, User

type Document = Mapping[str, Any]
"""One object as ``/api/metadata`` takes and gives it."""

NOT_SHARED = "--------"
SHARED_WITH_ALL = "rw------"
"""What an object gets that comes without sharing: everybody reads and changes it, nobody enters data."""


class Right(IntEnum):
    """A right; the number is the place of its letter in ``rwrw----``."""

    READ = 0
    WRITE = 1
    DATA_READ = 2
    DATA_WRITE = 3


def groups_of(metadata: Metadata, user: User) -> frozenset[str]:
    """Return the UIDs of the user groups that the user is in."""
    groups = metadata.documents.get("userGroups", {})
    own = metadata.documents.get("users", {}).get(user.uid, {})
    named = {reference["id"] for reference in own.get("userGroups", ())}
    members = (
        identifier
        for identifier, group in groups.items()
        if any(member["id"] == user.uid for member in group.get("users", ()))
    )
    return frozenset({*members, *(named & groups.keys())})


def has_right(document: Document, user: User, groups: frozenset[str], right: Right) -> bool:
    """Whether sharing gives the user that right to an object."""
    if user.is_superuser or "sharing" not in document:
        return True
    sharing = document["sharing"]
    if right in (Right.READ, Right.WRITE) and sharing.get("owner") == user.uid:
        return True
    texts = [sharing.get("public") or NOT_SHARED]
    texts += [each["access"] for each in sharing.get("users", {}).values() if each["id"] == user.uid]
    texts += [each["access"] for each in sharing.get("userGroups", {}).values() if each["id"] in groups]
    return any(text[right] != "-" for text in texts)


def data_writers(document: Document, metadata: Metadata, users: Iterable[User]) -> tuple[str, ...] | None:
    """Return the names of those who may enter data for the object; ``None`` is everyone."""
    if document["sharing"].get("public", NOT_SHARED)[Right.DATA_WRITE] == "w":
        return None
    return tuple(
        user.username
        for user in users
        if has_right(document, user, groups_of(metadata, user), Right.DATA_WRITE)
    )
