"""What is thought of what nodes say."""

from __future__ import annotations

from typing import Any

from emma_tune.tuning.doctor import OK, PROBLEM, WARNING, Finding, judge, worst_of

GIB = 2**30


def node(**changes: Any) -> dict[str, Any]:
    """A node that nothing is wrong with."""
    return {
        "host": "a", "versions": {"python": "3.11.7", "ray": "2.60.0", "torch": "2.14.1"}, "emma_tune": "0.1.0",
        "code": "abc", "cpus": 8, "gpus": [{"name": "H100", "memory": 80 * GIB}], "free": {"/tmp": 100 * GIB},
        "seen": None, "write_speed": 200e6, "bf16_factor": 0.61, "ray_cpus": 8.0, "ray_gpus": 1.0, "skew": 0.01,
        "skew_within": 0.02, **changes,
    }  # fmt: skip


def judged(*nodes: dict[str, Any]) -> dict[str, Finding]:
    """Findings by what was looked at."""
    reports = {f"n{number}": report for number, report in enumerate(nodes)}
    return {finding.what: finding for finding in judge(reports, "/shared", here=node())}


def unsound(findings: dict[str, Finding]) -> dict[str, str]:
    """What is not ok, with its state; each of these says what to do."""
    bad = {what: finding for what, finding in findings.items() if finding.state != OK}
    assert all(finding.advice for finding in bad.values())
    return {what: str(finding.state) for what, finding in bad.items()}


def test_of_sound_nodes_everything_is_ok():
    findings = judged(node(), node(host="b"))
    assert unsound(findings) == {}
    assert findings["cpus"].found == "16 in all"
    assert findings["gpus"].found == "2 in all: 2 × H100, 80 GiB"
    assert findings["emma_tune"].found == "0.1.0, code abc"
    assert findings["storage"].found == "/shared is the same for 2 of 2 nodes"


def test_a_node_that_does_not_answer_is_named_with_its_reason():
    findings = judged(node(), {"error": "ModuleNotFoundError: No module named 'torch'"})
    assert unsound(findings) == {"node n1": "problem"}
    assert "No module named 'torch'" in findings["node n1"].found
    assert findings["nodes"].found == "1 of 2 answer"
    assert unsound(judged({"error": "gone"})) == {"nodes": "problem", "node n0": "problem"}


def test_differences_of_versions_are_named_and_weighed():
    other = {"python": "3.12.1", "ray": "2.60.0", "torch": "2.13.0"}
    findings = judged(node(), node(versions=other), node(versions={**other, "torch": None}, emma_tune=None))
    assert unsound(findings) == {"python": "problem", "torch": "problem", "emma_tune": "problem"}
    assert findings["torch"].found == "2.14.1 here, 2.13.0 on n1; none on n2"
    assert unsound(judged(node(), node(versions={**other, "python": "3.11.7"}))) == {"torch": "warning"}
    assert unsound(judged(node(), node(code="def"))) == {"emma_tune": "problem"}


def test_gpus_that_ray_gives_out_and_pytorch_does_not_see():
    findings = judged(node(gpus=[], gpu_error="RuntimeError: driver too old"))
    assert unsound(findings) == {"gpus of n0": "problem"}
    assert findings["gpus of n0"].found == "Ray gives out 1, RuntimeError: driver too old"
    assert unsound(judged(node(gpus=[], ray_gpus=0.0))) == {}
    assert unsound(judged(node(ray_gpus=0.0))) == {"gpus of n0": "warning"}


def test_who_sees_another_storage_is_named():
    findings = judged(node(), node(seen="expected the storage 1, found none there"))
    assert unsound(findings) == {"storage of n1": "problem"}


def test_room_speed_and_clocks_are_those_of_the_worst():
    assert unsound(judged(node(), node(free={"/tmp": 5 * GIB}))) == {"room in /tmp": "warning"}
    assert unsound(judged(node(), node(free={"/tmp": GIB // 2}))) == {"room in /tmp": "problem"}
    assert unsound(judged(node(), node(write_speed=1e6))) == {"writing": "warning"}
    assert unsound(judged(node(), node(skew=-20.0))) == {"clocks": "warning"}
    assert unsound(judged(node(), node(skew=-7200.0))) == {"clocks": "problem"}
    assert unsound(judged(node(), node(skew=8.0, skew_within=5.0))) == {}, "that may be the question's own time"
    both = judged(node(skew=8.0, skew_within=5.0), node(skew=7.0, skew_within=0.1))
    assert unsound(both) == {"clocks": "warning"}
    assert both["clocks"].found == "n1 is +7.0 s off"
    assert unsound(judged(node(skew=0.0, skew_within=float("inf")))) == {"clock of n0": "warning"}


def test_the_whole_is_as_its_worst():
    states = [Finding("", state, "") for state in (OK, WARNING, PROBLEM)]
    assert [worst_of(states[:count]) for count in (0, 1, 2, 3)] == [OK, OK, WARNING, PROBLEM]


def test_what_bf16_costs_is_told_of_each_node_and_is_no_fault():
    findings = judged(node(), node(bf16_factor=12.31), node(bf16_factor=0.612), node(bf16_factor=None))
    assert unsound(findings) == {}
    assert (
        findings["bf16 on cpus"].found
        == "takes 0.61 times as long as fp32 on n0, n2; 12 times as long as fp32 on n1"
    )
    assert "bf16 on cpus" not in judged(node(bf16_factor=None))
