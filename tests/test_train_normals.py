"""Folded and smooth skin, errors of normals by light, and whether relief stays under another light."""

import numpy as np
import pytest

from facecli.train import benchmark_lps, benchmark_yale, normals
from facecli.train.areas import folded_and_smooth
from facecli.train.benchmark_lps import Head, Lps
from facecli.train.benchmark_yale import Yale
from facecli.train.table import COARSE, MEDIAPIPE, OURS
from facecli.train.trial import View


def surface(height, step):
    """Normals of a height field, mm, `step` mm per pixel."""
    down, across = np.gradient(height, step)
    out = np.stack([-across, down, np.ones_like(height)], -1)
    return out / np.linalg.norm(out, axis=-1, keepdims=True)


@pytest.mark.parametrize("step", [0.4, 0.8])
def test_wrinkles_are_folded_and_a_ball_is_smooth(step):
    y, x = np.mgrid[:160, :160] * step
    middle = 80 * step
    ball = np.sqrt(120.0**2 - (x - middle) ** 2 - (y - middle) ** 2)
    wrinkled = ball + np.where(x < middle, 0.5 * np.sin(y * 2 * np.pi / 5), 0)
    valid = np.ones(x.shape, bool)
    valid[:20] = False
    folded, smooth = folded_and_smooth(surface(wrinkled, step), valid, step)
    inner = slice(30, -10)
    assert folded[inner, 10:60].mean() > 0.95
    assert smooth[inner, 105:-10].mean() > 0.95
    assert not (folded & smooth).any()
    assert not (folded | smooth)[~valid].any()


def test_pixels_that_are_not_valid_have_no_say():
    flat = surface(np.zeros((60, 60)), 1.0)
    spoiled = flat.copy()
    spoiled[20:30] = np.nan
    valid = np.ones((60, 60), bool)
    valid[20:30] = False
    _, smooth = folded_and_smooth(spoiled, valid, 1.0)
    np.testing.assert_array_equal(smooth, valid)


def tilted(degrees, size=20):
    angle = np.radians(degrees)
    return np.tile([np.sin(angle), 0.0, np.cos(angle)], (size, size, 1))


def test_a_sight_tells_errors_by_kind_of_skin():
    views = {OURS: View(np.ones((20, 20)), tilted(10)), MEDIAPIPE: View(np.ones((20, 20)), tilted(-4))}
    everywhere, half, little = np.ones((20, 20), bool), np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    half[:10], little[0] = True, True
    seen = normals.sight(views, tilted(0), everywhere, half, little, 33.0)
    assert seen.light == 33
    assert seen.mean == {OURS: pytest.approx(10), MEDIAPIPE: pytest.approx(4)}
    assert seen.folded[OURS] == pytest.approx(10)
    assert seen.smooth == {}  # fewer pixels than say anything
    names = [line.measure for line in normals.lines("data", [seen, seen])]
    assert len(names) == 3
    assert not any("smooth" in name for name in names)
    assert normals.lines("data", []) == []


def test_relief_that_stays_under_another_light_agrees():
    rng = np.random.default_rng(0)
    relief = rng.normal(0, 0.1, (30, 30))
    hidden = relief.copy()
    hidden[:5] = np.nan
    [(same, none)] = normals.consistency([relief, hidden])
    assert same == pytest.approx(1)
    assert none == 0
    [(opposite, spread)] = normals.consistency([relief, -relief])
    assert opposite == pytest.approx(-1)
    assert spread == pytest.approx(2 * np.sqrt((relief**2).mean()))
    assert normals.consistency([relief, np.zeros((30, 30))])[0][0] == 0
    assert normals.consistency([relief, np.full((30, 30), np.nan)]) == []
    assert len(normals.consistency([relief] * 4)) == 6


