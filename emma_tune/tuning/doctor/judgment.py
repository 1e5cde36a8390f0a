"""Turn what the nodes report into findings: ok, a warning or a problem, with what to do. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


OK, WARNING, PROBLEM = Severity

OWN = "emma_tune"
GIBIBYTE = 2**30
LOW_SPACE, NO_SPACE = 20 * GIBIBYTE, 1 * GIBIBYTE
SLOW_WRITES = 20e6
"""Bytes a second below which saving unfinished work takes noticeable time."""
SKEW, LARGE_SKEW = 5.0, 3600.0
"""Seconds. No decision compares clocks of machines, but leftover files are swept away after a day."""


@dataclass(frozen=True)
class Finding:
    """One line."""

    what: str  # was examined
    state: Severity
    found: str
    advice: str = ""  # what to do unless it is ok


Reports = Mapping[str, Mapping[str, Any]]
"""What `probe.examine` returned, by node."""


def judge(reports: Reports, store: str, here: Mapping[str, Any]) -> list[Finding]:
    """Return all findings, the most important first.

    Args:
        reports: with `ray_cpus`, `ray_gpus`, what Ray allots there, `skew`, the seconds that its clock is ahead,
            and `skew_within`; or with `error`, why there is no report.
        store: where artifacts go.
        here: what `probe.examine` returned on the machine of the command.
    """
    nodes = {name: report for name, report in reports.items() if "error" not in report}
    findings = _answers(reports)
    if nodes:
        findings += [*_resources(nodes), *_bf16(nodes), *_versions(nodes, here), *_storage(nodes, store)]
        findings += [*_space(nodes), *_write_speed(nodes), *_clocks(nodes)]
    return findings


def worst_of(findings: Sequence[Finding]) -> Severity:
    """Return the severity of the whole."""
    return max((finding.state for finding in findings), key=list(Severity).index, default=OK)


def _answers(nodes: Reports) -> list[Finding]:
    advice = "look at its logs (ray logs), or take it out of the cluster"
    silent = [
        Finding(f"node {name}", PROBLEM, report["error"], advice)
        for name, report in nodes.items()
        if "error" in report
    ]
    count = len(nodes) - len(silent)
    return [Finding("nodes", OK if count else PROBLEM, f"{count} of {len(nodes)} answer", "start one"), *silent]


def _resources(nodes: Reports) -> list[Finding]:
    cpus, gpus = (sum(report[kind] for report in nodes.values()) for kind in ("ray_cpus", "ray_gpus"))
    kinds = Counter(
        f"{gpu['name']}, {gpu['memory'] / GIBIBYTE:.0f} GiB" for report in nodes.values() for gpu in report["gpus"]
    )
    listed = "; ".join(f"{count} × {kind}" for kind, count in kinds.items())
    details = f": {listed}" if listed else "" if gpus else ", gpu shares are ignored"
    findings = [Finding("cpus", OK, f"{cpus:g} in all"), Finding("gpus", OK, f"{gpus:g} in all{details}")]
    for name, report in nodes.items():
        what, allotted, seen = f"gpus of {name}", report["ray_gpus"], len(report["gpus"])
        if allotted > seen:
            found = f"Ray gives out {allotted:g}, {report.get('gpu_error') or f'PyTorch sees {seen}'}"
            advice = "install a PyTorch for that driver's CUDA, or start the node without --num-gpus"
            findings.append(Finding(what, PROBLEM, found, advice))
        elif allotted < seen:
            found = f"PyTorch sees {seen}, Ray gives out {allotted:g}"
            findings.append(Finding(what, WARNING, found, "start the node with --num-gpus"))
    return findings


def _bf16(nodes: Reports) -> list[Finding]:
    """Say what bf16 costs on each node's CPU; never a warning, since fp32 is the default."""
    by_factor: dict[str, list[str]] = defaultdict(list)
    for name, report in nodes.items():
        if factor := report.get("bf16_factor"):
            by_factor[f"{factor:.2g}"].append(name)
    told = [f"{factor} times as long as fp32 on {', '.join(names)}" for factor, names in by_factor.items()]
    return [Finding("bf16 on cpus", OK, f"takes {'; '.join(told)}")] if told else []


