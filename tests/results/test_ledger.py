"""The ledger after every kind of ending: whole, torn, and with lines that say nothing."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emma_tune.plan import Point
from emma_tune.results.ledger import FinishedTask, Ledger, LedgerWriter, Outcome, RunSummary, read_ledger

FIGURES = {"validation": {"l1": 0.1, "attacker_accuracy": 0.30000000000000004}, "test": {"l1": 0.125}}
BOUNDS = {"validation": {"l1": 0.2, "attacker_accuracy": 0.1 + 0.2, "attackers": {"soft": 0.0}}, "test": {}}
TASKS = {"a1b2": FinishedTask("victim", "4f1c", 1.25, 30), "c3d4": FinishedTask("responses", "9d0e", 0.1 + 0.2, 0)}
EVENTS = [
    ("run", "4f1c"),
    ("asked", Point(0, "none"), {}),
    ("asked", Point(1, "emma", {"lambda": 1e-4, "lr_gamma": 0.1 + 0.2, "st_epoch": 5}), {"trial": 1, "x": [None]}),
    ("finished", 0, Outcome("plan-a", figures=FIGURES, tasks=TASKS)),
    ("failed", 1, "plan-a", "loss is “nan”\nat epoch 3", "a1b2"),
    ("ended", RunSummary("4f1c", startup=6.1, span=80.2, slots=2, busy=0.1 + 0.2)),
    ("run", "9d0e"),
    ("asked", Point(2, "emma", {"lambda": 0.5, "lr_gamma": 1.0, "st_epoch": 0}), {"trial": 2}),
    ("dominated", 2, Outcome("plan-b", bounds=BOUNDS, by=0, left_out=11, tasks=TASKS)),
    ("finished", 1, Outcome("plan-b", figures=FIGURES)),
]


def append(writer: LedgerWriter, event: tuple) -> None:
    kind, *said = event
    if kind == "run":
        writer.run(*said)
    elif kind == "asked":
        writer.asked(*said)
    elif kind == "ended":
        writer.ended(*said)
    elif kind in ("finished", "dominated"):
        writer.concluded(*said)
    else:
        writer.failed(said[0], plan=said[1], reason=said[2], task=said[3])


def write(path: Path, events: list[tuple]) -> None:
    writer = LedgerWriter(path)
    for event in events:
        append(writer, event)
    writer.close()


def told(events: list[tuple]) -> Ledger:
    """What a ledger of these events should say."""
    ledger = Ledger()
    for kind, *said in events:
        if kind == "run":
            ledger.runs.append(said[0])
        elif kind == "asked":
            ledger.points[said[0].number] = said[0]
            ledger.sampler[said[0].number] = said[1]
        elif kind == "ended":
            ledger.ended.append(said[0])
        elif kind in ("finished", "dominated"):
            ledger.outcomes[said[0]] = said[1]
        else:
            ledger.outcomes[said[0]] = Outcome(said[1], reason=said[2], task=said[3])
    ledger.outcomes = {n: outcome for n, outcome in ledger.outcomes.items() if n in ledger.points}
    return ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.jsonl"
    write(path, EVENTS)
    return path


# --- whole ------------------------------------------------------------------------------------------------


def test_every_event_comes_back_as_it_was_written(path):
    assert read_ledger(path) == told(EVENTS)


def test_points_come_in_the_order_they_were_asked_and_the_next_number_follows(path):
    ledger = read_ledger(path)
    assert list(ledger.points) == [0, 1, 2]
    assert ledger.next_number == 3
    assert ledger.runs == ["4f1c", "9d0e"]


def test_the_last_outcome_of_a_point_counts(path):
    assert read_ledger(path).outcomes[1] == Outcome("plan-b", figures=FIGURES)
    write(path, [("dominated", 1, Outcome("plan-c", bounds=BOUNDS, by=0))])
    assert read_ledger(path).outcomes[1] == Outcome("plan-c", bounds=BOUNDS, by=0)


def test_each_event_is_one_line_of_json_with_its_time(path):
    lines = path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == [event[0] for event in EVENTS]
    assert all(isinstance(json.loads(line)["time"], float) for line in lines)


def test_an_event_is_in_the_file_as_soon_as_it_was_appended(tmp_path):
    path = tmp_path / "ledger.jsonl"
    writer = LedgerWriter(path)
    for count in range(1, len(EVENTS) + 1):
        append(writer, EVENTS[count - 1])
        assert read_ledger(path) == told(EVENTS[:count])
    writer.close()


def test_an_absent_ledger_is_empty_and_stays_absent(tmp_path):
    ledger = read_ledger(tmp_path / "ledger.jsonl")
    assert ledger == Ledger()
    assert ledger.next_number == 0
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_goes_on_where_the_first_ended(path):
    write(path, [("run", "third"), ("failed", 2, "plan-b", "why", "key")])
    assert read_ledger(path) == told([*EVENTS, ("run", "third"), ("failed", 2, "plan-b", "why", "key")])


STRAYS = {
    "finished": ("finished", 5, Outcome("plan", figures=FIGURES)),
    "dominated": ("dominated", 5, Outcome("plan", bounds=BOUNDS, by=0)),
    "failed": ("failed", 5, "plan", "why", "key"),
}


@pytest.mark.parametrize("kind", STRAYS)
def test_an_outcome_of_a_point_that_was_never_asked_is_ignored(tmp_path, kind):
    path = tmp_path / "ledger.jsonl"
    write(path, [("asked", Point(0, "none"), {}), STRAYS[kind]])
    ledger = read_ledger(path)
    assert ledger.outcomes == {}
    assert ledger.next_number == 1


@pytest.mark.parametrize("known", ["figures", "bounds"])
def test_a_figure_that_is_not_a_number_is_refused_and_nothing_is_written(path, known):
    before = path.read_bytes()
    writer = LedgerWriter(path)
    with pytest.raises(ValueError, match="JSON"):
        writer.concluded(2, Outcome("plan", **{known: {"test": {"l1": float("nan")}}}))
    writer.close()
    assert path.read_bytes() == before


def test_idle_slots_are_those_without_a_trial_by_cause_and_those_between_tasks():
    run = RunSummary("r", startup=6.0, span=80.0, slots=2, busy=120.0, idle={"victims": 16.0, "end": 8.0})
    assert run.idle_shares == pytest.approx({"victims": 0.1, "end": 0.05, "between": 0.1})
    assert RunSummary("r", startup=6.0, span=80.0, slots=2, busy=120.0).idle_shares == {}  # of an earlier version


def test_slots_that_a_node_took_with_it_were_not_idle():
    busy = 8 * 10.0 + 2 * 80.0
    run = RunSummary("r", startup=6.0, span=100.0, slots=8, busy=busy, idle={"end": 20.0}, slot_seconds=260.0)
    assert run.utilization == pytest.approx(240 / 260)
    assert run.idle_shares == pytest.approx({"end": 20 / 260, "between": 0.0})


@pytest.mark.parametrize(
    ("ended", "share"),
    [
        (RunSummary("r", startup=6.0, span=80.0, slots=2, busy=120.0), 0.75),
        (RunSummary("r", startup=6.0, span=10.0, slots=1, busy=10.0), 1.0),
        (RunSummary("r", startup=6.0, span=0.0, slots=2, busy=0.0), 0.0),  # nothing was left to do
    ],
)
def test_utilization_is_the_share_of_the_slots_time_in_which_a_stage_ran(ended, share):
    assert ended.utilization == share


# --- torn -------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_left_out_and_reported_without_writing(path):
    torn = path.read_bytes()[:-20]
    path.write_bytes(torn)
    ledger = read_ledger(path)
    assert path.read_bytes() == torn
    [problem] = ledger.problems
    assert problem.startswith(f"{path}, line {len(EVENTS)}: expected one complete event, found ")
    ledger.problems = []
    assert ledger == told(EVENTS[:-1])


def test_a_torn_last_line_is_cut_off_by_the_writer_so_that_the_next_event_is_read(path):
    path.write_bytes(path.read_bytes()[:-20])
    write(path, [("run", "third")])
    assert read_ledger(path) == told([*EVENTS[:-1], ("run", "third")])


def test_a_reader_and_the_next_writer_agree_about_a_last_line_without_its_end(path):
    path.write_bytes(path.read_bytes()[:-1])  # all of the event, not its newline
    read = read_ledger(path)
    LedgerWriter(path).close()
    kept = read_ledger(path)
    assert (read.points, read.outcomes, read.runs) == (kept.points, kept.outcomes, kept.runs)


def test_a_ledger_that_is_one_torn_line_begins_anew(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"event": "ru')
    write(path, [("run", "first")])
    assert read_ledger(path) == told([("run", "first")])


NUMBERS = st.integers(0, 4)
VALUES = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**6), 10**6), st.text())
TIMES = st.floats(0, 1e9)
MAPPINGS = st.dictionaries(st.text(max_size=5), st.one_of(VALUES, st.lists(VALUES, max_size=2)), max_size=3)
PARTS = st.dictionaries(st.text(), MAPPINGS, max_size=2)
DONE = st.dictionaries(st.text(), st.builds(FinishedTask, st.text(), st.text(), TIMES, NUMBERS), max_size=2)
FINISHED = st.builds(Outcome, st.text(), figures=PARTS, tasks=DONE)
DOMINATED = st.builds(Outcome, st.text(), bounds=PARTS, by=NUMBERS, left_out=NUMBERS, tasks=DONE)
ANY_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.text()),
        st.tuples(
            st.just("asked"), st.builds(Point, NUMBERS, st.sampled_from(["emma", "none"]), MAPPINGS), MAPPINGS
        ),
        st.tuples(st.just("ended"), st.builds(RunSummary, st.text(), TIMES, TIMES, NUMBERS, TIMES)),
        st.tuples(st.just("finished"), NUMBERS, FINISHED),
        st.tuples(st.just("dominated"), NUMBERS, DOMINATED),
        st.tuples(st.just("failed"), NUMBERS, st.text(), st.text(), st.text()),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(events=ANY_EVENTS, share=st.floats(0, 1))
def test_cut_at_any_byte_no_earlier_event_is_lost_and_the_next_one_is_read(events, share):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        write(path, events)
        whole = path.read_bytes()
        cut = whole[: round(share * len(whole))]
        path.write_bytes(cut)
        complete = cut.count(b"\n")

        ledger = read_ledger(path)
        problems, ledger.problems = ledger.problems, []
        assert len(problems) <= 1
        assert ledger in (told(events[:complete]), told(events[: complete + 1]))
        assert path.read_bytes() == cut

        write(path, [("run", "next")])
        assert read_ledger(path) == told([*events[:complete], ("run", "next")])


def test_cut_at_every_byte_of_a_whole_study_nothing_raises(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert set(told(EVENTS[: whole[:length].count(b"\n")]).points) <= set(read_ledger(path).points)


# --- lines that say nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage",
        b"\x00" * 40,
        b"\xff\xfe{}",
        b"[]",
        b"null",
        b'"asked"',
        b"{}",
        b'{"event": "married", "point": 7}',
        b'{"event": "asked", "point": 7, "params": {}, "sampler": {}}',
        b'{"event": "asked", "point": 7, "defense": "emma", "params": {}}',
        b'{"event": "asked", "point": null, "defense": "emma", "params": {}, "sampler": {}}',
        b'{"event": "finished", "point": 2, "plan": "p"}',
        b'{"event": "finished", "point": 2, "plan": "p", "figures": {}}',
        b'{"event": "finished", "point": 2, "plan": "p", "figures": null, "tasks": {}}',
        b'{"event": "finished", "point": 2, "plan": "p", "figures": {}, "tasks": null}',
        b'{"event": "finished", "point": 2, "plan": "p", "figures": {}, "tasks": [1]}',
        b'{"event": "finished", "point": 2, "plan": "p", "figures": {}, "tasks": {"k": ["victim", "r", 1.0]}}',
        b'{"event": "finished", "point": 2, "plan": "p", "figures": {}, "tasks": {"k": null}}',
        b'{"event": "dominated", "point": 2, "plan": "p"}',
        b'{"event": "dominated", "point": 2, "plan": "p", "bounds": {}, "left_out": 1, "tasks": {}}',
        b'{"event": "dominated", "point": 2, "plan": "p", "bounds": {}, "by": 0, "tasks": {}}',
        b'{"event": "dominated", "point": 2, "plan": "p", "bounds": null, "by": 0, "left_out": 1, "tasks": {}}',
        b'{"event": "dominated", "point": 2, "plan": "p", "bounds": {}, "by": 0, "left_out": 1, "tasks": 7}',
        b'{"event": "ended"}',
        b'{"event": "ended", "run": "r", "startup": 1, "span": 2, "slots": 3}',
        b'{"event": "failed", "point": 2, "plan": "p", "reason": "r"}',
        b'{"event": "failed", "point": 1e999, "plan": "p", "reason": "r", "task": "t"}',
    ],
    ids=lambda line: line[:70].decode(errors="replace").replace("\x00", "0"),
)
def test_a_line_that_says_nothing_is_left_out_whole_and_reported_with_its_number(path, garbage):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], garbage + b"\n", *lines[3:]]))
    ledger = read_ledger(path)
    [problem] = ledger.problems
    assert problem.startswith(f"{path}, line 4: expected one complete event, found ")
    assert "\n" not in problem
    ledger.problems = []
    assert ledger == told(EVENTS)


def test_empty_lines_are_no_problem(path):
    path.write_bytes(path.read_bytes().replace(b"\n", b"\n\n"))
    assert read_ledger(path) == told(EVENTS)
