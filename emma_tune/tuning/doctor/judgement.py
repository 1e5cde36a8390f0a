"""What to think of what the nodes say: a line each, ok, a warning or a problem, with what to do. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What to think of something."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


OK, WARNING, PROBLEM = State

OWN = "emma_tune"
GIB = 2**30
LITTLE_ROOM, NO_ROOM = 20 * GIB, 1 * GIB
SLOW_WRITES = 20e6
"""Bytes a second below which saving unfinished work is felt."""
SKEW, LARGE_SKEW = 5.0, 3600.0
"""Seconds. No decision compares clocks of machines, but what is left behind is swept away after a day."""


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        what: was looked at.
        state: ok, warning or problem.
        found: what came out.
        advice: what to do unless it is ok.
    """

    what: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Health:
    """What is known of a cluster.

    Attributes:
        nodes: by name: what `probe.examine` gave, with `ray_cpus` and `ray_gpus`, what Ray gives out there, `skew`
            (seconds that its clock is ahead) and `skew_within`; or `error`, why nothing came.
        store: where artifacts go.
        here: what `probe.examine` gave on the machine of the command.
    """

    nodes: Mapping[str, Mapping[str, Any]]
    store: str
    here: Mapping[str, Any]


def judge(health: Health) -> list[Finding]:
    """All findings, in the order in which they matter."""
    answered = {name: report for name, report in health.nodes.items() if "error" not in report}
    findings = _answers(health.nodes)
    for rule in (_resources, _versions, _storage, _room, _speed, _clocks):
        findings += rule(answered, health)
    return findings


