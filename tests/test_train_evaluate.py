"""The evaluation as a whole: every data set has its lines, every plot its name; and what a face is said to cost."""

from pathlib import Path

import numpy as np
import pytest
from heads import SHARED, head_model, needs_assets, needs_evaluation
from typer.testing import CliRunner

from facecli.images import Image, read_image
from facecli.train import __main__ as command
from facecli.train import evaluate as module
from facecli.train import synthetic, timing
from facecli.train.benchmark_dlib68 import Dlib68, Match
from facecli.train.benchmark_james import James
from facecli.train.benchmark_lps import Lps
from facecli.train.benchmark_region import Region
from facecli.train.benchmark_yale import Yale
from facecli.train.generality import Series
from facecli.train.normals import Sight
from facecli.train.perspective import Perspective
from facecli.train.synthetic import Synthetic
from facecli.train.table import COARSE, MEDIAPIPE, OURS, Line
from facecli.train.verdict import Verdict
from facecli.weights import load_weights


@pytest.fixture
def measured(monkeypatch):
    """Every benchmark answers at once; what it was asked with is kept."""
    asked = {}

    def answer(name, where, value):
        def measure(*arguments):
            asked[name] = arguments
            return value

        monkeypatch.setattr(where, "measure", measure)

    truth = np.random.default_rng(0).normal(size=(68, 2))
    seen = Sight(10.0, {OURS: 1.0}, {OURS: 1.0}, {}, {})
    series = Series("real tilt", "degrees", (0.0, 90.0), [[Verdict(1.0, 1.0, 1.0, 0.1)], []], 1)
    near = Perspective(1, [1] * 4, [1.0] * 4, [1.0] * 4, [1.0] * 4, frozenset())
    answer("timing", timing, [Line("one face", "network alone", {OURS: 5.0})])
    answer("james", module.benchmark_james, James([], 63.0, {OURS: 0.0}))
    answer("dlib68", module.benchmark_dlib68, Dlib68(1, [Match(truth, truth + 1, truth)], {OURS: 1.0}))
    answer("region", module.benchmark_region, Region({OURS: [0.5]}))
    answer("yale", module.benchmark_yale, Yale(1, {OURS: 1.0}, 0.5, [seen], 0.5, 0.1))
    answer("lps", module.benchmark_lps, Lps(1, {OURS: 1.0}, [seen]))
    answer("synthetic", synthetic, Synthetic([series], near, synthetic.lines_of(series)))
    model = head_model()
    monkeypatch.setattr(module.HeadModel, "load", lambda folder: model)
    return asked


@needs_assets
@needs_evaluation
def test_every_data_set_has_its_lines_and_plots(measured, tmp_path):
    arguments = ["evaluate", str(SHARED / "eval"), "--limit", "3", "--device", "cpu", "--threads", "1"]
    arguments += ["--mediapipe", "/no/python", "--pool", str(tmp_path), "--people", "2"]
    found = CliRunner().invoke(command.app, [*arguments, "--plots", str(tmp_path / "plots")])
    assert found.exit_code == 0, found.output
    for data in ("james", "dlib68", "region", "yale", "lps", "real tilt", "one face", "all photos"):
        assert f"\n| {data}" in found.output
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["landmarks.png", "light_lps.png", "light_yale.png", "perspective.png", "real_tilt.png"]
    assert min(read_image(path.read_bytes()).width for path in (tmp_path / "plots").iterdir()) > 200
    peer = measured["region"][3]
    assert str(peer.python) == "/no/python"
    assert peer.faces.shape == (898, 3)
    assert measured["lps"][-1] == 3
    assert measured["synthetic"][2] == tmp_path
    assert measured["synthetic"][-1] == 2
    detailed, coarse = measured["yale"][2:4]
    assert (detailed.reconstructor.detail, coarse.reconstructor.detail) == (True, False)


@needs_assets
@needs_evaluation
def test_without_mediapipe_and_people(measured):
    result = module.evaluate(SHARED / "eval", SHARED / "assets", device="cpu", threads=1)
    assert measured["region"][3] is None
    assert "synthetic" not in measured
    assert result.pictures == {}
    assert result.as_json()["weights"] == load_weights().manifest.version
    assert "63 mm apart" in result.markdown()


class Clocked:
    """Calls that take 3, 1 and 2 seconds, the first (to warm up) 9."""

    def __init__(self, monkeypatch):
        self.now, self.left = 0.0, [9.0, 3.0, 1.0, 2.0]
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def __call__(self):
        self.now += self.left.pop(0)


def test_the_least_time_is_told_after_one_to_warm_up(monkeypatch):
    clocked = Clocked(monkeypatch)
    assert timing.least(clocked, 3) == pytest.approx(1000)
    assert clocked.left == []


def test_a_face_and_its_network_are_timed_beside_the_peer(monkeypatch):
    class Peer(timing.MediaPipe):
        def timing(self, photo):
            return {"whole_ms": 9.0, "network1_ms": 2.0}

    monkeypatch.setattr(timing, "RUNS", 1)
    from facecli.pipeline import Reconstructor

    weights = load_weights()
    made = Reconstructor(device="cpu", weights=weights, threads=1, whole=False)
    photo = Image(np.zeros((64, 64, 3), np.uint8))
    one, two, whole = timing.measure(
        weights, photo, made, made, Peer(Path("python"), np.zeros((0, 3), np.int32))
    )
    assert set(one.values) == {OURS, MEDIAPIPE}
    assert set(two.values) == {OURS}
    assert set(whole.values) == {OURS, COARSE, MEDIAPIPE}
    assert all(value > 0 for line in (one, two, whole) for value in line.values.values())
