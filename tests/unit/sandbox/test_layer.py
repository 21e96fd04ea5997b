"""What is done to a built layer."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.layer import RUNTIME, UNUSED, LayerError, finish
from tests.support.paths import PROJECT
from tests.unit.test_imports import FUNCTIONS, loaded_by


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
    finish(layer)
    source = layer / "module.py"
    source.write_text("SAID = 'source'")
    os.utime(source, (315_532_800, 315_532_800))  # 1980-01-01, what sam deploy writes
    command = [sys.executable, "-c", "import module; print(module.SAID)"]
    ran = subprocess.run(command, env={"PYTHONPATH": str(layer)}, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "compiled"


def test_other_python_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_with(tmp_path, module="SAID = 'compiled'")
    monkeypatch.setattr("sandbox.layer.RUNTIME", (3, 99))
    with pytest.raises(LayerError, match=r"This is Python 3\.\d+, and the functions run on 3\.99"):
        finish(layer)
    assert bytecode_of(layer) == set()


def test_needs_no_package(tmp_path: Path) -> None:
    layer = layer_with(tmp_path, module="SAID = 'compiled'")
    # Without site-packages, as python3 is where only sam is installed besides.
    command = [sys.executable, "-S", "-m", "sandbox.layer", str(layer)]
    subprocess.run(command, cwd=PROJECT, env={}, capture_output=True, check=True)
    assert bytecode_of(layer) == {"module"}


def test_python_of_template() -> None:
    runtimes = set(re.findall(r"Runtime: python(\S+)", (PROJECT / "template.yaml").read_text()))
    assert runtimes == {".".join(map(str, RUNTIME))}


def test_reproducible(tmp_path: Path) -> None:
    layers = [layer_with(tmp_path / place, module="def what(): ...") for place in ("here", "there")]
    for layer in layers:
        finish(layer)
    here, there = ([path.read_bytes() for path in layer.rglob("*.pyc")] for layer in layers)
    assert here == there
    assert b"/opt/python/module.py" in here[0]


def test_unused_modules_get_none(tmp_path: Path) -> None:
    layer = layer_with(tmp_path, sqlalchemy__orm__mapper="A = 1", sqlalchemy__sql__select="A = 1")
    finish(layer)
    assert bytecode_of(layer) == {"select"}


def test_unused_parts_go(tmp_path: Path) -> None:
    layer = layer_with(
        tmp_path, sqlalchemy__testing__suite="A = 1", yaml__cyaml="A = 1", yaml__loader="A = 1"
    )
    (layer / "yaml" / "_yaml.cpython-313-x86_64-linux-gnu.so").touch()
    finish(layer)
    assert {path.name for path in layer.rglob("*") if path.suffix in {".py", ".so"}} == {"loader.py"}


def test_no_unused_part_is_loaded() -> None:
    for function in FUNCTIONS:
        loaded = {module.replace(".", "/") for module in loaded_by(function)}
        for part in UNUSED:
            # This machine's PyYAML has its fast loader, which is loaded where it is there.
            if "yaml" not in part:
                assert not [module for module in loaded if module.startswith(part)], (function, part)


def test_missing_layer(tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="make build"):
        finish(tmp_path / "python")


def test_broken_module(tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="could not be compiled"):
        finish(layer_with(tmp_path, module="def"))