def _versions(nodes: Reports, here: Mapping[str, Any]) -> list[Finding]:
    packages = dict.fromkeys(name for report in nodes.values() for name in report["versions"])
    return [_same_version(package, nodes, here) for package in (*packages, OWN)]


def _same_version(package: str, nodes: Reports, here: Mapping[str, Any]) -> Finding:
    by_version: dict[str | None, list[str]] = defaultdict(list)
    for name, report in nodes.items():
        by_version[_version(report, package)].append(name)
    expected = _version(here, package)
    others = {version: names for version, names in by_version.items() if version != expected}
    if not others:
        return Finding(package, OK if expected else PROBLEM, expected or "not installed", f"install {package}")
    differing = "; ".join(f"{version or 'none'} on {', '.join(names)}" for version, names in others.items())
    state = PROBLEM if None in others or package in ("ray", "python", OWN) else WARNING
    return Finding(package, state, f"{expected} here, {differing}", f"install the same {package} everywhere")


def _version(report: Mapping[str, Any], package: str) -> str | None:
    """Return a package's version; of this one with the hash of its code, as checkouts have no version."""
    if package != OWN:
        version: str | None = report["versions"].get(package)
        return version
    return f"{report[OWN]}, code {report['code']}" if report[OWN] else None


def _storage(nodes: Reports, store: str) -> list[Finding]:
    advice = "mount the same file system at the same path there, or give an --out that all nodes see (s3://…)"
    wrong = [
        Finding(f"storage of {name}", PROBLEM, report["seen"], advice)
        for name, report in nodes.items()
        if report["seen"]
    ]
    return wrong or [Finding("storage", OK, f"{store} is the same for {len(nodes)} of {len(nodes)} nodes")]


def _space(nodes: Reports) -> list[Finding]:
    least: dict[str, tuple[int, str]] = {}
    for name, report in nodes.items():
        for folder, free in report["free"].items():
            least[folder] = min(least.get(folder, (free, name)), (free, name))
    findings = []
    for folder, (free, name) in least.items():
        state = PROBLEM if free < NO_SPACE else WARNING if free < LOW_SPACE else OK
        found = f"{free / GIBIBYTE:.1f} GiB on {name}" + (", the least" if len(nodes) > 1 else "")
        advice = "free some: a study that finds none waits ten minutes, then its points fail"
        findings.append(Finding(f"room in {folder}", state, found, advice))
    return findings


def _write_speed(nodes: Reports) -> list[Finding]:
    speeds = {name: report["write_speed"] for name, report in nodes.items() if report["write_speed"]}
    if not speeds:
        return []
    slowest = min(speeds, key=speeds.__getitem__)
    state = OK if speeds[slowest] >= SLOW_WRITES else WARNING
    advice = "nothing breaks: unfinished work is saved less often, so that a kill costs more of it"
    return [Finding("writing", state, f"{speeds[slowest] / 1e6:.0f} MB/s on {slowest}, the slowest", advice)]


def _clocks(nodes: Reports) -> list[Finding]:
    skews = {name: (report["skew"], report["skew_within"]) for name, report in nodes.items()}
    silent = [name for name, (_, within) in skews.items() if math.isinf(within)]
    findings = [Finding(f"clock of {name}", WARNING, "no answer", "run doctor again") for name in silent]
    known = {name: skew for name, skew in skews.items() if name not in silent}
    if known:
        certain = {name: max(0.0, abs(skew) - within) for name, (skew, within) in known.items()}
        worst = max(certain, key=certain.__getitem__)
        state = PROBLEM if certain[worst] > LARGE_SKEW else WARNING if certain[worst] > SKEW else OK
        most = max(abs(skew) + within for skew, within in known.values())
        off = f"{worst} is {known[worst][0]:+.1f} s off"
        found = f"at most {most:.2f} s off this machine's" if state == OK else off
        findings.append(Finding("clocks", state, found, "let a time service set them"))
    return findings