def _answers(nodes: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    silent = [
        Finding(
            f"node {name}",
            PROBLEM,
            report["error"],
            "look at its logs (ray logs), or take it out of the cluster",
        )
        for name, report in nodes.items()
        if "error" in report
    ]
    count = len(nodes) - len(silent)
    return [Finding("nodes", OK if count else PROBLEM, f"{count} of {len(nodes)} answer", "start one"), *silent]


def _resources(nodes: Mapping[str, Mapping[str, Any]], health: Health) -> list[Finding]:
    cpus = sum(report["ray_cpus"] for report in nodes.values())
    gpus = sum(report["ray_gpus"] for report in nodes.values())
    findings = [Finding("cpus", OK, f"{cpus:g} in all")]
    kinds = Counter(
        f"{gpu['name']}, {gpu['memory'] / GIB:.0f} GiB" for report in nodes.values() for gpu in report["gpus"]
    )
    named = "; ".join(f"{count} × {kind}" for kind, count in kinds.items())
    findings.append(
        Finding(
            "gpus",
            OK,
            f"{gpus:g} in all" + (f": {named}" if named else "" if gpus else ", gpu shares are ignored"),
        )
    )
    for name, report in nodes.items():
        if report["ray_gpus"] > len(report["gpus"]):
            why = report.get("gpu_error") or f"PyTorch sees {len(report['gpus'])}"
            findings.append(
                Finding(
                    f"gpus of {name}",
                    PROBLEM,
                    f"Ray gives out {report['ray_gpus']:g}, {why}",
                    "install a PyTorch for that driver's CUDA, or start the node without --num-gpus",
                )
            )
        elif report["ray_gpus"] < len(report["gpus"]):
            found = f"PyTorch sees {len(report['gpus'])}, Ray gives out {report['ray_gpus']:g}"
            findings.append(Finding(f"gpus of {name}", WARNING, found, "start the node with --num-gpus"))
    return findings


def _versions(nodes: Mapping[str, Mapping[str, Any]], health: Health) -> list[Finding]:
    packages = dict.fromkeys(name for report in nodes.values() for name in report["versions"])
    return [_same(package, nodes, health) for package in (*packages, OWN)] if nodes else []


def _version(report: Mapping[str, Any], package: str) -> str | None:
    """A package's version; of this one with its code, since a checkout has no number of its own."""
    if package != OWN:
        version: str | None = report["versions"].get(package)
        return version
    return f"{report[OWN]}, code {report['code']}" if report[OWN] else None


def _same(what: str, nodes: Mapping[str, Mapping[str, Any]], health: Health) -> Finding:
    """Whether all have what the driver has."""
    by_version: dict[str | None, list[str]] = defaultdict(list)
    for name, report in nodes.items():
        by_version[_version(report, what)].append(name)
    expected = _version(health.here, what)
    others = {version: names for version, names in by_version.items() if version != expected}
    if not others:
        return Finding(what, OK if expected else PROBLEM, expected or "not installed", f"install {what}")
    named = "; ".join(f"{version or 'none'} on {', '.join(names)}" for version, names in others.items())
    missing = None in others
    state = PROBLEM if missing or what in ("ray", "python", OWN) else WARNING
    return Finding(what, state, f"{expected} here, {named}", f"install the same {what} everywhere")


def _storage(nodes: Mapping[str, Mapping[str, Any]], health: Health) -> list[Finding]:
    blind = {name: report["seen"] for name, report in nodes.items() if report["seen"]}
    if not nodes:
        return []
    if not blind:
        return [Finding("storage", OK, f"{health.store} is the same for {len(nodes)} of {len(nodes)} nodes")]
    return [
        Finding(
            f"storage of {name}",
            PROBLEM,
            why,
            "mount the same file system at the same path there, or give an --out that all nodes see (s3://…)",
        )
        for name, why in blind.items()
    ]


def _room(nodes: Mapping[str, Mapping[str, Any]], health: Health) -> list[Finding]:
    findings = []
    least: dict[str, tuple[int, str]] = {}
    for name, report in nodes.items():
        for folder, free in report["free"].items():
            least[folder] = min(least.get(folder, (free, name)), (free, name))
    for folder, (free, name) in least.items():
        state = PROBLEM if free < NO_ROOM else WARNING if free < LITTLE_ROOM else OK
        findings.append(
            Finding(
                f"room in {folder}",
                state,
                f"{free / GIB:.1f} GiB on {name}" + (", the least" if len(nodes) > 1 else ""),
                "make room: a study that finds none waits ten minutes, then its points fail",
            )
        )
    return findings


def _speed(nodes: Mapping[str, Mapping[str, Any]], health: Health) -> list[Finding]:
    known = {name: report["write_speed"] for name, report in nodes.items() if report["write_speed"]}
    if not known:
        return []
    slowest = min(known, key=known.__getitem__)
    state = OK if known[slowest] >= SLOW_WRITES else WARNING
    advice = "nothing breaks: unfinished work is saved less often, so that a kill costs more of it"
    return [Finding("writing", state, f"{known[slowest] / 1e6:.0f} MB/s on {slowest}, the slowest", advice)]


def _clocks(nodes: Mapping[str, Mapping[str, Any]], health: Health) -> list[Finding]:
    if not nodes:
        return []
    silent = [name for name, report in nodes.items() if math.isinf(report["skew_within"])]
    told = {name: (report["skew"], report["skew_within"]) for name, report in nodes.items() if name not in silent}
    findings = [Finding(f"clock of {name}", WARNING, "no answer", "run doctor again") for name in silent]
    if told:
        certain = {name: max(0.0, abs(skew) - within) for name, (skew, within) in told.items()}
        worst = max(certain, key=certain.__getitem__)
        state = PROBLEM if certain[worst] > LARGE_SKEW else WARNING if certain[worst] > SKEW else OK
        most = max(abs(skew) + within for skew, within in told.values())
        off = f"{worst} is {told[worst][0]:+.1f} s off"
        found = f"at most {most:.2f} s off this machine's" if state == OK else off
        findings.append(Finding("clocks", state, found, "let a time service set them"))
    return findings


def worst_of(findings: Sequence[Finding]) -> State:
    """The state of the whole."""
    states = {finding.state for finding in findings}
    return PROBLEM if PROBLEM in states else WARNING if WARNING in states else OK
