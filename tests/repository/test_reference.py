"""The six reference studies beside the settings of the reference's code, field by field, and how they differ.

Writes studies/REFERENCE.md: python -m tests.repository.test_reference
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from emma_tune.data import dataset
from emma_tune.stages.matrix import least_change
from emma_tune.study import Study
from emma_tune.study.file import load_study

STUDIES = Path(__file__).parents[2] / "studies"
TABLE, README = STUDIES / "REFERENCE.md", STUDIES / "README.md"
VICTIMS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "cub200": "CUB-200"}
SETTINGS = ("kl", "da")

WITHOUT_RESULTS = (
    "name",
    "resources",
    "store",
    "victim.train",  # true of every one that is trained
    "data_root",
    "on_bad_image",
    "background",
    "plugins",
    "victim.train",
    "attackers.soft.views",
    "search.seed",
)
"""Fields that change no result of these studies, or have no meaning where every value is tried."""

POOLS = {
    "cifar10_kl": "cifar100",
    "cifar10_da": "imagenet_cifar10",
    "cifar100_kl": "cifar10",
    "cifar100_da": "imagenet_cifar100",
    "cub200_kl": "caltech256",
    "cub200_da": "imagenet_cub200",
}
SWEEPS = {  # `seq` of run.sh: first, step, last λ
    "cifar10_kl": (0.0005, 0.0005, 0.03),
    "cifar10_da": (0.001, 0.001, 0.04),
    "cifar100_kl": (0.0001, 0.0005, 0.02),
    "cifar100_da": (0.0001, 0.0005, 0.05),
    "cub200_kl": (0.0001, 0.0005, 0.01),
    "cub200_da": (0.0001, 0.0005, 0.01),
}
ST_EPOCHS = (0, 10, 20, 30, 40)

HEAD = """# The six reference studies, field by field

