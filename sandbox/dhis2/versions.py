"""Which DHIS2 the stand-in is, and in what ways the versions differ."""

from enum import StrEnum


class Version(StrEnum):
    """The versions that the stand-in can be.

    2.40 to 2.43 answer as the recorded servers do; 2.37 is 2.40 with the differences that docs/dhis2.md names.
    """

    V2_37 = "2.37"
    V2_40 = "2.40"
    V2_41 = "2.41"
    V2_42 = "2.42"
    V2_43 = "2.43"

    @property
    def minor(self) -> int:
        """The number after the dot: 42."""
        return int(self.value.partition(".")[2])

    def is_at_least(self, other: "Version") -> bool:
        """Whether it is this version or a later one."""
        return self.minor >= other.minor

    @property
    def release(self) -> str:
        """The full number, as ``/api/system/info`` gives it."""
        return _RELEASES[self]

    @property
    def imports_by_group(self) -> bool:
        """Whether one wrong row rejects its whole data set group (2.43) instead of only itself."""
        return self.is_at_least(Version.V2_43)

    @property
    def inverts_input_periods(self) -> bool:
        """Whether a data input period is refused while it is open, and taken while it is closed (2.43.0 and 2.43.1)."""
        return self.release.startswith(("2.43.0", "2.43.1"))

    @property
    def sends_bare_summary(self) -> bool:
        """Whether a push is answered 200 with the import summary itself and nothing around it (2.37)."""
        return not self.is_at_least(Version.V2_40)

    @property
    def counts_unchanged_as_updated(self) -> bool:
        """Whether a row that changes nothing counts as updated; otherwise it counts as ignored."""
        return self.sends_bare_summary or self.is_at_least(Version.V2_43)

    @property
    def has_colliding_imports(self) -> bool:
        """Whether of two imports in flight that share a key one fails (2.41 and 2.42)."""
        return self in (Version.V2_41, Version.V2_42)

    @property
    def has_tokens(self) -> bool:
        """Whether there are personal access tokens (from 2.38)."""
        return self.is_at_least(Version.V2_40)

    @property
    def has_password_grant(self) -> bool:
        """Whether OAuth2 hands out access tokens for a password (up to 2.41)."""
        return not self.is_at_least(Version.V2_42)

    @property
    def runs_on_tomcat(self) -> bool:
        """Whether the container's own pages are Tomcat's HTML (2.42) or Jetty's JSON (before)."""
        return self.is_at_least(Version.V2_42)

    @property
    def newest_api(self) -> int:
        """The highest number that ``/api/NN/…`` may have. The recorded 2.40 and 2.41 take 42 too."""
        return max(self.minor, Version.V2_42.minor) if self.is_at_least(Version.V2_40) else self.minor

    @property
    def login_page(self) -> str:
        """Where a request without a login is sent."""
        return _LOGIN_PAGES[self]


_RELEASES = {
    Version.V2_37: "2.37.10",
    Version.V2_40: "2.40.12",
    Version.V2_41: "2.41.9.1",
    Version.V2_42: "2.42.5.2",
    Version.V2_43: "2.43.1",
}

_LOGIN_PAGES = {
    Version.V2_37: "/dhis-web-commons/security/login.action",
    Version.V2_40: "/dhis-web-commons/security/login.action",
    Version.V2_41: "/dhis-web-login",
    Version.V2_42: "/dhis-web-login/",
    Version.V2_43: "/login/",
}
