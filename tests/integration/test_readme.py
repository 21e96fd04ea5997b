"""What README and docs say can be done, done; what they point at, there."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import by_hand
from tests.support.paths import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")
START = (PROJECT / "docs" / "start-here.md").read_text(encoding="utf-8")
PAGES = [
    *(PROJECT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")),
    *sorted((PROJECT / "docs").glob("*.md")),
]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def console_block(holding: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", START, re.DOTALL)
    (block,) = [block for block in blocks if holding in block]
    return [line.removeprefix("$ ") for line in block.splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made of their words on GitHub."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_chapter_links(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)", page.read_text(encoding="utf-8"))
    assert [
        f"{file}#{chapter}"
        for file, chapter in links
        if chapter not in headings(page.parent / file if file else page)
    ] == []


def test_architecture_map() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = {-1: PROJECT}
    named = []
    for line in page.split("```")[1].strip().splitlines():
        depth = len(line) - len(line.lstrip())
        within = inner = folders[max(above for above in folders if above < depth)]
        for name in re.findall(
            r"(?:^|(?<= ))(?:[a-z0-9_]+/)+(?= )|(?<!/)\b[a-z0-9_]+\.(?:py|yaml)\b", f"{line} "
        ):
            if name.endswith("/"):
                inner = within / name
                folders = {above: each for above, each in folders.items() if above < depth} | {depth: inner}
            named.append(inner if name.endswith("/") else inner / name)
    assert len(named) > 40
    assert [each for each in named if not each.exists()] == []


def test_length() -> None:
    assert len(README.split()) <= 900


def test_make_targets() -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {
        target
        for page in PAGES
        for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", page.read_text(encoding="utf-8"))
    }
    assert {"demo", "test", "deploy", "credentials", "settings", "test-connection", "push"} <= named
    assert named - targets == set()


@pytest.mark.slow
def test_commands(tmp_path: Path) -> None:
    port = str(free_port())
    shutil.copy(PROJECT / "settings.yaml", tmp_path)
    script = ["set -euo pipefail", "trap 'kill $(jobs -p)' EXIT"]
    for line in console_block(holding="python -m sandbox.sample "):
        command = line.replace("uv run python", sys.executable).replace("8080", port)
        command = command.replace("uv run msupply-dhis2", f"{sys.executable} -m cli")
        script.append(command)
        if command.endswith("&"):
            script.append(f"until (echo > /dev/tcp/127.0.0.1/{port}) 2> /dev/null; do sleep 0.1; done")
    ran = subprocess.run(
        ["/bin/bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Connection successful" in ran.stdout
    counts = dict(re.findall(r"│ (\w+) +│ (\S+) +│", ran.stdout))
    assert int(counts["stored"]) == int(counts["values"]) > 1000


@pytest.mark.slow
def test_one_target(capfd: pytest.CaptureFixture[str]) -> None:
    assert by_hand.main() == 0
    shown = capfd.readouterr().out
    named = [line.split()[2] for line in shown.splitlines() if line.startswith("$ msupply-dhis2 ")]
    assert named == ["metadata", "metadata", "preview", "test-connection", "push"]
    counts = dict(re.findall(r"│ (\w+) +│ (\S+) +│", shown))
    assert int(counts["stored"]) == int(counts["values"]) > 1000


def test_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = subprocess.run(
            [sys.executable, "-m", "sandbox.dhis2", "--port", port],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"Port {port} cannot be used: Address already in use.")
    assert "Traceback" not in ran.stderr