@pytest.mark.parametrize(
    ("name", "degrees"),
    [("yaleB01_P00A+000E+00", 0), ("yaleB01_P00A-035E+00", 35), ("yaleB38_P00A+000E-40", 40)],
)
def test_yale_names_tell_the_light(name, degrees):
    assert benchmark_yale.light_angle(name) == pytest.approx(degrees, abs=1e-5)


def test_a_yale_name_without_light():
    with pytest.raises(ValueError, match="yaleB01_Ambient"):
        benchmark_yale.light_angle("yaleB01_Ambient")


def test_lines_of_yale_and_lps():
    seen = normals.Sight(10.0, {OURS: 5.0, COARSE: 6.0}, {OURS: 4.0}, {}, {})
    lines = benchmark_yale.lines(Yale(2, {OURS: 1.0}, 0.5, [seen], 0.3, 0.01))
    assert [line.values[OURS] for line in lines] == [1.0, 0.5, 5.0, 4.0, 0.3, 0.01]
    assert len(benchmark_yale.lines(Yale(2, {OURS: 0.0}, 0.0, [], np.nan, np.nan))) == 2
    assert benchmark_lps.lines(Lps(4, {OURS: 3.0}, [seen]))[1].values == {OURS: 5.0, COARSE: 6.0}


def ball(displacement=0.0):
    """A head that is a ball of 80 mm."""
    import trimesh

    made = trimesh.creation.uv_sphere(80.0, count=[64, 64])
    points = np.asarray(made.vertices)
    around = np.arctan2(points[:, 0], points[:, 2]) / (2 * np.pi) + 0.5
    uv = np.stack([around, np.arccos(np.clip(points[:, 1] / 80, -1, 1)) / np.pi], 1)
    relief = np.full((512, 512), displacement, np.float32)
    relief[:] += (
        0.8 * np.sin(np.arange(512) * 2 * np.pi / 64)[:, None].astype(np.float32) * (displacement > 0)
    )
    return Head(
        points,
        points / 80,
        np.asarray(made.faces, np.int32),
        uv,
        np.ones(len(points), np.float32),
        relief,
        np.full((64, 64, 3), 180, np.uint8),
        2.0,
    )


def test_a_rendered_ball(monkeypatch):
    monkeypatch.setattr(benchmark_lps, "SIZE", 160)
    stage = benchmark_lps.stand(ball(), (0.0, 0.0, 0.0), 500.0)
    lamp = np.array([0.6, 0.0, 0.8])
    made = benchmark_lps.render(stage, lamp, 0.05)
    assert made.light == pytest.approx(np.degrees(np.arccos(0.8)))
    assert made.counted.mean() > 0.1
    position = stage.position[made.counted] * [1, -1, -1] + [0, 0, 500.0]
    true = position / np.linalg.norm(position, axis=1, keepdims=True)
    assert np.degrees(np.arccos(np.clip((true * made.normals[made.counted]).sum(1), -1, 1))).max() < 1.5
    # Brightness follows the cosine to the lamp: the photo is lit as its normals say.
    lit = made.photo[made.counted].mean(1)
    cosine = made.normals[made.counted] @ lamp
    assert np.corrcoef(lit, np.clip(cosine, 0, None))[0, 1] > 0.9
    assert made.photo[80, 100].mean() > made.photo[80, 60].mean() + 20


def test_displacement_bends_normals_and_the_same_seed_gives_the_same(monkeypatch):
    monkeypatch.setattr(benchmark_lps, "SIZE", 160)
    rough, again = (benchmark_lps.render_all(ball(1.0), 3) for _ in range(2))
    flat = benchmark_lps.render_all(ball(), 3)
    assert len(rough) == 3
    for first, second, smooth in zip(rough, again, flat, strict=True):
        np.testing.assert_array_equal(first.photo, second.photo)
        counted = first.counted & smooth.counted
        bent = np.degrees(np.arccos(np.clip((first.normals * smooth.normals)[counted].sum(1), -1, 1)))
        assert 1 < np.median(bent) < 45
    assert len({render.light for render in rough}) == 3
