"""Plug-ins of installed packages: named by package and version, found by entry points, read as text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emma_tune.defenses import DEFENSES
from emma_tune.plan.materials.methods import execute_plugins
from emma_tune.plugins.declarations import PluginError
from emma_tune.plugins.known import KNOWN, know
from emma_tune.plugins.loading import load
from emma_tune.study.file import StudyError, load_study
from tests.plugins import files

RELATIVE = "from .constants import LEAST\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that installs a version of a package in a folder of the path."""
    site = tmp_path / "site"

    def install(version: str) -> None:
        for before in site.glob("*.dist-info"):
            before.rename(tmp_path / f"gone-{before.name}")
        info = f"thief_pack-{version}.dist-info"
        for place, content in {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: thief-pack\nVersion: {version}\n",
            f"{info}/entry_points.txt": "[emma_tune.plugins]\nall = thief_pack.methods\n",
            "thief_pack/__init__.py": "",
            "thief_pack/constants.py": "LEAST = 1e-12\n",
            "thief_pack/methods.py": f"{RELATIVE}{files.METHODS}",
        }.items():
            (site / place).parent.mkdir(parents=True, exist_ok=True)
            (site / place).write_text(content)

    monkeypatch.syspath_prepend(str(site))
    install("1.2")
    yield install
    for name in [name for name in sys.modules if name.startswith("thief_pack")]:
        del sys.modules[name]


def test_a_package_is_read_without_being_imported_and_executed_by_a_run(installed, study_file):
    study = load_study(study_file(plugins=["thief-pack==1.2"], baselines=["flatter"]))
    assert not any(name.startswith("thief_pack") for name in sys.modules)
    assert [of.file for of in study.plugins] == ["thief-pack==1.2"]
    execute_plugins(study, trusted=True)
    assert DEFENSES["flatter"].function.__globals__["LEAST"] == 1e-12
    assert sys.modules["thief_pack.constants"].LEAST == 1e-12


def test_the_version_is_in_the_hash_and_checked_where_it_is_executed(installed, study_file):
    file = study_file(plugins=["thief-pack==1.2"], baselines=["flatter"])
    (plugin,) = (of.plugin for of in load_study(file).plugins)
    installed("1.3")
    del KNOWN[plugin.hash]
    with pytest.raises(PluginError, match=r"expected the package thief-pack 1\.2, found 1\.3 installed"):
        load(know(plugin.content, "as in a store"))
    file.write_text(file.read_text().replace("1.2", "1.3"))
    assert load_study(file).plugins[0].hash != plugin.hash


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("thief-pack==1.1", r"expected the package thief-pack 1\.1, found 1\.2 installed"),
        ("no-such-thief==1.0", r"expected the package no-such-thief 1\.0, found none installed"),
        ("pytest==" + pytest.__version__, r"expected a package with entry points emma_tune\.plugins, found none"),
    ],
)
def test_a_package_that_is_not_there_is_one_line(installed, study_file, entry, message):
    with pytest.raises(StudyError, match=message) as raised:
        load_study(study_file(plugins=[entry]))
    assert len(str(raised.value).splitlines()) == 1
