"""The verbs as `emma-tune --help` arranges them: in groups, in this order, with one example each."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import cleandoc
from typing import Any, NamedTuple

from typer.core import TyperGroup


class Verb(NamedTuple):
    """A verb in the help: the group it is listed in, and a command to type."""

    panel: str
    example: str


RUN, LOOK, DECIDE, DEPLOY, DATA = "Run", "Look", "Decide", "Deploy", "Data and machines"

VERBS = {
    "run": Verb(RUN, "emma-tune run studies/digits.yaml"),
    "resume": Verb(RUN, "emma-tune resume runs/digits"),
    "confirm": Verb(RUN, "emma-tune confirm runs/digits --repeats 3"),
    "status": Verb(LOOK, "emma-tune status runs/digits"),
    "front": Verb(LOOK, "emma-tune front runs/digits"),
    "points": Verb(LOOK, "emma-tune points runs/digits --csv > points.csv"),
    "plot": Verb(LOOK, "emma-tune plot runs/digits"),
    "report": Verb(LOOK, "emma-tune report runs/digits"),
    "compare": Verb(LOOK, "emma-tune compare runs/digits"),
    "measures": Verb(LOOK, "emma-tune measures runs/digits > measures.csv"),
    "ls": Verb(LOOK, "emma-tune ls runs"),
    "best": Verb(DECIDE, "emma-tune best runs/digits"),
    "export": Verb(DEPLOY, "emma-tune export runs/digits --best --out defended"),
    "responses": Verb(DEPLOY, "emma-tune responses runs/digits --point 0 --out answers.npz"),
    "init": Verb(DATA, "emma-tune init mystudy"),
    "schema": Verb(DATA, "emma-tune schema > study.schema.json"),
    "data": Verb(DATA, "emma-tune data list"),
    "doctor": Verb(DATA, "emma-tune doctor --quick"),
    "simulate": Verb(DATA, "emma-tune simulate studies/cifar10_kl.yaml --nodes 4 --gpus 8"),
    "track": Verb(DATA, "emma-tune track runs/digits --tensorboard logs"),
    "rm": Verb(DATA, "emma-tune rm runs/digits"),
    "gc": Verb(DATA, "emma-tune gc runs/store --dry-run"),
}


class Verbs(TyperGroup):
    """A command group that lists its commands as `VERBS` does, and prints every help text as it is written."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        unlike = sorted(self.commands.keys() ^ VERBS.keys())
        assert not unlike, f"expected a row in VERBS for each verb, and no other: {', '.join(unlike)}"
        order = list(VERBS)
        self.commands = dict(sorted(self.commands.items(), key=lambda item: order.index(item[0])))
        for name, command in self.commands.items():
            command.rich_help_panel = VERBS[name].panel  # type: ignore[attr-defined]
            command.epilog = f"Example: {VERBS[name].example}"
        _print_as_written(self.commands.values())


def _print_as_written(commands: Iterable[Any]) -> None:
    """Escape `[`, since rich would leave out `[default: …]` as markup, and join the lines of a paragraph."""
    for command in commands:
        for described in (command, *command.params):
            if getattr(described, "help", None):
                paragraphs = cleandoc(described.help).replace("[", r"\[").split("\n\n")
                described.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        if isinstance(command, TyperGroup):
            _print_as_written(command.commands.values())
