"""9. Nothing downloaded or written by others is unpickled or executed."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest
import torch

import emma_tune
from emma_tune.artifact import Artifact
from emma_tune.ledger import read_ledger
from emma_tune.store import CorruptArtifactError, Store
from emma_tune.study_file import StudyError, load_study

SOURCES = sorted(Path(emma_tune.__file__).parent.rglob("*.py"))


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def bomb(tmp_path):
    content = pickle.dumps(Bomb(tmp_path / "exploded"))
    yield content
    assert not (tmp_path / "exploded").exists()


def test_pickles_in_the_store_are_not_loaded(bomb, tmp_path):
    store = Store(tmp_path / "store")
    store.commit("matrix", "k", Artifact({"matrix": torch.eye(2)}), recipe={}, provenance={})
    (store.folder("matrix", "k") / "tensors.safetensors").write_bytes(bomb)
    with pytest.raises(CorruptArtifactError):
        store.fetch("matrix", "k")
    (store.folder("matrix", "k") / "record.json").write_bytes(bomb)
    with pytest.raises(CorruptArtifactError):
        store.record("matrix", "k")
    (store.root / "partial" / "k").mkdir(parents=True)
    (store.root / "partial" / "k" / "state.safetensors").write_bytes(bomb)
    assert store.load_state("k") is None


def test_pickles_in_a_ledger_are_lines_that_cannot_be_read(bomb, tmp_path):
    (tmp_path / "ledger.jsonl").write_bytes(bomb + b"\n")
    ledger = read_ledger(tmp_path / "ledger.jsonl")
    assert ledger.points == {}
    assert ledger.problems


def test_a_study_file_cannot_call_anything(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(f"name: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
    with pytest.raises(StudyError, match="expected YAML"):
        load_study(file)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.name))
def test_the_code_has_no_way_to_execute_data(source):
    forbidden_modules = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    forbidden_calls = {"eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load", "numpy.load", "np.load"}
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            )
            assert not {name.split(".")[0] for name in names} & forbidden_modules
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in forbidden_calls
