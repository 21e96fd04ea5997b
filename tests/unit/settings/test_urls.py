"""Which machines the address of DHIS2 must not lead to."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msupply_dhis2.errors import CredentialsError, SettingsError
from msupply_dhis2.settings import parse_settings
from msupply_dhis2.settings.credentials import parse_database_address
from msupply_dhis2.settings.urls import is_forbidden


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",  # instance metadata
        "169.254.170.2",  # credentials of a container
        "169.254.100.1",  # Lambda's own interface
        "fd00:ec2::254",
        "[fd00:ec2::254]",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "0.0.0.0",  # noqa: S104 - no server binds it here
        "0.0.0.1",
        "::169.254.169.254",
        "::7f00:1",
        "::ffff:0:169.254.169.254",
        "64:ff9b:1::a9fe:a9fe",
        "240.0.0.1",
        "255.255.255.255",
        "169.254.170.23",  # credentials of a pod
        "fd00:ec2::23",
        "224.0.0.1",
    ],
)
def test_metadata_addresses_forbidden(host: str) -> None:
    assert is_forbidden(host)


@pytest.mark.parametrize(
    "host", ["10.1.2.3", "172.16.0.9", "192.168.1.20", "fd12:3456::9", "8.8.8.8", "dhis2.example.org", ""]
)
def test_ordinary_hosts_allowed(host: str) -> None:
    assert not is_forbidden(host)


@given(st.ip_addresses(v=4, network="169.254.0.0/16"))
def test_link_local_spellings(address: IPv4Address) -> None:
    assert is_forbidden(str(address))
    assert is_forbidden(f"::ffff:{address}")
    assert is_forbidden(f"64:ff9b::{int(address) >> 16:x}:{int(address) & 0xFFFF:x}")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    assert not is_forbidden(host)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "push")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert is_forbidden(host)
    # Beside an emulator of AWS on the same machine a stand-in of DHIS2 is allowed.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    assert not is_forbidden(host)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://vpce-0a1b.execute-api.eu-west-1.vpce.amazonaws.com")
    assert is_forbidden(host)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]/", "http://0.0.0.0"]
)
def test_setting_url_refused(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings(f"url: {url}")
    assert "URL is an address of AWS or of the function itself." in str(refused.value)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://dhis2.example.org", "gopher://dhis2.example.org"]
)
def test_setting_url_protocols(url: str) -> None:
    with pytest.raises(SettingsError, match="is not a web address"):
        parse_settings(f"url: {url}")


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://reader:x@{host}:5432/omsupply",
        "postgresql://reader:x@db.example.org,{host}:5432/omsupply",
        '{{"host": "{host}", "dbname": "omsupply", "username": "reader", "password": "x"}}',
    ],
)
def test_database_host_refused(secret: str) -> None:
    assert parse_database_address(secret.format(host="10.1.2.3")).database == "omsupply"
    with pytest.raises(CredentialsError, match="address of AWS or of the function itself"):
        parse_database_address(secret.format(host="169.254.169.254"))


@pytest.mark.parametrize(
    "option",
    ["service=x", "passfile=/etc/passwd", "sslcert=/a", "sslkey=/a", "sslrootcert=/a", "hostaddr=::1"],
)
def test_database_options_refused(option: str) -> None:
    with pytest.raises(CredentialsError, match="something after the '\\?' other than"):
        parse_database_address(f"postgresql://reader:x@db.example.org/omsupply?{option}")
