import json
from pathlib import Path

import pytest

from cli.__main__ import main
from cli.schema import json_schema
from cli.settings import ADVANCED_BYTES
from msupply_dhis2.settings import parse_settings
from sandbox.aws_on_moto import forget_clients
from tests.conftest import Aws
from tests.support.paths import PROJECT

SAMPLE = PROJECT / "settings.yaml"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    file = tmp_path / "settings.yaml"
    # As an officer leaves it in the end: switched on.
    switched_on = SAMPLE.read_text(encoding="utf-8").replace("use_dhis2: false", "use_dhis2: true")
    file.write_text(switched_on, encoding="utf-8")
    return file


def uploaded(aws: Aws, name: str = "/msupply-dhis2/settings") -> str:
    return aws.ssm.get_parameter(Name=name)["Parameter"]["Value"]


def nothing_is_uploaded(aws: Aws) -> bool:
    return not aws.ssm.describe_parameters()["Parameters"]


def test_complete(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "check", str(sample)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(
        f"{sample} is complete: Setup is 'Different data elements per item', 12 active rows (stock on hand, "
    )
    assert (
        "into data set MSUPPLY_STOCK at https://dhis2.example.org/hmis, periods YYYYMM. Include in DHIS2 data push "
        "(include_field) is not set: all items with an identifier are sent.\n"
    ) in said.out
    assert said.err == ""


def test_warnings(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample.write_text(sample.read_text().replace("https://dhis2", "http://dhis2"))
    assert main(["settings", "check", str(sample)]) == 0
    assert "\nWarning: NOT SAFE: URL begins with http://" in capsys.readouterr().out


def test_faults(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample.write_text(
        sample.read_text().replace("YYYYMM", "months").replace("round_off: false", "round_off: perhaps")
    )
    assert main(["settings", "check", str(sample)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    title, *faults = said.err.splitlines()
    assert title == f"{sample} has 2 faults:"
    assert [fault.split(" is ")[0].split(" cannot ")[0] for fault in faults] == [
        "  - Period format",
        "  - Round off",
    ]


def test_incomplete_when_off(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample.write_text("use_dhis2: off")
    assert main(["settings", "check", str(sample)]) == 0
    said = capsys.readouterr().out
    assert (
        "is valid while Use DHIS2 is off. Before it can be on, and for a dry run:\n  - URL is missing."
        in said
    )


def test_complete_when_off(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample.write_text(sample.read_text().replace("use_dhis2: true", "use_dhis2: false"))
    assert main(["settings", "check", str(sample)]) == 0
    assert capsys.readouterr().out.endswith("Use DHIS2 is off: nothing is sent yet.\n")


@pytest.mark.parametrize(("content", "part"), [(None, "cannot be read"), (b"\xff", "is not text in UTF-8")])
def test_unreadable_file(
    tmp_path: Path, content: bytes | None, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    if content is not None:
        file.write_bytes(content)
    assert main(["settings", "check", str(file)]) == 1
    assert part in capsys.readouterr().err


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "schema"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == json_schema()
    assert printed == (PROJECT / "settings.schema.json").read_text(encoding="utf-8")


def test_upload_compact(aws: Aws, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "upload", str(sample)]) == 0
    value = uploaded(aws)
    assert parse_settings(value) == parse_settings(sample.read_text())
    assert value == parse_settings(sample.read_text()).compact()
    (parameter,) = aws.ssm.describe_parameters()["Parameters"]
    assert parameter["Type"] == "String"
    said = capsys.readouterr().out
    assert f"Uploaded to the parameter /msupply-dhis2/settings: {len(value):,} bytes, version 1." in said
    assert "dollars" not in said
    assert "the first version: /msupply-dhis2/settings did not exist before" in said

    # Who uploads for a stack that is there is not asked whether it is.
    assert main(["settings", "upload", str(sample)]) == 0
    assert "first version" not in capsys.readouterr().out


def test_upload_replaces(aws: Aws, sample: Path) -> None:
    assert main(["settings", "upload", str(sample), "--stack", "other"]) == 0
    sample.write_text("use_dhis2: off\nround_off: on")
    assert main(["settings", "upload", str(sample), "--stack", "other"]) == 0
    assert main(["settings", "upload", str(sample), "--parameter", "/mine"]) == 0
    assert json.loads(uploaded(aws, "/other/settings")) == {"use_dhis2": False, "round_off": True}
    assert uploaded(aws, "/mine") == uploaded(aws, "/other/settings")


def test_faulty_upload(aws: Aws, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample.write_text("use_dhis2: on")
    assert main(["settings", "upload", str(sample)]) == 1
    assert "has 7 faults" in capsys.readouterr().err
    assert nothing_is_uploaded(aws)


def test_unusable_when_off(aws: Aws, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample.write_text("use_dhis2: off\nround_off: perhaps")
    assert main(["settings", "upload", str(sample)]) == 1
    assert "has 1 fault:\n  - Round off is 'perhaps'" in capsys.readouterr().err
    assert nothing_is_uploaded(aws)


def test_advanced_parameter(aws: Aws, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample.write_text(sample.read_text().replace("data_set_id: ", "data_set_id: " + "x" * 5000))
    assert main(["settings", "upload", str(sample)]) == 0
    assert aws.ssm.describe_parameters()["Parameters"][0]["Tier"] == "Advanced"
    assert "0.05 US dollars a month" in capsys.readouterr().out


def test_too_large(aws: Aws, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample.write_text(sample.read_text().replace("data_set_id: ", "data_set_id: " + "x" * ADVANCED_BYTES))
    assert main(["settings", "upload", str(sample)]) == 1
    assert "a parameter holds 8,192" in capsys.readouterr().err
    assert nothing_is_uploaded(aws)


@pytest.mark.usefixtures("aws")
def test_no_region(sample: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    forget_clients()
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(sample.with_name("nothing")))
    assert main(["settings", "upload", str(sample)]) == 1
    assert "Set AWS_REGION" in capsys.readouterr().err
