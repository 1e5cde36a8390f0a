"""The card tells what was measured, and which attackers beat the defense."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.outputs.export import attackers_at
from emma_tune.outputs.export.card import inline
from emma_tune.results import StudyView
from tests.outputs.export.laboratory import Laboratory
from tests.results.desk import part

CLEAN = {"soft": 0.90, "hard": 0.80}
DEFENDED = {"soft": 0.70, "hard": 0.79, "inverse": 0.895}


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory) -> Laboratory:
    return Laboratory(tmp_path_factory.mktemp("card"), seeds=[1, 2])


def rows(card: str, header: str) -> dict[str, list[str]]:
    """The cells of a table by its first column."""
    lines = card[card.index(f"| {header} |") :].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in cells}


def test_a_card_has_the_figures(laboratory, tmp_path):
    desk = laboratory.desk
    clean = part(0.0, CLEAN)
    laboratory.answer(desk.finished("none", (clean, clean)))
    runs = [(part(0.5, {**DEFENDED, "soft": soft}, drop=0.1),) * 2 for soft in (0.60, 0.80)]
    number = desk.finished("emma", *runs, **{"lambda": 0.1, "lr_gamma": 1.0, "st_epoch": 0})
    laboratory.answer(number)
    out = tmp_path / "out"
    ended = CliRunner().invoke(app, ["export", str(desk.root), "--point", str(number), "--out", str(out)])
    assert ended.exit_code == 0, ended.output
    assert "its answers to 400 test images differ from the study's by " in ended.stdout
    assert "beaten by: hard, inverse" in ended.stdout
    assert f"{out}/model.onnx" in ended.stdout

    card = (out / "MODEL_CARD.md").read_text()
    assert f"# tiny, point {number}: emma" in card
    assert "emma (lambda 0.1, lr_gamma 1, st_epoch 0)" in card
    assert "over 2 seeds" in card
    assert "beyond the limits of the study: accuracy_drop ≤ 0.02" in card
    view = desk.view
    records = [view.record(view.planner.point(view.ledger.points[number]).responses[run]) for run in (1, 2)]
    measured = rows(card, "measure")
    l1 = [record.metrics["test.l1"] for record in records]
    assert measured["budget l1: mean ‖p′ − p‖₁, test images"] == [
        f"{l1[0]:.3f}", f"{sum(l1) / 2:.3f}", "0.000",
    ]  # fmt: skip
    nll = [record.metrics["test.nll"] for record in records]
    assert measured["NLL of p', nats, test images"][:2] == [f"{nll[0]:.4f}", f"{sum(nll) / 2:.4f}"]
    # Wilson's intervals on 400 images
    assert measured["worst clone’s accuracy, test images"] == ["89.5 ± 3.0 %", "89.5 ± 3.0 %", "90.0 ± 3.0 %"]

    assert "**Attackers that beat this defense: hard, inverse.**" in card
    assert rows(card, "attacker") == {
        "soft": ["the answers", "40", "70.0 %", "90.0 %", "no"],
        "hard": ["the answers", "40", "79.0 %", "80.0 %", "yes"],
        "inverse": ["the answers and the matrix T", "40", "89.5 %", "–", "yes"],
    }
    assert rows(card, "batch").keys() == {"1", "64"}
    assert all(re.fullmatch(r"\d+\.\d\d ms", cell) for row in rows(card, "batch").values() for cell in row)
    assert "uint8, (B, 1, 8, 8), gray, 0 … 255, B free" in card
    for file in ("model.pt2", "model.onnx", "defense.safetensors", "victim.safetensors"):
        assert f"\n`{file}`:\n" in card


@pytest.mark.parametrize(
    ("clones", "beating"),
    [
        ({"soft": 0.885, "hard": 0.789, "inverse": 0.889}, set()),
        ({"soft": 0.89, "hard": 0.79, "inverse": 0.89}, {"soft", "hard", "inverse"}),
        ({"soft": 0.95, "hard": 0.0, "inverse": 0.85}, {"soft"}),
    ],
)
def test_which_attackers_beat_a_defense(laboratory, clones, beating):
    desk = laboratory.desk
    clean, defended = part(0.0, CLEAN), part(0.5, clones)
    desk.finished("none", (clean, clean))
    number = desk.finished("emma", (defended, defended))
    view = desk.view
    attackers = attackers_at(view, view.ledger.points[number])

    assert {attacker.name for attacker in attackers if attacker.beats} == beating


def test_without_an_undefended_point_it_is_not_known(tmp_path):
    laboratory = Laboratory(tmp_path)
    number = laboratory.finished("argmax")
    view = StudyView(laboratory.folder)
    attackers = {attacker.name: attacker for attacker in attackers_at(view, view.ledger.points[number])}
    assert {attacker.beats for attacker in attackers.values()} == {None}
    assert {name for name, attacker in attackers.items() if attacker.attacks} == {"soft", "hard"}
    out = tmp_path / "out"
    ended = CliRunner().invoke(app, ["export", str(laboratory.folder), "--point", str(number), "--out", str(out)])
    assert ended.exit_code == 0, ended.output
    assert "beaten" not in ended.stdout
    card = (out / "MODEL_CARD.md").read_text()
    assert "**Which attackers beat this defense was not measured.**" in card
    assert "no finished point without a defense" in card
    assert rows(card, "attacker")["inverse"] == [
        "the answers and the matrix T",
        "40",
        "–",
        "–",
        "no matrix to know",
    ]
    assert rows(card, "attacker")["hard"] == ["the answers", "40", "80.0 %", "not measured", "not measured"]
    assert "over 1 seed;" in card


def test_names_are_no_markup():
    assert inline("also_soft-2.5") == "also_soft-2.5"
    evil = "a|b <img src=x> [c](d) `e` **f**\n# g"
    assert inline(evil) == r"a\|b \<img src=x\> \[c\](d) \`e\` \*\*f\*\* # g"
