"""The five folders, their one import name, and the pinned versions. Wheel and sdist are tried by .ci/smoke."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import metamotor

ROOT = Path(__file__).parents[1]
FOLDERS = ("robots", "envs", "meta", "deploy", "scripts")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_the_same_everywhere() -> None:
    assert importlib.metadata.version("metamotor") == metamotor.__version__
    releases = re.findall(r"^## Release (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == metamotor.__version__


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_a_link_and_a_package(folder: str) -> None:
    link = ROOT / "src" / "metamotor" / folder
    assert link.is_symlink(), f"{link} is not a link: check out with core.symlinks=true"
    assert link.resolve() == ROOT / folder
    module = importlib.import_module(f"metamotor.{folder}")
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / folder / "__init__.py"


@pytest.mark.parametrize("folder", [*FOLDERS, "tests"])
def test_every_folder_of_python_files_is_a_package(folder: str) -> None:
    folders = {path.parent for path in (ROOT / folder).rglob("*.py")}
    assert [str(path) for path in folders if not (path / "__init__.py").exists()] == []


def test_the_pinned_versions_are_ones_the_package_allows() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    declared = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    for requirement in map(Requirement, declared):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])