Every field of [cifar10_kl.yaml](cifar10_kl.yaml) and the five others that can change a result, with what it
inherits. Two values are those of `kl / da`. Where the [reference](https://github.com/wu-dd/EMMA) has another
one, it stands in parentheses. These differences, and those that are no setting, are
[explained in a list](README.md#the-papers-scenarios). A test makes this table and compares the studies with it.

"""


def reference(name: str) -> dict[str, Any]:
    """What the reference's scripts and run.sh say, in the words of a study file."""
    of = name.split("_")[0]
    cub = of == "cub200"
    usual = {
        "lr": 0.01 if cub else 0.1,  # --lr
        "momentum": 0.9,
        "weight_decay": 5e-4,  # --wd
        "batch_size": 64 if cub else 256,  # --batch_size
        "init": "kaiming",  # resnet.py, resnet_meta.py; of torchvision's ResNet-50 the head alone
        "precision": "fp32",
        "compile": False,
    }
    query_view = {"augmentation": "crop_flip" if cub else "shift_flip", "smallest_crop": 0.08 if cub else "–"}
    deployed = {"model": "resnet50" if cub else "resnet34", "weights": "imagenet" if cub else "none"}  # load_model
    parts = {
        "victim": {
            **usual, **deployed, "epochs": 50 if cub else 200, "augmentation": "randaugment",
            "smallest_crop": 0.08 if cub else 0.2, "dataset": of, "limit": None, "image_size": 224 if cub else 32,
        },
        "queries": {"dataset": POOLS[name], "limit": None},
        # MetaResNet34 and MetaResNet50, both with a 3×3 stem
        "surrogate": {
            **usual, **query_view, "model": "resnet50_3x3" if cub else "resnet34", "weights": "none", "epochs": 50,
        },
        "defense": {
            "kind": "emma", "epochs": 50, "keep": "last", "min_change": 0.01 if of == "cifar10" else 1e-4,
            "patience": 3, "batch_size": usual["batch_size"], "precision": "fp32",
        },
        "attackers.soft": {**usual, **query_view, **deployed, "kind": "soft", "epochs": 50, "queries": None,
                           "when": "always"},
        "search": {"points": len(sweep(name)) * len(ST_EPOCHS), "sampler": "grid", "stop": "none"},
        "search.space": {
            "lambda": between(SWEEPS[name][::2]), "lr_gamma": "0.3" if of == "cifar10" else "1",
            "st_epoch": listed(ST_EPOCHS),
        },
    }  # fmt: skip
    fields = {f"{part}.{field}": value for part, of_part in parts.items() for field, value in of_part.items()}
    whole = {"attackers": "soft", "baselines": "", "seeds": "3407", "repeats": "0", "objectives": "", "limits": ""}
    return {**fields, **whole}


def sweep(name: str) -> list[float]:
    """Every λ of run.sh."""
    first, step, last = SWEEPS[name]
    return [round(first + step * i, 6) for i in range(int((last - first) / step + 1.0001))]


def resolved(study: Study) -> dict[str, Any]:
    """Every field of a study that can change a result, by its place, with what it inherits."""
    soft, hard = study.attackers["soft"], study.attackers["hard"]
    assert hard == soft.model_copy(update={"kind": "hard"}), "one line says what `hard` is"
    of = dataset(study.victim.dataset)
    own = {
        "attackers": listed(study.attackers),
        "baselines": listed(of.kind for of in study.baselines),
        "seeds": listed(study.seeds),
        "repeats": listed(study.repeats),
        "objectives": listed(study.objectives),
        "limits": listed(f"{name} ≤ {most}" for name, most in study.limits.bounds.items()),
    }
    found = dict(own)
    for field in (*Study.model_fields, "attackers.soft"):
        if field not in own:
            found |= flat(soft if field == "attackers.soft" else getattr(study, field), field)
    found["victim.image_size"] = study.victim.image_size or of.side
    found["defense.batch_size"] = study.defense.batch_size or study.surrogate.batch_size
    found["defense.precision"] = study.defense.precision or study.surrogate.precision
    found["defense.min_change"] = least_change(study.defense.min_change, classes=of.classes or 0)
    for part in ("surrogate", "attackers.soft"):
        if found[f"{part}.augmentation"] == "shift_flip":
            found[f"{part}.smallest_crop"] = "–"  # nothing is cropped out
    return {field: value for field, value in found.items() if not field.startswith(WITHOUT_RESULTS)}


def flat(value: Any, place: str) -> dict[str, Any]:
    """Every field below a place; a dimension of the search in one."""
    if place.startswith("search.space."):
        if value is None:  # nothing of it is searched
            return {}
        choices = getattr(value, "choices", None) or value.grid()
        return {place: listed(choices) if choices else between((value.low, value.high))}
    if not isinstance(value, BaseModel):
        return {place: value}
    found: dict[str, Any] = {}
    recorded = value.model_dump().keys()  # what is off, such as a second step, is left out
    for name, field in type(value).model_fields.items():
        if name not in recorded:
            continue
        found |= flat(getattr(value, name), f"{place}.{field.alias or name}")
    return found


def listed(items: Any) -> str:
    return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in items)


def between(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} … {bounds[1]:g}"


def rows() -> Iterator[tuple[str, list[str], bool]]:
    """Setting, what it is for each victim, and whether it differs from the reference anywhere."""
    ours = {name: resolved(load_study(STUDIES / f"{name}.yaml")) for name in POOLS}
    theirs = {name: reference(name) for name in POOLS}
    for field in ours["cifar10_kl"]:
        cells, differs = [], False
        for victim in VICTIMS:
            names = [f"{victim}_{setting}" for setting in SETTINGS]
            mine, wanted = ([of[name][field] for name in names] for of in (ours, theirs))
            differs |= mine != wanted
            cells.append(pair(mine) + (f" ({pair(wanted)})" if mine != wanted else ""))
        yield field, cells, differs


def pair(values: list[Any]) -> str:
    texts = [{None: "all", "": "–", False: "no"}.get(value, f"{value}") for value in values]
    return " / ".join(dict.fromkeys(texts))


def table() -> str:
    lines = [f"| setting | {' | '.join(VICTIMS.values())} |", "|---" * (1 + len(VICTIMS)) + "|"]
    lines += [f"| `{field}` | {' | '.join(cells)} |" for field, cells, _ in rows()]
    return HEAD + "\n".join(lines) + "\n"


def test_the_table_is_that_of_the_studies() -> None:
    assert TABLE.read_text() == table(), "write it with: python -m tests.repository.test_reference"


@pytest.mark.parametrize("name", POOLS)
def test_the_reference_says_something_of_every_field(name: str) -> None:
    assert resolved(load_study(STUDIES / f"{name}.yaml")).keys() == reference(name).keys()


def test_the_list_of_differences_is_that_of_the_settings() -> None:
    """Every field that differs is named in the list's last column, and every field named there differs."""
    section = README.read_text().split("## The paper's scenarios")[1].split("\n## ")[0]
    (listing,) = (block for block in section.split("\n\n") if block.startswith("| here | in the reference |"))
    named = [name for line in listing.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split("|")[-2])]
    assert sorted(named) == sorted(field for field, _, differs in rows() if differs)


@pytest.mark.parametrize("name", POOLS)
def test_a_grid_is_the_sweep_to_the_letter(name: str) -> None:
    grid, of = load_study(STUDIES / "grids" / f"{name}.yaml"), resolved(load_study(STUDIES / f"{name}.yaml"))
    wanted = reference(name)
    found = resolved(grid)
    assert grid.search.space.dimensions["lambda"].grid() == pytest.approx(sweep(name))
    smaller = {"defense.batch_size": 16, "attackers.soft.batch_size": 16} if name.startswith("cub") else {}
    own = ("search.sampler", "search.stop", "search.points", "search.space.lr_gamma", "seeds")
    expected = {**of, **{field: wanted[field] for field in own}}
    assert {**found, "search.space.lambda": of["search.space.lambda"]} == {**expected, **smaller}
    assert grid.proposals == wanted["search.points"]


if __name__ == "__main__":
    TABLE.write_text(table())
