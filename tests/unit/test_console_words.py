"""The catalogue of the console's sentences has what is said, and nothing else."""

import re

from cli.console.words import WORDS
from tests.support.paths import PROJECT

SAID = re.compile(r"""\b(?:t|say)\(\s*f?["']([a-z0-9_.]+)["'{]""")


def test_catalogue_is_exact() -> None:
    files = [file for file in (PROJECT / "cli/console").rglob("*") if file.suffix in {".py", ".html"}]
    said = {key for file in files for key in SAID.findall(file.read_text(encoding="utf-8"))}
    # The rest of such a key is a name: t("column." ~ name).
    beginnings = tuple(key for key in said if key.endswith("."))
    assert said - set(beginnings) <= set(WORDS)
    assert all(any(key.startswith(beginning) for key in WORDS) for beginning in beginnings)
    assert not {key for key in WORDS if key not in said and not key.startswith(beginnings)}
