"""The report in a real browser, from a disk: it loads, filters, opens faces, and complains about nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results import dome, write_face, write_manifest

from facecli import export
from facecli.images import read_image
from facecli.report import PAGE, start_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install '.[test]'")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on this machine's PATH")

NASTY = "<script>alert(1)<\\script> \"quoted\" & 'it' #50%.jpg"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces of all angles and scores, one with a texture, a hostile name, and photos without a face."""
    out = tmp_path_factory.mktemp("report") / "my faces"
    for name, score, yaw in (
        ("a.jpg", 0.95, 3.0),
        ("b.jpg", 0.62, -35.0),
        ("c.jpg", 0.81, 71.0),
        (NASTY, 0.9, 12.0),
    ):
        folder = out / name.replace("/", "_") / "face0"
        write_face(folder, name, score=score, pose=pose(yaw))
    for name, data in export.to_glb(dome(), np.full((64, 64, 3), [20, 200, 30], np.uint8)).items():
        (out / "a.jpg/face0" / name).write_bytes(data)
    failed = [{"name": f"bad{i}.jpg", "status": "failed", "error": NASTY, "input": "/bad"} for i in range(3)]
    write_manifest(out, *failed, {"name": "none.jpg", "status": "no_face", "input": "/nowhere"})
    assert list(start_report(out).finish()) == [None] * 8
    return out


def pose(yaw: float) -> dict[str, Any]:
    from results import POSE

    return {"matrix": POSE.matrix.tolist(), "yaw": yaw, "pitch": 0.0, "roll": 0.0}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        started = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture
