"""Photos of people that never were, the verdict on a reconstruction, and what is done to photos to break it."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from heads import head_model, needs_assets, pushing_morphs
from test_train_synth import stage

from facecli.camera import Pose, rotation_from_angles
from facecli.crop import crop_from_square
from facecli.images import Image, read_image
from facecli.mesh import Mesh
from facecli.pipeline import Face, Reconstructor
from facecli.train import colour_relief, generality, perspective, synthetic
from facecli.train.colour_relief import ColourRelief
from facecli.train.generality import Series, drift, resized, rotated, turned_photo
from facecli.train.lift import TEXTURE
from facecli.train.perspective import DISTANCES, Perspective
from facecli.train.raster import vertex_normals
from facecli.train.studio import Scene, Studio
from facecli.train.table import OURS, WHOLE
from facecli.train.trial import Trial
from facecli.train.verdict import Verdict, judge, meant, shape_error

pytestmark = needs_assets
ASTRONAUT = Path(__file__).resolve().parents[1] / "examples" / "photos" / "astronaut.jpg"


STEPS = np.tile(np.float32([0.5, 0.0]).repeat(16), (512, 16))
"""Relief of bands: 0.25 mm about its mean."""


@lru_cache(maxsize=1)
def studio():
    return Studio(stage(12, pushing_morphs(0.0)))


SCENE = Scene(3, yaw=20.0, pitch=-5.0, roll=10.0, width=120.0, flat=True)


@lru_cache(maxsize=1)
def shot():
    return studio().photograph(SCENE)


def exact(photo, scene=SCENE, squash=1.0, roll=0.0):
    """The face that a perfect reconstruction of a scene would give; `roll` more degrees in the plane."""
    model = head_model()
    rng = np.random.default_rng([1_000_003, scene.person])
    vertices = model.vertices(rng.normal(0, 1, len(model.identity)), None).astype(np.float64)
    side = photo.camera.centre_y * 2 + 1
    pose = Pose(
        rotation_from_angles(scene.yaw, scene.pitch, scene.roll), np.array([0.0, 15.0, scene.distance])
    )
    angle = np.radians(roll)
    about = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    pose = Pose(about @ pose.rotation, about @ pose.translation)
    landmarks = photo.camera.project(pose.to_camera(vertices[model.landmark_vertices]))
    flat = vertices * [1, 1, squash]
    mesh = Mesh(
        (flat / 1000).astype(np.float32),
        model.faces,
        vertex_normals(flat, model.faces),
        np.zeros((len(flat), 3), np.uint8),
        np.zeros((len(flat), 2), np.float32),
    )
    face = Face.__new__(Face)
    values = {
        "pose": pose,
        "camera": photo.camera,
        "mesh": mesh,
        "complete": mesh,
        "landmarks": landmarks,
        "landmarks_3d": vertices[model.landmark_vertices] / 1000,
        "crop": crop_from_square(np.full(2, (side - 1) / 2), side, float(np.radians(scene.roll + roll))),
        "maps": SimpleNamespace(region=np.ones((256, 256), np.float32), detail=STEPS),
    }
    for name, value in values.items():
        object.__setattr__(face, name, value)
    return face


def test_a_shot_is_what_its_camera_sees():
    made = shot()
    assert made.pixels.shape == (300, 300, 3)
    rows, columns = np.nonzero(made.face)
    assert 0.03 < made.face.mean() < 0.4
    seen = made.camera.project(made.position[made.face].astype(np.float64))
    np.testing.assert_allclose(seen, np.stack([columns, rows], 1), atol=0.02)
    assert (made.landmarks > 0).all() and (made.landmarks < 300).all()
    facing = -(made.position * made.normals * [1, -1, -1])[made.face].sum(1)
    assert (facing > 0).mean() > 0.97  # normals look at the camera
    again = studio().photograph(SCENE)
    np.testing.assert_array_equal(again.pixels, made.pixels)
    assert not np.array_equal(studio().photograph(replace(SCENE, person=4)).landmarks, made.landmarks)
    assert made.image.focal_35mm == pytest.approx(made.camera.focal * 43.267 / (300 * 2**0.5))


def test_an_expression_moves_the_mouth():
    opened = studio().photograph(replace(SCENE, expression={"jawOpen": 0.8}))
    assert opened.landmarks[8, 1] > shot().landmarks[8, 1] + 5
    with pytest.raises(ValueError, match="no blend shape earWiggle"):
        studio().photograph(replace(SCENE, expression={"earWiggle": 1.0}))


def test_dark_skin_is_dark_and_glasses_hide():
    small = replace(SCENE, width=60.0)
    dark, light = (studio().photograph(replace(small, tone=tone)) for tone in (0.0, 1.0))
    assert dark.pixels[dark.face].mean() < light.pixels[light.face].mean()
    bare, glasses = studio().photograph(small), studio().photograph(replace(small, glasses=True))
    assert glasses.face.sum() < bare.face.sum()


@pytest.mark.parametrize("change", [lambda s: s, lambda s: resized(s, 0.5), lambda s: resized(s, 1.7)])
def test_a_perfect_reconstruction_is_right(change):
    made = change(shot())
    verdict = judge(made, [exact(made)])
    assert verdict.landmarks < 0.5
    assert verdict.shape < 0.15
    assert verdict.normals < 4
    assert verdict.relief == pytest.approx(0.25, rel=0.15)


@pytest.mark.parametrize("degrees", [90.0, -130.0, 37.0])
def test_a_turned_photo_turns_its_truth(degrees):
    made = rotated(shot(), degrees)
    verdict = judge(made, [exact(made, roll=degrees)])
    assert verdict.landmarks < 0.5
    assert verdict.shape < 0.15
    assert verdict.normals < 8


def test_a_flat_face_is_wrong_and_another_face_is_none():
    made = shot()
    flat = exact(made, squash=0.7)
    assert shape_error(made, flat, flat.mesh) > 1
    away = exact(made)
    object.__setattr__(away, "landmarks", away.landmarks + 200)
    assert judge(made, [away]) is None
    assert judge(made, []) is None
    assert meant(made, [away, flat]) is flat
    nowhere = replace(made, position=np.full_like(made.position, np.nan))
    assert np.isnan(shape_error(nowhere, flat, flat.mesh))


@pytest.mark.parametrize("degrees", [0.0, 90.0, -60.0])
def test_a_photo_drifts_from_its_clean_self(degrees):
    clean = shot()
    photo, face = Image(clean.pixels), exact(clean)
    pixels, matrix = turned_photo(clean.pixels, degrees)
    middle = (len(pixels) - 1) / 2
    moved = replace(clean, camera=replace(clean.camera, centre_x=middle, centre_y=middle))
    same = exact(moved, roll=degrees)
    verdict = drift(photo, face, [same], matrix)
    assert verdict.landmarks < 1e-6
    assert verdict.shape < 1e-9
    assert verdict.normals < 5  # the nearest pixel's
    assert verdict.relief == pytest.approx(0.25, rel=0.15)
    assert drift(photo, face, [], matrix) is None
    object.__setattr__(same, "landmarks", same.landmarks + 90)
    assert drift(photo, face, [same], matrix) is None


def test_what_is_done_to_photos():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert generality.scaled(pixels, 0.5).shape == (20, 30, 3)
    assert np.ptp(generality.grey(pixels), axis=2).max() == 0
    assert generality.exposed(pixels, 0.25).mean() < 0.6 * pixels.mean()
    np.testing.assert_array_equal(generality.blurred(pixels, 0), pixels)
    assert generality.blurred(pixels, 2).std() < 0.6 * pixels.std()
    soft = generality.blurred(pixels, 4)
    rough, fine = (np.abs(generality.compressed(soft, q).astype(int) - soft).mean() for q in (5, 95))
    assert rough > 2 * fine
    turned, matrix = turned_photo(soft, 90)
    point = matrix[:, :2] @ [20, 10] + matrix[:, 2]
    there = turned[round(point[1]), round(point[0])].astype(int)
    np.testing.assert_allclose(there, soft[10, 20], atol=8)
    face = exact(shot())
    assert generality.width_of(face) == pytest.approx(120, rel=0.3)
    smaller, matrix = generality._smaller(Image(shot().pixels), face, generality.width_of(face) / 2)
    assert smaller.shape == (150, 150, 3)
    np.testing.assert_allclose(matrix @ [149.5, 149.5, 1], [74.5, 74.5])


def test_a_sculpted_person_is_another_one():
    sculptor = Studio(stage(12, pushing_morphs(4.0)))
    plain, same = studio().photograph(SCENE), sculptor.photograph(SCENE)
    np.testing.assert_array_equal(plain.landmarks, same.landmarks)
    moved = sculptor.photograph(replace(SCENE, sculpted=True)).landmarks - plain.landmarks
    assert np.linalg.norm(moved, axis=1).min() > 3
    with pytest.raises(ValueError, match="morphs"):
        Studio(stage(12)).photograph(replace(SCENE, sculpted=True))


class Remembering(Studio):
    """The studio, all skin flat, that remembers the last scene."""

    def __init__(self):
        self.__dict__.update(studio().__dict__)

    def photograph(self, scene, paint=None):
        self.scene = replace(scene, flat=True)
        return super().photograph(self.scene, paint)


class Perfect(Reconstructor):
    """Reconstructs whatever scene was photographed last."""

    def __init__(self, found=True):
        self.found = found
        self.taker = Remembering()

    @property
    def scene(self):
        return self.taker.scene

    def reconstruct(self, image):
        if not self.found:
            return []
        made = studio().photograph(self.scene)
        face = exact(made, self.scene)
        object.__setattr__(face, "seconds", {})
        focal = image.focal_35mm
        object.__setattr__(face, "camera", replace(made.camera, source="exif" if focal else "default"))
        return [face]


def test_perspective_of_a_perfect_reconstruction(monkeypatch):
    monkeypatch.setattr(perspective, "DISTANCES", (250, 1000))
    monkeypatch.setattr(perspective, "WIDTH", 60)
    perfect, blind = Perfect(), Perfect(False)
    result = perspective.measure(perfect.taker, Trial(perfect), 1)
    assert result.found == [1, 1]
    assert max(result.visible + result.whole + result.blind) < 0.3
    assert result.sources == {"exif"}
    missed = perspective.measure(blind.taker, Trial(blind), 1)
    assert missed.found == [0, 0]
    assert np.isnan(missed.visible).all()


def test_lines_of_perspective():
    result = Perspective(3, [3] * 4, [1.5, 1.0, 1.0, 1.0], [2.0] * 4, [3.0] * 4, frozenset({"exif"}))
    lines = perspective.lines(result)
    assert lines[-1].values == {OURS: 150.0}
    assert lines[1].values == {OURS: 1.5, WHOLE: 2.0}
    assert len({line.data for line in lines}) == len(DISTANCES) + 1


def test_the_focal_length_of_a_photo_file_is_used():
    plain = read_image(ASTRONAUT.read_bytes())
    made = replace(resized(shot(), 512 / 300), pixels=plain.pixels)
    image = read_image(perspective.jpeg_with_focal(made))
    assert image.focal_35mm == round(made.focal_35mm)
    reconstructor = Reconstructor(device="cpu", threads=1, whole=False)
    [with_exif], [without] = reconstructor.reconstruct(image), reconstructor.reconstruct(Image(image.pixels))
    assert (with_exif.camera.source, without.camera.source) == ("exif", "default")
    focal = round(made.focal_35mm) / 43.267 * np.hypot(*plain.pixels.shape[:2])
    assert with_exif.camera.focal == pytest.approx(focal)
    # The same face in the photo, through a longer lens: farther away in proportion.
    ratio = with_exif.pose.translation[2] / without.pose.translation[2]
    assert ratio == pytest.approx(with_exif.camera.focal / without.camera.focal, rel=0.15)


@pytest.mark.parametrize("kind", ["freckles", "moles", "tattoo", "lipstick"])
def test_paint_is_colour_on_some_of_the_skin(kind):
    skin = np.full((TEXTURE, TEXTURE, 3), 180, np.uint8)
    first, second = (colour_relief.paint_of(kind, 5, studio())(skin) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    share = (np.abs(first.astype(int) - skin).max(-1) > 10).mean()
    assert 0.0005 < share < 0.2


def test_unknown_paint():
    with pytest.raises(ValueError):
        colour_relief.paint_of("glitter", 0, studio())
    with pytest.raises(ValueError, match="cast shadows"):
        colour_relief.paint_of("cast shadows", 0, studio())


def test_lipstick_is_on_the_lips():
    made = colour_relief.photograph(studio(), SCENE, "lipstick")
    rows, columns = np.nonzero(np.abs(made.pixels.astype(int) - shot().pixels).max(-1) > 12)
    low, high = made.landmarks[48:68].min(0), made.landmarks[48:68].max(0)
    assert len(rows) > 30
    assert (columns > low[0] - 3).all() and (columns < high[0] + 3).all()
    assert (rows > low[1] - 3).all() and (rows < high[1] + 3).all()


def test_shadows_fall_without_changing_the_shape():
    made = colour_relief.photograph(studio(), SCENE, "cast shadows")
    np.testing.assert_array_equal(made.position, shot().position)
    assert 0.1 < colour_relief.painted(shot(), made).sum() / made.face.sum() <= 1


class Inventive(Perfect):
    """Takes colour for relief: bands of 0.25 mm on everybody, of 0.75 mm on who is painted."""

    def reconstruct(self, image):
        faces = super().reconstruct(image)
        if not np.array_equal(image.pixels, studio().photograph(self.scene).pixels):
            object.__setattr__(
                faces[0],
                "maps",
                replace_namespace(faces[0].maps, detail=3 * STEPS),
            )
        return faces


def replace_namespace(space, **changes):
    return SimpleNamespace(**(vars(space) | changes))


def test_relief_that_colour_adds_is_found_out(monkeypatch):
    monkeypatch.setattr(colour_relief, "WIDTH", 60)
    monkeypatch.setattr(colour_relief, "KINDS", ("moles", "lipstick"))
    for made, added in ((Perfect(), 0.0), (Inventive(), 0.5)):
        result = colour_relief.measure(made.taker, Trial(made), 1)
        assert set(result.added) == {"moles", "lipstick"}
        for kind in result.added:
            assert result.added[kind] == [pytest.approx(added, rel=0.25, abs=1e-6)]
            assert result.total[kind] == [pytest.approx(0.25 + added, rel=0.25)]
    lines = colour_relief.lines(result)
    assert len(lines) == 4
    assert (
        colour_relief.lines(ColourRelief({"moles": [], "lipstick": []}, {"moles": [], "lipstick": []})) == []
    )


def test_series_of_synthetic_people(monkeypatch):
    for name, steps in (
        ("YAWS", (0, 40)),
        ("WIDTHS", (20,)),
        ("QUALITIES", (30,)),
        ("BLURS", (0.0,)),
        ("TILTS", (0,)),
    ):
        monkeypatch.setattr(generality, name, steps)
    monkeypatch.setattr(generality, "BASE_WIDTH", 60)
    monkeypatch.setattr(generality, "USUAL_WIDTH", 40)
    series = generality.synthetic(studio(), Trial(Perfect(False)), 1)
    assert [each.name for each in series] == ["yaw", "width", "jpeg", "blur", "tilt", "kinds"]
    assert all(each.found == [0] * len(each.steps) for each in series)
    assert {"usual", "grey", "glasses", "eyes closed", "mouth open", "dark skin"} <= set(series[-1].steps)


def test_series_of_real_photos():
    made = shot()

    class Steady(Perfect):
        def reconstruct(self, image):
            same = image.pixels.shape == made.pixels.shape
            face = exact(made)
            object.__setattr__(face, "seconds", {})
            return [face] if same else []

    series = {each.name: each for each in generality.real([Image(made.pixels)], Trial(Steady()))}
    assert series["real jpeg"].found == [1] * len(generality.QUALITIES)
    assert all(step[0].landmarks == pytest.approx(0, abs=1e-6) for step in series["real light"].verdicts)
    assert series["real tilt"].found[0] == 0 or series["real tilt"].steps[0] == 0
    assert generality.real([Image(made.pixels)], Trial(Perfect(False)))[0].asked == 0


def test_lines_and_plots_of_series():
    from facecli.train import plots
    from facecli.train.normals import Sight

    verdict = Verdict(1.0, 2.0, 3.0, 0.1)
    numbers = Series("real width", "px", (40.0, 80.0), [[], [verdict, replace(verdict, landmarks=3.0)]], 2)
    names = Series("kinds", "", ("usual", "glasses"), [[verdict], [verdict]], 1)
    lines = synthetic.lines_of(numbers)
    assert [line.values[OURS] for line in lines] == [0.0, 2.0, 2.0]
    assert synthetic.lines_of(names)[0].data == "kinds: usual"
    sights = [Sight(float(k), {OURS: k + 1.0}, {}, {OURS: 2.0} if k % 2 else {}, {}) for k in range(9)]
    near = Perspective(1, [1] * 4, [1.0] * 4, [2.0] * 4, [np.nan] * 4, frozenset())
    shape = np.random.default_rng(0).normal(size=(68, 2))
    for picture in (
        plots.series(numbers),
        plots.series(names),
        plots.perspective(near),
        plots.normals_by_light(sights, "title"),
        plots.normals_by_light([], "nothing"),
        plots.landmark_offsets(shape, {OURS: shape / 10}),
        plots.landmark_offsets(shape, {}),
    ):
        pixels = read_image(picture).pixels
        assert min(pixels.shape[:2]) > 200
        assert pixels.std() > 1
