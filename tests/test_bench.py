"""The bench runs the engine, and tells what it saw."""

from pathlib import Path
from typing import Any

import pytest

from facecli import bench
from facecli.batch import DoPhotos, start_worker
from facecli.bench import bench_lines, growth, prepare, run_bench
from facecli.errors import ImageError, InputError
from facecli.images import read_image
from facecli.inputs import Input
from facecli.options import Options, Settings
from facecli.store import Writer

EXAMPLES = Path(__file__).parent.parent / "examples/photos"
FACTS: dict[str, Any] = {
    "photos": 5000,
    "faces": 4990,
    "failed": 1,
    "workers": 2,
    "photos_per_second": 8.256,
    "faces_per_second": 8.25,
    "stages": {"decode": 0.05, "network": 0.15},
    "gpu_busy": None,
    "peak_bytes": 987_600_000,
    "bytes_per_thousand": -123_456.0,
    "ceiling": {
        "flop_per_photo": 5.25e9,
        "flop_per_second": 210e9,
        "photos_per_second": 40.0,
        "share": 0.206,
    },
    "mediapipe": {"version": "0.10.14", "photos_per_second": 30.0, "faces_per_second": 29.0},
}


def test_a_run_is_measured_by_the_engine_s_own_words() -> None:
    photo = EXAMPLES / "synthetic_front.jpg"
    settings = Settings(Options(("ply",), preview=False, meshes=("pixel",)), device="cpu")
    facts = run_bench([Input(photo, photo.name)], settings, workers=1, count=6, size=256, python=None)
    assert (facts["photos"], facts["faces"], facts["failed"], facts["workers"]) == (6, 6, 0, 1)
    assert facts["photos_per_second"] == facts["faces_per_second"] > 0
    assert list(facts["stages"])[:3] == ["read", "decode", "detect"] and facts["stages"]["network"] > 0
    assert sum(facts["stages"].values()) < 1.2 / facts["photos_per_second"]
    assert 1e8 < facts["peak_bytes"] < 4e9 and facts["bytes_per_thousand"] is None
    assert 0 < facts["ceiling"]["share"] < 1 and facts["gpu_busy"] is None and "gpu" not in facts["stages"]


def start_on_torch(settings: Settings, threads: int, writer: Writer) -> DoPhotos:
    """A worker that does what it does for a GPU, on torch's CPU."""
    from facecli import runtime

    runtime._choose = lambda device: ("cuda", "cpu")
    return start_worker(settings, threads, writer)


def test_a_gpu_s_share_of_the_time_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """In handfuls, through the engine; torch's CPU stands in for the GPU."""
    pytest.importorskip("torch")
    monkeypatch.setattr(bench, "start_worker", start_on_torch)
    monkeypatch.setattr(bench, "default_handful", lambda device, timeout: 2)
    photo = EXAMPLES / "synthetic_front.jpg"
    settings = Settings(Options(("ply",), preview=False, meshes=("pixel",)), device="cuda")
    facts = run_bench([Input(photo, photo.name)], settings, workers=1, count=5, size=256, python=None)
    assert (facts["photos"], facts["faces"], facts["failed"]) == (5, 5, 0)
    assert 0 < facts["stages"]["gpu"] < sum(facts["stages"].values()) and "ceiling" not in facts
    # The rate is seen from outside, where photos arrive by the handful: this run is too short for the two to agree.
    assert facts["gpu_busy"] == pytest.approx(facts["stages"]["gpu"] * facts["photos_per_second"])


def test_people_read_the_gpu_s_share() -> None:
    assert "     83% of the time the GPU runs the network" in bench_lines(FACTS | {"gpu_busy": 0.8349})


def test_people_read_the_same() -> None:
    assert bench_lines(FACTS) == [
        "5,000 photos, 2 workers, 1 failed",
        "    8.26 photos/s",
        "    8.25 faces/s",
        "     988 MB of memory at most, -0.1 MB over a thousand photos",
        "   200.0 ms for a photo in its worker:",
        "    50.0 ms decode      25%",
        "   150.0 ms network     75%",
        "   40.00 photos/s is the limit of arithmetic in float32 (5.2 GFLOP a photo at 210 GFLOP/s)",
        "     21% of that limit is reached",
        "   30.00 photos/s by MediaPipe 0.10.14, mesh written as OBJ",
    ]


def test_growth_is_the_slope_of_the_second_half() -> None:
    assert growth([5 * n for n in range(100)]) == pytest.approx(5000)
    assert growth([n * n for n in range(50)] + [7] * 50) == pytest.approx(0, abs=1e-6)
    assert growth(list(range(30))) is None


def test_photos_are_scaled_or_left_as_they_are(tmp_path: Path, make_picture: Any) -> None:
    (tmp_path / "a.png").write_bytes(make_picture("PNG", (300, 200)))
    item = Input(tmp_path / "a.png", "a.png")
    (made,) = prepare([item], 150, tmp_path)
    assert read_image(made.read_bytes()).pixels.shape == (100, 150, 3)
    assert prepare([item], 0, tmp_path) == [item.path]


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(ImageError, match=r"a\.jpg: not a picture"):
        prepare([Input(tmp_path / "a.jpg", "a.jpg")], 150, tmp_path)
    settings = Settings(Options(("ply",), preview=False), device="cpu")
    with pytest.raises(InputError, match="not a picture"):
        run_bench([Input(tmp_path / "a.jpg", "a.jpg")], settings, workers=1, count=4, size=0, python=None)
