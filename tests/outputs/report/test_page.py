"""The file: one, complete, in its own place, and nothing of a study can run in it."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from emma_tune.cli import app
from emma_tune.outputs.report.page import environment, strong, write_report
from emma_tune.results.ledger import LedgerWriter
from tests.results.desk import part

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'


class Reader(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.scripts, self.links = [], "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        self.links += [given[name] for name in ("src", "href", "data-src") if name in given]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.lasttag == "script" and self.scripts:
            self.scripts[-1] += data
        self.text += data


@pytest.fixture
def desk(written):
    desk = written(attackers={"soft": {}, EVIL: {"kind": "hard"}}, data_root=EVIL)
    desk.finished("none", (part(0, {"soft": 0.9, EVIL: 0.8}),) * 2)
    desk.finished("emma", (part(1, {"soft": 0.5, EVIL: 0.6}),) * 2)
    writer = LedgerWriter(desk.view.folder.ledger)
    number = desk.asked("emma")
    writer.failed(number, plan=desk.planner.digest, reason=EVIL, task="k")
    writer.close()
    return desk


def test_nothing_of_a_study_becomes_a_tag(desk, tmp_path):
    path, _ = write_report(desk.root, tmp_path / "page.html")
    reader = Reader(path.read_text())
    assert "img" not in reader.tags
    assert len(reader.scripts) == 3  # the data, Plotly, the page's own
    assert EVIL in reader.text
    assert EVIL in json.loads(reader.scripts[0])["attackers"]
    assert reader.links == ["#front"]  # nothing is fetched
    assert path.stat().st_size < 10_000_000


def test_data_end_no_script():
    given = {"b": "\u2028", "a": EVIL}
    embedded = environment().from_string("{{ given|tojson }}").render(given=given)
    assert "</" not in embedded
    assert list(json.loads(embedded).items()) == list(given.items())


def test_numbers_stand_out_and_the_rest_is_escaped():
    assert strong("<b> 12.5 % & l1 1.234") == ("&lt;b&gt; <strong>12.5 %</strong> &amp; <strong>l1 1.234</strong>")
    assert strong("56.8 to 60.5 % at 3 points") == "<strong>56.8 to 60.5 %</strong> at 3 points"


def run(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def everything(folder):
    return {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if "report" not in path.relative_to(folder).parts
    }


def test_it_writes_its_own_folder_only(desk):
    runs = desk.root.parent
    before = everything(runs)
    del before[desk.root]  # a folder that gets another one in it
    ended = run(desk.root)
    assert ended.exit_code == 0, ended.stderr
    assert ended.stdout.strip() == str(desk.root / "report" / "index.html")
    after = everything(runs)
    del after[desk.root]
    assert after == before
    assert [path.name for path in (desk.root / "report").iterdir()] == ["index.html"]


def test_it_is_replaced(desk):
    run(desk.root)
    page = desk.root / "report" / "index.html"
    page.write_text("old")
    run(desk.root)
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("out", ["ledger.jsonl", "page.html", "ray/page.html", "report/../study.json"])
def test_it_is_not_written_among_a_studys_files(desk, out):
    before = everything(desk.root)
    ended = run(desk.root, "--out", desk.root / out)
    assert ended.exit_code == 2
    assert "outside of the study" in ended.stderr
    assert everything(desk.root) == before


def test_it_is_not_written_into_the_store_or_over_a_folder(desk, tmp_path):
    assert run(desk.root, "--out", desk.view.store.root / "page.html").exit_code == 2
    ended = run(desk.root, "--out", tmp_path)
    assert (ended.exit_code, "found the folder" in ended.stderr) == (2, True)


def test_what_is_no_study_is_told(tmp_path):
    ended = run(tmp_path)
    assert ended.exit_code == 2
    assert "expected the folder of a study" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_study_without_points(written):
    ended = run(written().root)
    assert ended.exit_code == 0, ended.stderr


def test_a_torn_ledger_is_told(desk, tmp_path):
    with desk.view.folder.ledger.open("a") as file:
        file.write('{"event": "fini')
    ended = run(desk.root, "--out", tmp_path / "page.html")
    assert ended.exit_code == 0
    assert "it ends early" in ended.stderr


def test_while_a_driver_holds_the_study_and_without_ray(desk, emma):
    script = (
        "import sys; sys.modules['ray'] = sys.modules['optuna'] = None; "
        "from emma_tune.cli import app; app(sys.argv[1:])"
    )
    with desk.view.folder.drive():
        ended = emma.python("-c", script, "report", desk.root)
    assert ended.returncode == 0, ended.stderr
    text = (desk.root / "report" / "index.html").read_text()
    assert "The study is running" in text
