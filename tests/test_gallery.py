"""The page: what is in it, and that names stay names."""

import html.parser
import json
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

from results import facts

import facecli
from facecli.gallery import FOLDER, Row, asset, face_row, identity, page, photo_row, scripts

NASTY = "</script><script>alert(1)</script>&<!--\"'.jpg"
PAGE = Path(facecli.__file__).parent / "page"


class Elements(html.parser.HTMLParser):
    """The elements of a page and the text of its data."""

    def __init__(self, text):
        super().__init__()
        self.found, self.data, self._open = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self._open = dict(attributes).get("id") == "data"

    def handle_endtag(self, tag):
        self._open = False

    def handle_data(self, data):
        self.data += data if self._open else ""


def test_names_are_data_and_never_markup():
    plain = Elements(page([Row("a.jpg", "ok")], "t", {}).decode())
    nasty = Elements(page([photo_row(NASTY, "failed", NASTY)], NASTY, {"weights": NASTY}).decode())
    assert nasty.found == plain.found
    data = json.loads(nasty.data)
    assert data["title"] == NASTY and data["rows"][0]["name"] == NASTY and data["rows"][0]["error"] == NASTY


def test_a_marker_of_the_page_in_a_name_is_a_name():
    data = json.loads(Elements(page([Row("/*SCRIPT*/ /*DATA*/", "ok")], "/*STYLE*/", {}).decode()).data)
    assert (data["title"], data["rows"][0]["name"]) == ("/*STYLE*/", "/*SCRIPT*/ /*DATA*/")


def test_a_face_is_told_as_result_json_tells_it():
    row = face_row("sub dir/a#b%.jpg/face1", facts("sub dir/a#b%.jpg", 1), 3, "00ff", 0.25)
    assert (row.name, row.face, row.of, row.id) == ("sub dir/a#b%.jpg", 1, 3, "00ff")
    assert row.link == "sub%20dir/a%23b%25.jpg/face1/"
    assert (row.score, row.yaw, row.pitch, row.roll, row.size) == (0.91, 20.0, -5.0, 3.0, 180.0)
    assert row.camera == "62° field of view (default)" and row.seconds == 0.25


def test_a_result_that_says_little_is_shown_all_the_same():
    row = face_row("a.jpg/face0", {"pose": None, "score": None}, 1, "0")
    assert (row.name, row.score, row.yaw, row.camera) == ("a.jpg", None, None, "")
    assert "score" not in json.loads(Elements(page([row], "t", {}).decode()).data)["rows"][0]


def test_names_that_are_no_text_are_shown_and_linked():
    name = b"\xff\xfe.jpg".decode("utf-8", "surrogateescape")
    row = face_row(f"{name}/face0", facts(name), 1, identity(name))
    assert row.name == r"\udcff\udcfe.jpg" and unquote_to_bytes(row.link) == b"\xff\xfe.jpg/face0/"
    page([row], name.encode("utf-8", "backslashreplace").decode(), {})


def test_ten_thousand_rows_are_a_few_megabytes():
    rows = [face_row(f"a/{i}.jpg/face0", facts(f"a/{i}.jpg"), 1, identity(str(i))) for i in range(10_000)]
    assert len({row.id for row in rows}) == 10_000
    assert len(page(rows, "t", {})) < 5e6


def test_nothing_comes_from_the_network():
    assert set(scripts()) == {"three.min.js", "viewer.js", "LICENSE-three"}
    for name in ("gallery.html", "gallery.css", "gallery.js", "viewer.js"):
        assert not re.search(r"https?:|//[a-z]+\.|@import|fetch\(|XMLHttpRequest", asset(name)), name
    assert "connect-src 'none'" in asset("gallery.html") and FOLDER in page([], "t", {}).decode()


def test_three_js_is_the_pinned_one_and_brings_its_licence():
    assert "MIT" in asset("three/LICENSE") and "three.js authors" in asset("three/LICENSE")
    wanted = json.loads(asset("three/package.json"))["devDependencies"]["three"]
    locked = json.loads(asset("three/package-lock.json"))["packages"]["node_modules/three"]["version"]
    bundle = asset("three/three.min.js")
    assert wanted == locked and f'"{wanted.split(".")[1]}"' in bundle  # three's REVISION
    assert "SPDX-License-Identifier: MIT" in bundle and bundle.startswith("var THREE=")
    exported = set(re.findall(r"\b[A-Z]\w+\b", re.sub(r"//.*", "", asset("three/entry.js"))))
    used = set(re.findall(r"THREE\.(\w+)", asset("viewer.js")))
    assert used and used <= exported


def test_no_script_of_the_page_writes_markup():
    for name in ("gallery.js", "viewer.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", asset(name))
    assert not re.search(r"\son\w+=", asset("gallery.html"))
    assert sorted(path.name for path in PAGE.iterdir()) == [
        "gallery.css", "gallery.html", "gallery.js", "three", "viewer.js",
    ]  # fmt: skip
