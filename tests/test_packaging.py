"""The wheel: what is in it, and that every layer of the package is in the contracts."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tfdiff

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tfdiff"
NO_DATA = {".pyc", ".pyo"}
CACHE = re.compile(r"(^|/)(__pycache__|\.[^/]+)/")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built without a network from what is in the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    """Modules and data (.tcss, the demos' scripts, explain texts, py.typed) are all packed, and nothing else."""
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in NO_DATA and not CACHE.search(path.relative_to(ROOT).as_posix())
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == wanted
    assert "tfdiff/py.typed" in packed
    assert "tfdiff/demos/mnist-mlp/a.py" in packed


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    """Return a file of the wheel's .dist-info."""
    (entry,) = (entry for entry in wheel.namelist() if entry.endswith(f".dist-info/{name}"))
    return wheel.read(entry).decode()


def test_metadata(wheel):
    """Version, supported Pythons, license and console script stand in the wheel."""
    text = metadata(wheel, "METADATA")
    assert f"\nVersion: {tfdiff.__version__}\n" in text
    assert set(re.search(r"\nRequires-Python: (.*)\n", text).group(1).split(",")) == {">=3.10", "<3.14"}
    assert "\nLicense-Expression: Apache-2.0\n" in text
    assert "tfdiff = tfdiff.cli:main" in metadata(wheel, "entry_points.txt")


def test_opening_a_trace_needs_no_tensorflow(wheel):
    """TensorFlow is asked for by the extra tf only."""
    needs = re.findall(r"\nRequires-Dist: (.*)", metadata(wheel, "METADATA"))
    of_tensorflow = [need for need in needs if need.startswith(("tensorflow", "tf_keras", "tf-keras"))]
    assert of_tensorflow
    assert all("extra == 'tf'" in need for need in of_tensorflow)
    assert {re.match(r"[\w-]+", need).group() for need in needs if "extra" not in need} == {
        "h5py",
        "numpy",
        "scipy",
        "textual",
    }


def test_installed_version_is_the_package_version():
    """Where tfdiff is installed, the metadata agrees with `tfdiff.__version__`."""
    try:
        installed = importlib.metadata.version("tfdiff")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("runs from a checkout that is not installed")
    assert installed == tfdiff.__version__


def test_changelog_has_this_version():
    """The newest entry of the changelog is this version or what comes after it."""
    newest = re.search(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest.group(1) in (tfdiff.__version__, "Unreleased")


def test_every_ruff_ignore_has_a_reason():
    """Each rule that is switched off says why, on its line."""
    text = (ROOT / "pyproject.toml").read_text()
    rules = re.findall(r'^\s+"([A-Z]+\d*)",(.*)$', text, re.MULTILINE)
    assert len(rules) > 10
    assert [rule for rule, comment in rules if not re.match(r" # \w", comment)] == []


def test_no_module_is_too_long():
    """A module has at most 400 lines: longer ones are more than one thing."""
    lines = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {str(path): count for path, count in lines.items() if count > 400} == {}
