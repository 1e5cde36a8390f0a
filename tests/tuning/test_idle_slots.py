"""Seconds that slots had no trial go to what the study waited for when they became free."""

from __future__ import annotations

from emma_tune.tuning.idle_slots import IdleSlots


def test_seconds_are_counted_for_each_slot_by_the_cause_they_began_with():
    idle = IdleSlots()
    idle.note(10.0, 2, 0, "victims")
    idle.note(12.0, 2, 1, "victims")  # busy until now
    idle.note(15.0, 2, 2, "proposals")
    idle.note(16.0, 2, 2, "proposals")
    idle.note(16.5, 2, 0, "end")
    idle.note(20.0, 1, 1, "end")  # a node has left
    idle.note(21.0, 1, 0, "end")
    assert idle.seconds == {"victims": 3.0, "proposals": 3.0, "end": 1.0}
    assert idle.of_all == 21.0
