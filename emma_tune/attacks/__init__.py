"""Attacks: what an attacker makes of the answers it gets. One file each, one row each in this table.

An attack turns answers into targets and a loss; training the clone on them is `stages/attacker.py`, and asking in
rounds `stages/querying/`. Attacks know neither images nor studies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:  # the table is read where nothing is computed
    from torch import Tensor

    from emma_tune.attacks.lesson import Lesson, Loot


Asks = Literal["pool", "views", "again", "chosen", "made", "part"]
"""What an attacker asks:

- `pool`: its queries.
- `views`: several augmented views of each query; it uses the mean of their answers.
- `again`: each query several times; it uses the mean of the answers.
- `chosen`: queries of the pool that its clone chooses, in rounds.
- `made`: images of its own making, in rounds.
- `part`: a part of the pool; it learns from the other images without answers.
"""

FEW_PER_CLASS = 5
"""Images a class that an attacker is assumed to have labels of; among those that the victim was trained on."""

UNANSWERED = 2
"""Batches of images that were not asked, each in two views, beside a batch of those that were (`part`)."""


@dataclass(frozen=True)
class Attack:
    """A kind of attack.

    Attributes:
        where: `module:function`, what the attacker got (`Loot`) → what its clone is trained on (`Lesson`).
        knows: what it is assumed to know or to have.
        needs_matrix: there is nothing to attack unless the defense is a matrix.
        asks: what it asks.
        labeled: whether it asks a few labeled images of the victim's kind, besides or to begin with.
        rounds: how many clones it trains, one after the other, where a study does not say.
        fields: the fields of a study's attacker that it uses and not every kind does.
        knows_defense: how much of the defense it knows, unless a study says less: `all` of it, or `gate`: gate and
            second step, if there are any; "" if nothing.
        unanswered: `module:function`, `Lesson` → `Lesson`, of one that learns from unanswered images, too.
        version: of `where` and `unanswered`; part of the recipes of its clones unless it is 1. Raised when they
            make something else of the same answers, by more than another processor or number of threads would.
    """

    where: str
    knows: str
    needs_matrix: bool = False
    asks: Asks = "pool"
    labeled: bool = False
    rounds: int = 1
    fields: tuple[str, ...] = ()
    knows_defense: Literal["", "gate", "all"] = ""
    unanswered: str = ""
    version: int = 1

    def with_targets_of(self, other: Attack) -> Attack:
        """Return this attack with clones that are trained on what another one makes of the answers.

        It asks what this one asks, and knows what both know.
        """
        more = "" if other.knows == "the answers" else other.knows.removeprefix("the answers and ")
        return replace(
            self,
            where=other.where,
            version=self.version + other.version - 1,
            knows=f"{self.knows}, and {more}" if more else self.knows,
            needs_matrix=other.needs_matrix,
            fields=(*self.fields, *other.fields),
            knows_defense=other.knows_defense,
        )

    def learn(self, loot: Loot) -> Lesson:
        """Return what a clone is trained on."""
        lesson = cast("Callable[[Loot], Lesson]", resolve_name(self.where))(loot)
        if not self.unanswered:
            return lesson
        return cast("Callable[[Lesson], Lesson]", resolve_name(self.unanswered))(lesson)

    def budget(self, queries: int | None, pool: int) -> int:
        """Return how many queries it may send; None is as many as the pool has, which bounds those of the pool."""
        return queries or pool if self.asks == "made" else min(queries or pool, pool)

    def by_round(self, queries: int, *, rounds: int, few: int) -> list[int]:
        """Count the answers that the clone of each round is trained on; rounds that would add none are left out.

        Args:
            queries: how many it may ask in all.
            rounds: how many clones it trains.
            few: labeled images there are.
        """
        match self.asks:
            case "chosen":
                return sorted({queries * (number + 1) // rounds for number in range(rounds)} - {0, 1} | {queries})
            case "made":  # each image is moved once a round
                return sorted({min(queries, few * 2**number) for number in range(rounds)})
        return [queries]

    def asked(self, queries: int, *, rounds: int, few: int, views: int) -> int:
        """Count the answers that it gets at most; arguments as of `by_round`, and the views of each query."""
        answers = self.by_round(queries, rounds=rounds, few=few)[-1]
        if self.asks in ("views", "again"):
            answers *= views
        return answers + (few if self.labeled and self.asks != "made" else 0)


_HERE = "emma_tune.attacks"

ATTACKS: dict[str, Attack] = {
    "soft": Attack(f"{_HERE}.soft:learn", "the answers"),
    "hard": Attack(f"{_HERE}.hard:learn", "the answers"),
    "inverse": Attack(
        f"{_HERE}.inverse:learn",
        "the answers and the matrix T",
        needs_matrix=True,
        knows_defense="gate",
        fields=("knows",),
    ),
    "forward": Attack(
        f"{_HERE}.forward:learn",
        "the answers and the matrix T",
        needs_matrix=True,
        knows_defense="gate",
        fields=("knows",),
    ),
    "estimated": Attack(
        f"{_HERE}.estimated:learn", "the answers, and those to five labeled images a class", labeled=True
    ),
    "smoothed": Attack(
        f"{_HERE}.smoothed:learn", "the answers to several views of each query", asks="views", fields=("views",)
    ),
    "average": Attack(
        f"{_HERE}.average:learn",
        "the answers to each query, asked several times",
        asks="again",
        fields=("views",),
    ),
    "active": Attack(
        f"{_HERE}.active:learn",
        "the answers to queries that its clone chooses",
        asks="chosen",
        rounds=10,
        fields=("rounds", "choose", "targets"),
    ),
    "jacobian": Attack(
        f"{_HERE}.jacobian:learn",
        "the answers to five images a class of the victim's kind, and to changed copies of them",
        asks="made",
        labeled=True,
        rounds=6,
        fields=("rounds", "epsilon", "targets"),
    ),
    "semi": Attack(
        f"{_HERE}.soft:learn",
        "the answers to a part of its queries, and the others without answers",
        asks="part",
        fields=("targets",),
        unanswered=f"{_HERE}.semi:consistently",
    ),
    "bayes": Attack(
        f"{_HERE}.bayes:learn", "the answers and the defense", knows_defense="all", fields=("knows",), version=3
    ),
    "restored": Attack(
        f"{_HERE}.restored:learn", "the answers and the defense", knows_defense="all", fields=("knows",), version=2
    ),
    "selective": Attack(
        f"{_HERE}.selective:learn",
        "the answers and the gate, if there is one",
        knows_defense="gate",
        fields=("knows", "confidence"),
    ),
}
"""By name."""


def kinds_with(field: str) -> list[str]:
    """Return the attackers that use a field of a study; all of them in the order of the table."""
    return [kind for kind, attack in ATTACKS.items() if field in attack.fields]


PLAIN = "soft"
"""The attacker that trains on the answers as they are."""

AGAINST = {name: f"{_HERE}.differentiable:{name}" for name in (PLAIN, "inverse", "bayes")}
"""Attackers that T can be learned against: where what their clones train on is a function of T."""


def guess_of(name: str) -> Callable[..., Tensor]:
    """Return the function of a row of `AGAINST`."""
    return cast("Callable[..., Tensor]", resolve_name(AGAINST[name]))


def targets() -> list[str]:
    """Return the attackers whose targets others can train on: those that need nothing but answers to make them."""
    return [kind for kind, attack in ATTACKS.items() if attack.asks == "pool" and not attack.labeled]


def attack_of(kind: str, targets: str = PLAIN) -> Attack:
    """Return an attack that asks as one of `ATTACKS` does, and trains on the targets of another one."""
    return ATTACKS[kind] if targets == PLAIN else ATTACKS[kind].with_targets_of(ATTACKS[targets])


def described(kind: str, targets: str = PLAIN) -> str:
    """Name an attack of `attack_of` in words."""
    return kind if targets == PLAIN else f"{kind} with targets of {targets}"
