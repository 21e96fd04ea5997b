"""Bytecode in the layer."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.bytecode import RUNTIME, BytecodeError, add_bytecode
from tests.support.paths import PROJECT


def layer_with(folder: Path, **modules: str) -> Path:
    layer = folder / "python"
    for name, source in modules.items():
        path = layer / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return layer


def bytecode_of(layer: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in layer.rglob("*.pyc")}


def test_source_date_is_ignored(tmp_path: Path) -> None:
    layer = layer_with(tmp_path, module="SAID = 'compiled'")
    add_bytecode(layer)
    source = layer / "module.py"
    source.write_text("SAID = 'source'")
    os.utime(source, (315_532_800, 315_532_800))  # 1980-01-01, what sam deploy writes
    command = [sys.executable, "-c", "import module; print(module.SAID)"]
    ran = subprocess.run(command, env={"PYTHONPATH": str(layer)}, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "compiled"


def test_other_python_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_with(tmp_path, module="SAID = 'compiled'")
    monkeypatch.setattr("sandbox.bytecode.RUNTIME", (3, 99))
    with pytest.raises(BytecodeError, match=r"This is Python 3\.\d+, and the functions run on 3\.99"):
        add_bytecode(layer)
    assert bytecode_of(layer) == set()


def test_needs_no_package(tmp_path: Path) -> None:
    layer = layer_with(tmp_path, module="SAID = 'compiled'")
    # Without site-packages, as python3 is where only sam is installed besides.
    command = [sys.executable, "-S", "-m", "sandbox.bytecode", str(layer)]
    subprocess.run(command, cwd=PROJECT, env={}, capture_output=True, check=True)
    assert bytecode_of(layer) == {"module"}


def test_python_of_template() -> None:
    runtimes = set(re.findall(r"Runtime: python(\S+)", (PROJECT / "template.yaml").read_text()))
    assert runtimes == {".".join(map(str, RUNTIME))}


def test_reproducible(tmp_path: Path) -> None:
    layers = [layer_with(tmp_path / place, module="def what(): ...") for place in ("here", "there")]
    for layer in layers:
        add_bytecode(layer)
    here, there = ([path.read_bytes() for path in layer.rglob("*.pyc")] for layer in layers)
    assert here == there
    assert b"/opt/python/module.py" in here[0]


def test_unused_modules_get_none(tmp_path: Path) -> None:
    layer = layer_with(tmp_path, sqlalchemy__orm__mapper="A = 1", sqlalchemy__sql__select="A = 1")
    add_bytecode(layer)
    assert bytecode_of(layer) == {"select"}


def test_missing_layer(tmp_path: Path) -> None:
    with pytest.raises(BytecodeError, match="make build"):
        add_bytecode(tmp_path / "python")


def test_broken_module(tmp_path: Path) -> None:
    with pytest.raises(BytecodeError, match="could not be compiled"):
        add_bytecode(layer_with(tmp_path, module="def"))
