"""The verbs start light, and the schema is the study file's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.models import MODELS
from emma_tune.study.file import load_study

HEAVY = ("torch", "ray", "optuna", "pandas", "numpy", "sklearn", "matplotlib", "pydantic", "rich.live")


@pytest.mark.parametrize("module", ["emma_tune", "emma_tune.cli"])
def test_nothing_heavy_is_imported_before_it_is_needed(emma, module):
    ended = emma.python("-c", f"import {module}, sys, json; print(json.dumps(sorted(sys.modules)))")
    assert ended.returncode == 0, ended.stderr
    assert not set(json.loads(ended.stdout)) & set(HEAVY)


def test_a_run_says_what_it_will_do_before_anything_heavy_is_imported(emma, study_file):
    file = study_file(search={"points": 12})
    script = (
        "import sys; from emma_tune.cli import app, run; from emma_tune.tuning.opening import opening; "
        "from emma_tune.study.file import load_study; from pathlib import Path; "
        "print(opening(load_study(Path(sys.argv[1])), Path('runs/tiny'), sys.argv[2] or None, None)); "
        "assert not {'torch', 'ray', 'optuna', 'pandas', 'numpy', 'matplotlib', 'rich.live'} & set(sys.modules)"
    )
    ended = emma.python("-c", script, file, "")
    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(
        r"tiny: 14 points \(emma and 2 baselines\), attackers soft, hard; "
        r"\d+ tasks? at a time; folder runs/tiny\n",
        ended.stdout,
    )
    assert "; on the cluster at a:6379; folder " in emma.python("-c", script, file, "a:6379").stdout


def test_the_schema_describes_every_field_of_the_example(emma):
    schema = json.loads(emma("schema").stdout)
    assert schema["additionalProperties"] is False
    assert {"name", "victim", "queries", "search", "attackers"} <= set(schema["properties"])
    victim = schema["$defs"]["Victim"]["properties"]
    assert victim["model"]["enum"] == sorted(MODELS)
    assert {"resnet8", "wrn40_2", "torchvision:resnet18", "resnet50"} <= set(victim["model"]["enum"])
    assert "digits" in victim["dataset"]["anyOf"][0]["enum"]
    assert re.match(victim["dataset"]["anyOf"][1]["pattern"], "folder:/my/birds")
    assert victim["lr"]["exclusiveMinimum"] == 0
    assert "lambda" in schema["$defs"]["Space"]["properties"]


def test_init_writes_a_study_that_can_be_run_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMMA_TUNE_DATA", raising=False)

    def emma(*arguments):
        return CliRunner().invoke(app, arguments)

    assert "emma-tune run mine.yaml" in emma("init", "mine").stdout
    study = load_study(Path("mine.yaml"))
    assert (study.name, study.victim.dataset, study.queries.dataset) == ("mine", "digits", "letters")
    assert emma("run", "mine.yaml", "--dry-run").exit_code == 0
    text = Path("mine.yaml").read_text()
    for section in yaml.safe_load(text):
        before = text.partition(f"\n{section}:")[0].splitlines()[-1]
        assert section == "name" or before.startswith("# "), f"{section} has no comment"
    Path("mine.yaml").write_text("name: precious")
    ended = emma("init", "mine")
    assert (ended.exit_code, Path("mine.yaml").read_text()) == (2, "name: precious")
    assert ended.stderr == "mine.yaml: expected no file, found one; choose another with --out FILE\n"
    assert emma("init", "mine", "--out", "other.yaml").exit_code == 0
    assert "emma-tune run other.yaml" in Path("other.yaml").read_text()
    assert emma("init", "my study").exit_code == 2
    ended = emma("init", "mine", "--out", "nowhere/mine.yaml")
    assert "expected a file that can be written, found No such file or directory" in ended.stderr


def test_front_is_told_one_format(emma, tmp_path):
    ended = emma("front", tmp_path, "--json", "--csv")
    assert ended.returncode == 2
    assert "found both" in ended.stderr