def page(out: Path, browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.set_default_timeout(60_000)
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
    page.on(
        "request",
        lambda asked: (
            None if asked.url.startswith(("file:", "blob:", "data:")) else complaints.append(asked.url)
        ),
    )
    page.goto((out / PAGE).as_uri())
    yield page
    page.close()
    assert complaints == []


def names(page: Any) -> list[str]:
    cards = page.locator(".card").all()
    placed = [(card.bounding_box(), card.locator(".name").inner_text()) for card in cards]
    return [name for box, name in sorted(placed, key=lambda card: (card[0]["y"], card[0]["x"]))]


def picture(page: Any) -> np.ndarray:
    """The stage without what lies over it."""
    page.wait_for_function("!document.getElementById('bar').hidden")
    page.evaluate(
        "for (const id of ['bar', 'previous', 'next']) document.getElementById(id).style.visibility = 'hidden'"
    )
    page.wait_for_timeout(300)
    return read_image(page.locator("#stage").screenshot()).pixels.astype(int)


def open_face(page: Any, name: str) -> None:
    page.locator("button.card", has_text=name).click()
    page.wait_for_selector("#looks button")


def test_the_gallery_filters_sorts_and_searches(page: Any) -> None:
    assert page.title() == "my faces · facecli report"
    assert page.locator("#summary").inner_text() == "8 photos, 4 faces"
    assert names(page) == [NASTY, "a.jpg", "b.jpg", "bad0.jpg", "bad1.jpg", "bad2.jpg", "c.jpg", "none.jpg"]
    for chip, shown in (
        ("failed", ["bad0.jpg", "bad1.jpg", "bad2.jpg"]),
        ("no_face", ["none.jpg"]),
        ("low", ["b.jpg"]),
        ("ok", [NASTY, "a.jpg", "b.jpg", "c.jpg"]),
        ("half", ["b.jpg"]),
        ("side", ["c.jpg"]),
        ("front", [NASTY, "a.jpg"]),
        ("#yaw all", [NASTY, "a.jpg", "b.jpg", "c.jpg"]),
    ):
        page.locator(
            f"#yaw [data-value={chip[5:]}]" if chip[0] == "#" else f".chips [data-value={chip}]"
        ).click()
        assert names(page) == shown, chip
    page.select_option("#sort", "score")
    assert names(page) == ["b.jpg", "c.jpg", NASTY, "a.jpg"]
    page.click("#order")
    assert names(page) == ["a.jpg", NASTY, "c.jpg", "b.jpg"]
    page.click("#status [data-value=all]")
    assert names(page)[:4] == ["a.jpg", NASTY, "c.jpg", "b.jpg"]  # what has no value comes last
    page.fill("#search", "BAD 1")
    assert names(page) == ["bad1.jpg"]
    page.fill("#search", "nobody")
    assert names(page) == [] and page.locator("#nothing").is_visible()
    page.click("#clear")
    assert len(names(page)) == 8


def test_hostile_names_are_text_and_their_links_lead_to_the_files(page: Any, out: Path) -> None:
    assert page.locator("script").count() == 2 and page.locator(".card script").count() == 0
    page.locator("button.card", has_text="<script>").click()
    assert page.locator("#name").inner_text() == NASTY
    link = page.locator("#files a", has_text="result.json").evaluate("link => link.href")
    assert link == (out / NASTY / "face0/result.json").as_uri()


def test_a_click_shows_the_face_in_3d_in_every_look(page: Any) -> None:
    open_face(page, "a.jpg")
    looks = {}
    for key, look in enumerate(["texture", "clay", "wire", "normals"], 1):
        page.keyboard.press(str(key))
        assert page.locator(f"[data-value={look}]").get_attribute("aria-pressed") == "true"
        looks[look] = picture(page)
    middle = np.s_[250:450, 300:500]
    red = looks["texture"][middle].reshape(-1, 3).mean(0)
    assert red[0] > red[1] + 30  # the whole face's vertex colours
    assert np.ptp(looks["clay"][middle].mean((0, 1))) < 40 and looks["clay"][middle].mean() > 90
    for name, other in (("texture", "clay"), ("clay", "normals"), ("normals", "wire")):
        assert np.abs(looks[name] - looks[other])[middle].mean() > 15, (name, other)
    corner = np.s_[:40, :40]
    assert np.abs(looks["texture"][corner] - looks["normals"][corner]).max() <= 2  # the backdrop stays


def test_the_photos_own_mesh_has_its_texture_and_turns(page: Any) -> None:
    open_face(page, "a.jpg")
    page.get_by_role("button", name="Photo only").click()
    green = picture(page)[250:450, 300:500].reshape(-1, 3).mean(0)
    assert green[1] > 150 and green[0] < 60
    box = page.locator("#stage").bounding_box()
    page.keyboard.press("2")
    before = picture(page)
    page.mouse.move(box["x"] + 400, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 330, steps=4)
    page.mouse.up()
    assert np.abs(picture(page) - before).mean() > 3


def test_the_slider_goes_from_the_photo_to_the_mesh_over_it(page: Any) -> None:
    open_face(page, "b.jpg")
    page.keyboard.press("p")
    slide = "(mix => {{ mix.value = {}; mix.dispatchEvent(new Event('input')); }})(document.getElementById('mix'))"
    shown = {}
    for value in (0, 100):
        page.evaluate(slide.format(value))
        shown[value] = picture(page)
    assert np.abs(shown[0][350:450, 350:450] - 40).max() <= 4  # the preview's first panel and nothing else
    assert np.abs(shown[100] - shown[0]).max(2)[300:500, 300:500].mean() > 30
    assert np.abs(shown[100] - shown[0])[20:60, 60:100].max() <= 4  # no mesh out there
    page.keyboard.press("r")
    assert not page.locator("#photo").is_visible()


def test_keys_go_from_face_to_face_and_escape_closes(page: Any) -> None:
    open_face(page, "a.jpg")
    page.keyboard.press("ArrowRight")
    assert page.locator("#name").inner_text() == "b.jpg"
    page.keyboard.press("ArrowRight")
    assert page.locator("#name").inner_text() == "c.jpg" and page.locator("#next").is_disabled()
    link = page.url
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    page.goto("about:blank")
    page.goto(link)
    assert page.locator("#name").inner_text() == "c.jpg"


def test_a_face_that_is_not_there_in_3d_is_explained(out: Path, browser: Any) -> None:
    parcels = sorted((out / "report_files/faces").glob("*.js"))
    hidden = [(path, path.rename(path.with_suffix(".away"))) for path in parcels]
    try:
        page = browser.new_page()
        page.goto((out / PAGE).as_uri())
        page.locator("button.card", has_text="b.jpg").click()
        page.get_by_text("run facecli report again").wait_for()
        assert page.locator("#message img").is_visible()
        page.close()
    finally:
        for path, away in hidden:
            away.rename(path)


def test_ten_thousand_rows_are_a_few_cards(browser: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    from facecli.gallery import page as gallery
    from facecli.gallery import photo_row

    row = photo_row("x", "failed", "damaged")
    rows = [replace(row, name=f"IMG_{index:05d}.jpg") for index in range(10_000)]
    (tmp_path / PAGE).write_bytes(gallery(rows, "many", {}))
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.goto((tmp_path / PAGE).as_uri())
    assert page.locator("#summary").inner_text() == "10,000 photos, 0 faces"
    assert page.locator(".card").count() < 40
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.get_by_text("IMG_09999.jpg").wait_for()
    assert page.locator(".card").count() < 40
    page.close()
