"""Images below a folder are found by their endings or first bytes; links lead to each file once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from emma_tune.data import find
from emma_tune.data.cache import ImageCache, Source
from emma_tune.data.images import Shape
from emma_tune.data.listing import LeftOut, Listing
from tests.pictures import class_tree, photograph, save


def names_below(folder: Path) -> list[str]:
    return Listing(folder, LeftOut()).names


def remarks_on(folder: Path) -> list[str]:
    left_out = LeftOut()
    Listing(folder, left_out)
    return left_out.remarks()


# --- what is an image -------------------------------------------------------------------------------------

FORMATS = {
    "a.jfif": "JPEG", "b.jpe": "JPEG", "c.pjpeg": "JPEG", "d": "PNG", "e.png_": "PNG", "f.dib": "BMP",
    "g.pnm": "PPM", "h.jp2": "JPEG2000", "i.j2k": "JPEG2000", "j.apng": "PNG", "k.1": "WEBP",
    "l.pic": "GIF", "m.avif": "AVIF",
}  # fmt: skip


def test_any_ending_will_do_where_the_content_is_an_image(tmp_path):
    Image.init()
    names = tuple(name for name, form in FORMATS.items() if form in Image.SAVE)  # AVIF since Pillow 11.3
    for name in names:
        Image.fromarray(photograph(1, 16, 16)).save(tmp_path / name, FORMATS[name])
    found = find(f"folder:{tmp_path}", None)
    assert found.parts["queries"].names == names
    cache = ImageCache(tmp_path / "store")
    cached = cache.get(Source("mine", "1", lambda: found.parts, Shape.square(16)), lambda done, total: None)
    assert cached.bad == ()
    assert found.remarks == []


def test_images_that_pillow_cannot_read_are_tried_and_named(tmp_path):
    save(tmp_path / "a.png", photograph(1, 8, 8))
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "c.jxl").write_bytes(b"\xff\x0a" + bytes(40))
    found = find(f"folder:{tmp_path}", None)
    cache = ImageCache(tmp_path / "store")
    cached = cache.get(Source("mine", "1", lambda: found.parts, Shape.square(8)), lambda done, total: None)
    assert [image.file for image in cached.bad] == [str(tmp_path / "b.heic"), str(tmp_path / "c.jxl")]


def test_other_files_are_left_out_and_counted_by_their_ending(tmp_path):
    save(tmp_path / "0.png", photograph(1, 8, 8))
    contents = {
        "clip.mov": b"\0\0\0\x14ftypqt  ", "raw.nef": b"MM\0*" + bytes(20),
        "set.zip": b"PK\3\4", "P5.txt": b"P5, see P6", "Thumbs.db": b"\xd0\xcf\x11\xe0", "a.csv": b"1,2",
        "b.CSV": b"", "README": b"BM is for bitmaps", "LICENSE": b"",
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.png")
    assert names_below(tmp_path) == ["0.png"]
    assert remarks_on(tmp_path) == [
        "files that are not images are left out (no ending 2, .csv 2, .txt 1, .db 1, .mov 1): "
        "LICENSE, P5.txt, README, Thumbs.db, a.csv and 5 more"
    ]


def test_a_folder_with_the_name_of_an_image_is_a_folder(tmp_path):
    save(tmp_path / "birds.png" / "wren.png", photograph(1, 8, 8))
    (tmp_path / "empty.jpg").mkdir()
    assert names_below(tmp_path) == ["birds.png/wren.png"]
    assert remarks_on(tmp_path) == []


def test_in_each_folder_files_come_before_folders(tmp_path):
    for name in ("b.png", "a/z.png", "a/b/0.png", "a-b/0.png", "A.png", "10.png", "9.png"):
        save(tmp_path / name, photograph(1, 4, 4))
    plain = ["10.png", "9.png", "A.png", "b.png", "a/z.png", "a/b/0.png", "a-b/0.png"]
    assert names_below(tmp_path) == plain
    save(tmp_path.with_name("elsewhere") / "0.png", photograph(1, 4, 4))
    (tmp_path / "a" / "a").symlink_to(tmp_path.with_name("elsewhere"))
    (tmp_path / "c.png").symlink_to(save(tmp_path.with_name("else.png"), photograph(1, 4, 4)))
    assert names_below(tmp_path) == [*plain[:4], "c.png", "a/z.png", "a/a/0.png", "a/b/0.png", "a-b/0.png"]


# --- links ------------------------------------------------------------------------------------------------


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Two images in a folder, two elsewhere."""
    class_tree(tmp_path, {"pool": {"real": 2}, "elsewhere/deep": {"er": 2}})
    return tmp_path / "pool"


def test_linked_folders_are_followed(pool):
    (pool / "here").symlink_to(pool.parent / "elsewhere")
    assert names_below(pool) == ["here/deep/er/0.png", "here/deep/er/1.png", "real/0.png", "real/1.png"]
    assert remarks_on(pool) == []


def test_a_link_to_the_pool_itself_or_above_it_is_not_followed(pool):
    (pool / "real" / "a").symlink_to("..")
    (pool / "real" / "b").symlink_to(pool.parent)
    (pool / "real" / "c").symlink_to("/")
    (pool / "d").symlink_to(".")
    assert names_below(pool) == ["real/0.png", "real/1.png"]
    assert remarks_on(pool) == [
        "links to a folder above them, or to what is listed already, are left out: d, real/a, real/b, real/c"
    ]


def test_neither_is_one_that_leads_back_from_elsewhere(pool):
    (pool / "out").symlink_to(pool.parent / "elsewhere" / "deep")
    (pool.parent / "elsewhere" / "deep" / "up").symlink_to("..")
    (pool.parent / "elsewhere" / "deep" / "er" / "back").symlink_to(pool)
    assert names_below(pool) == ["out/er/0.png", "out/er/1.png", "real/0.png", "real/1.png"]
    assert remarks_on(pool)[0].endswith(": out/up, out/er/back")


def test_what_is_really_there_counts_where_it_is_and_no_link_to_it(pool):
    (pool / "alias").symlink_to("real")
    (pool / "0.png").symlink_to("real/0.png")
    (pool / "x").symlink_to(pool.parent / "elsewhere")
    (pool / "y").symlink_to(pool.parent / "elsewhere" / "deep")
    (pool / "z.png").symlink_to(pool.parent / "elsewhere" / "deep" / "er" / "1.png")
    assert names_below(pool) == ["real/0.png", "real/1.png", "x/deep/er/0.png", "x/deep/er/1.png"]
    assert remarks_on(pool)[0].endswith(": alias, y, 0.png, z.png")


def test_a_pool_of_links_into_a_hidden_store_is_listed(pool):
    """As git-annex and caches of models keep files."""
    for number in range(2):
        save(pool / ".store" / f"blob{number}.png", photograph(number, 4, 4))
        (pool / f"{number}.jpg").symlink_to(f".store/blob{number}.png")
    (pool / "again.jpg").symlink_to("1.jpg")
    assert names_below(pool) == ["0.jpg", "1.jpg", "real/0.png", "real/1.png"]


def test_a_broken_link_is_an_image_that_cannot_be_read(pool):
    (pool / "gone.png").symlink_to("nowhere.png")
    (pool / "loop.png").symlink_to("loop.png")
    (pool / "gone.txt").symlink_to("nowhere")
    assert names_below(pool) == ["gone.png", "loop.png", "real/0.png", "real/1.png"]
    assert remarks_on(pool) == ["files that are not images are left out (.txt 1): gone.txt"]
