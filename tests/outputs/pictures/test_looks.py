"""What a reader sees: no two labels of a picture overlap, and none is longer than its axis."""

from __future__ import annotations

from itertools import combinations

import pytest

from emma_tune.outputs import pictures
from tests.outputs.pictures.desk import work
from tests.results.desk import part


@pytest.fixture
def crowded(written):
    """A study with long parameters, two attackers, and finished, stopped and failed points of EMMA."""
    space = {
        "lambda": {"low": 1e-6, "high": 0.5, "log": True},
        "lr_gamma": {"low": 0.01, "high": 1.0, "log": True},
        "st_epoch": {"choices": list(range(31))},
    }
    search = {"stop": "joint", "space": space}
    epochs = {"surrogate": {"epochs": 40}, "defense": {"epochs": 40}}
    desk = written(seeds=[1, 2], attackers={"soft": {}, "hard": {}}, search=search, **epochs)
    desk.finished("none", (part(0.0, {"soft": 0.9, "hard": 0.8}),) * 2)
    for n in range(14):
        params = {"lambda": 1.234e-5 * (n + 1), "lr_gamma": 0.01234 * (n + 1), "st_epoch": 10 + n}
        figures = part(0.1 + n / 10, {"soft": 0.85 - n / 20, "hard": 0.8 - n / 30})
        if n < 12:
            desk.finished("emma", (figures, figures), **params)
        else:
            desk.dominated("emma", 1, part(0.1 + n / 10, 0.95), **params)
    desk.failed("emma")
    work(desk, *range(15))
    return desk


@pytest.mark.parametrize("name", pictures.NAMES)
def test_titles_and_labels_do_not_overlap(crowded, name):
    figure = pictures.draw(name, [crowded.view]).figure
    figure.draw_without_rendering()
    axes = [one for one in figure.axes if one.axison]
    for one in axes:
        across, up = one.xaxis.label.get_window_extent(), one.yaxis.label.get_window_extent()
        assert across.width <= one.bbox.width, one.get_xlabel()
        assert up.height <= one.bbox.height, one.get_ylabel()
    left = [one.title if one.title.get_text() else one._left_title for one in axes]
    texts = [*left, *(axis.label for one in axes for axis in (one.xaxis, one.yaxis) if axis.get_visible())]
    boxes = {text: text.get_window_extent() for text in texts if text.get_text()}
    assert len(boxes) > 2
    for (one, box), (other, beside) in combinations(boxes.items(), 2):
        assert not box.overlaps(beside), (one.get_text(), other.get_text())
