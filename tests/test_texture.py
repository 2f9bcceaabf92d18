"""The texture of a whole face: painted heads seen by a known camera, so every texel's right colour is known."""

from dataclasses import replace

import numpy as np
import pytest

from facecli.camera import Camera, Pose, rotation_from_angles
from facecli.complete import FaceModel, Surface, load_face_model
from facecli.crop import CROP, Crop, crop_from_square
from facecli.grid import grid_normals
from facecli.mouth import with_inner_mouth
from facecli.texture import (
    SIZE,
    Shown,
    Skin,
    bake,
    project,
    unlit,
    vertex_colors,
)
from facecli.weights import load_weights

CAMERA = Camera(1500.0, 599.5, 449.5, "default")
SKIN, HAIR = np.array([190.0, 140.0, 110.0]), (20, 30, 160)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model(load_weights())


@pytest.fixture(scope="module")
def surface(model: FaceModel) -> Surface:
    return Surface(model.mean.astype(np.float64), np.ones(model.mean.shape[:2]))


def posed(yaw: float) -> tuple[Pose, Crop]:
    pose = Pose(rotation_from_angles(yaw, 0.0, 0.0), np.array([20.0, -10.0, 600.0]))
    return pose, crop_from_square(CAMERA.project(pose.translation[None])[0], 640.0)


def seen(
    model: FaceModel,
    surface: Surface,
    colours: np.ndarray,
    pose: Pose,
    crop: Crop,
    beyond: tuple[int, ...] = HAIR,
) -> tuple[np.ndarray, Shown]:
    """The crop (256 px) of a surface with these colours (g g 3) before a wall of one colour, and its depth."""
    from facecli.raster import rasterize

    places, depth = project(surface, CAMERA, pose, crop)
    size = depth.shape[0]
    vertices = np.concatenate([places.reshape(-1, 2), 1 / depth.reshape(-1, 1)], axis=1).astype(np.float64)
    used = np.rint(model.cells).astype(int)
    faces = (used[:, 1] * size + used[:, 0])[model.faces].astype(np.int32)
    index, share = rasterize(vertices, faces, CROP, CROP)
    region = index >= 0
    picture = np.full((CROP, CROP, 3), beyond, np.uint8)
    corners = faces[index[region]]
    weights = share[region][..., None]
    picture[region] = np.rint((weights * colours.reshape(-1, 3)[corners]).sum(1))
    z = np.zeros((CROP, CROP))
    z[region] = 1 / (share[region] * vertices[corners, 2]).sum(1)
    return picture, Shown(z, region)


def painted(surface: Surface, symmetric: bool = False) -> np.ndarray:
    """A smooth pattern on the face, sRGB values."""
    x, y, _ = np.moveaxis(surface.positions, 2, 0)
    x = np.abs(x) if symmetric else x
    return np.stack([140 + 60 * np.sin(x / 15), 120 + 50 * np.cos(y / 15), 100 + 0 * x], 2)


def cells_of(texture: np.ndarray, size: int = 128) -> np.ndarray:
    import cv2

    return np.asarray(cv2.resize(texture, (size, size), interpolation=cv2.INTER_AREA)).astype(float)


def inside(model: FaceModel) -> np.ndarray:
    """Cells of the face, but for nostrils and the inner mouth, which nobody sees."""
    column, row = np.rint(model.cells).astype(int).T
    used = np.zeros(model.mean.shape[:2], bool)
    used[row, column] = True
    return used & ~model.lips


@pytest.fixture(scope="module")
def frontal(model: FaceModel, surface: Surface) -> Skin:
    pose, crop = posed(0.0)
    picture, shown = seen(model, surface, painted(surface), pose, crop)
    return bake(model, surface, shown, picture, CAMERA, pose, crop)


def test_what_the_photo_shows_is_its_colour(model: FaceModel, surface: Surface, frontal: Skin) -> None:
    assert frontal.texture.shape == (SIZE, SIZE, 3) and frontal.visibility.shape == (SIZE, SIZE)
    sure = inside(model) & (cells_of(frontal.visibility) > 250)
    assert sure.sum() > 4000
    error = np.abs(cells_of(frontal.texture) - painted(surface))[sure]
    assert np.median(error) < 1.5 and np.percentile(error, 95) < 8


def test_nothing_of_the_background_bleeds_in(model: FaceModel, frontal: Skin) -> None:
    blue = frontal.texture[..., 2].astype(int) - frontal.texture[..., 0]
    assert blue.max() < 60, "the wall is bluer than red by 140, the face by 20 at most"


@pytest.mark.parametrize("yaw", [-50.0, 50.0])
def test_the_far_side_is_hidden_and_takes_the_near_sides_colours(
    model: FaceModel, surface: Surface, yaw: float
) -> None:
    pose, crop = posed(yaw)
    colours = painted(surface, symmetric=True)
    picture, shown = seen(model, surface, colours, pose, crop)
    skin = bake(model, surface, shown, picture, CAMERA, pose, crop)
    x = surface.positions[..., 0] * np.sign(yaw)
    far, near = inside(model) & (x < -45), inside(model) & (x > 20) & (x < 60)
    visible = cells_of(skin.visibility)
    if np.median(visible[far]) > np.median(visible[near]):
        far, near = near, far
    assert np.median(visible[near]) > 250 and np.median(visible[far]) < 5
    error = np.abs(cells_of(skin.texture) - colours)[far]
    assert np.median(error) < 6, "mirrored"
    blue = skin.texture[..., 2].astype(int) - skin.texture[..., 0]
    assert blue.max() < 60


def parted(model: FaceModel) -> Surface:
    """The mean face with its lower lip 12 mm farther down."""
    size, positions = len(model.mean), model.mean.astype(np.float64)
    for lowest in np.unique(model.bag[:, 2]):
        row, column = divmod(int(lowest), size)
        positions[row:, column, 1] -= 12 * np.exp(-np.arange(size - row) / 12)
    return Surface(with_inner_mouth(model.bag, positions), np.ones((size, size)))


@pytest.mark.parametrize("yaw", [-80.0, 0.0, 80.0])
def test_an_inner_mouth_is_seen_where_a_lip_is(model: FaceModel, yaw: float) -> None:
    pose, crop = posed(yaw)
    surface = parted(model)
    picture, shown = seen(model, surface, painted(surface, symmetric=True), pose, crop)
    visible = cells_of(bake(model, surface, shown, picture, CAMERA, pose, crop).visibility).reshape(-1)
    cell = model.bag[:, 0]
    x = model.mean[..., 0].reshape(-1)[cell]
    if yaw == 0:
        assert np.median(visible[cell[np.abs(x) < 15]]) > 200
    else:
        hidden = [visible[cell[x * side > 8]] for side in (-1, 1)]
        assert min(part.max() for part in hidden) < 30, "one half of the mouth is behind the other"


def eye(model: FaceModel, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cells between the lids."""
    group = next(group for group in model.groups if group.name == name)
    column, row = np.rint(model.cells[np.unique(group.quads)]).astype(int).T
    return row, column


def with_eyes(model: FaceModel, surface: Surface, shift: dict[str, int]) -> np.ndarray:
    """Skin, and in the white of each eye something dark, so many columns to the texture's right of the middle."""
    colours = np.tile(SKIN, (*surface.seen.shape, 1))
    for name, by in shift.items():
        row, column = eye(model, name)
        middle = column.mean() + by
        dark = np.abs(column - middle) < 3.1
        colours[row, column] = np.where(dark[:, None], [40.0, 60.0, 70.0], [225.0, 222.0, 220.0])
    return colours


def assert_far_eye_is_right(model: FaceModel, surface: Surface, yaw: float, shift: dict[str, int]) -> None:
    """What is hidden of the eye that the photo shows less of has the colours that it has in truth."""
    pose, crop = posed(yaw)
    colours = with_eyes(model, surface, shift)
    picture, shown = seen(model, surface, colours, pose, crop)
    skin = bake(model, surface, shown, picture, CAMERA, pose, crop)
    visible = cells_of(skin.visibility)
    means = {name: visible[eye(model, name)].mean() for name in shift}
    far = min(means, key=means.__getitem__)
    assert means[far] < 230, "some of it is hidden"
    row, column = eye(model, far)
    within = np.abs(column - column.mean()) < 7  # the corners' lids lie between cells
    error = np.abs(cells_of(skin.texture) - colours)[row[within], column[within]].max(1)
    assert np.median(error) < 40 and (error > 90).mean() < 0.2


@pytest.mark.parametrize("yaw", [-48.0, -38.0, 38.0, 48.0])
@pytest.mark.parametrize("aside", [-4, 4])
def test_hidden_eyes_look_where_the_other_one_does(
    model: FaceModel, surface: Surface, yaw: float, aside: int
) -> None:
    assert_far_eye_is_right(model, surface, yaw, {"right_eye": aside, "left_eye": aside})


@pytest.mark.parametrize("yaw", [-38.0, -30.0, 30.0, 38.0])
@pytest.mark.parametrize("aside", [-4, 4])
def test_what_is_alike_in_a_mirror_in_both_eyes_stays_so(
    model: FaceModel, surface: Surface, yaw: float, aside: int
) -> None:
    """As lashes on shut lids are. What is seen of both tells."""
    assert_far_eye_is_right(model, surface, yaw, {"right_eye": aside, "left_eye": -aside})


def test_twins_of_skin_are_mirrored_and_those_of_eyes_lie_as_far_to_the_same_side(model: FaceModel) -> None:
    size = model.mean.shape[0]
    column = np.broadcast_to(np.arange(size), model.twins.shape)
    turned = model.twins != column[:, ::-1]
    assert 120 < turned.sum() < 2 * len(eye(model, "left_eye")[0])
    for name, other in (("right_eye", "left_eye"), ("left_eye", "right_eye")):
        cells, others = (set(zip(*eye(model, which), strict=True)) for which in (name, other))
        middle, far = (eye(model, which)[1].mean() for which in (name, other))
        rows, columns = np.nonzero(turned & ((column < size / 2) == (name == "right_eye")))
        assert set(zip(rows, columns, strict=True)) <= cells
        twins = model.twins[rows, columns]
        assert set(zip(rows, twins, strict=True)) <= others
        np.testing.assert_allclose(twins - far, columns - middle, atol=0.2)
        np.testing.assert_array_equal(model.twins[rows, twins], columns)


def test_a_nose_does_not_print_itself_on_the_cheek_behind_it(model: FaceModel, surface: Surface) -> None:
    pose, crop = posed(60.0)
    nose = np.linalg.norm(surface.positions - [0.0, -35.0, 92.0], axis=2) < 22
    colours = np.where(nose[..., None], [20.0, 200.0, 20.0], SKIN)
    picture, shown = seen(model, surface, colours, pose, crop)
    skin = bake(model, surface, shown, picture, CAMERA, pose, crop)
    green = cells_of(skin.texture)[..., 1] - cells_of(skin.texture)[..., 0]
    elsewhere = inside(model) & (np.linalg.norm(surface.positions - [0.0, -35.0, 92.0], axis=2) > 36)
    assert np.percentile(green[elsewhere], 99) < 20


def test_hair_inside_the_regions_edge_is_not_skin(model: FaceModel, surface: Surface) -> None:
    """A fringe of 6 pixels that the region wrongly holds."""
    import cv2

    pose, crop = posed(0.0)
    picture, shown = seen(model, surface, np.broadcast_to(SKIN, (128, 128, 3)), pose, crop)
    deep = cv2.erode(shown.region.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    picture[~deep] = (40, 25, 15)
    skin = bake(model, surface, shown, picture, CAMERA, pose, crop)
    far = np.abs(skin.texture.astype(int) - SKIN).max(axis=2)
    cells = cells_of(far.astype(np.float32))[inside(model)]
    assert np.percentile(cells, 98) < 25


def test_brows_do_not_spread_over_what_a_fringe_hides(model: FaceModel, surface: Surface) -> None:
    pose, crop = posed(0.0)
    height = surface.positions[..., 1]
    lowest = 32.0  # mm: of the fringe
    brow = (height > lowest - 22) & ~model.eyes
    colours = np.where(brow[..., None], 0.25 * SKIN, SKIN)
    picture, shown = seen(model, surface, colours, pose, crop)
    middle = surface.positions[:, 64]
    last = project(surface, CAMERA, pose, crop)[0][np.abs(middle[:, 1] - lowest).argmin(), 64, 1]
    region = shown.region.copy()
    region[: int(last)] = False
    picture[: int(last)] = HAIR
    skin = bake(model, surface, replace(shown, region=region), picture, CAMERA, pose, crop)
    forehead = inside(model) & (height > lowest + 20)
    assert forehead.sum() > 500
    assert np.abs(cells_of(skin.texture)[forehead] - SKIN).max() < 40


def test_a_fold_of_light_between_the_sides_leaves_no_seam(model: FaceModel, surface: Surface) -> None:
    """Half the face is darker by a smooth step; filled texels must not jump where the photo's end."""
    pose, crop = posed(40.0)
    shade = 1 / (1 + np.exp(-surface.positions[..., :1] / 25))
    picture, shown = seen(model, surface, SKIN * (0.5 + 0.5 * shade), pose, crop)
    skin = bake(model, surface, shown, picture, CAMERA, pose, crop)
    jump = np.abs(np.diff(cells_of(skin.texture)[..., 0], axis=1))[inside(model)[:, 1:]]
    assert jump.max() < 15 and np.percentile(jump, 99.5) < 7


def test_nothing_seen_is_no_error(model: FaceModel, surface: Surface) -> None:
    pose, crop = posed(0.0)
    nothing = Shown(np.zeros((CROP, CROP)), np.zeros((CROP, CROP), bool))
    skin = bake(model, surface, nothing, np.full((CROP, CROP, 3), 77, np.uint8), CAMERA, pose, crop)
    assert not skin.visibility.any()
    assert np.array_equal(unlit(skin).albedo, skin.texture)


def test_vertex_colours_are_the_textures(model: FaceModel, surface: Surface, frontal: Skin) -> None:
    colours = vertex_colors(frontal.texture, model.uv)
    assert colours.shape == (len(model.cells), 3)
    column, row = np.rint(model.cells).astype(int).T
    np.testing.assert_array_equal(colours, cells_of(frontal.texture)[row, column].astype(np.uint8))


def test_light_is_divided_out(model: FaceModel, surface: Surface) -> None:
    normal = grid_normals(surface.positions)
    light = np.clip(0.55 + 0.45 * normal @ [0.6, 0.3, 0.74], 0.1, None)
    linear = ((SKIN / 255) ** 2.2) * light[..., None]
    texture = np.clip(255 * linear ** (1 / 2.2), 0, 255).astype(np.uint8)
    skin = Skin(surface, np.kron(texture, np.ones((8, 8, 1), np.uint8)), np.full((SIZE, SIZE), 255, np.uint8))
    found = unlit(skin)
    face = inside(model)

    def unevenness(picture: np.ndarray) -> float:
        return float((cells_of(picture)[face].std(0) / cells_of(picture)[face].mean(0)).max())

    assert unevenness(skin.texture) > 0.12
    assert unevenness(found.albedo) < 0.25 * unevenness(skin.texture)
    assert abs(cells_of(found.albedo)[face].mean() - cells_of(skin.texture)[face].mean()) < 12
    assert found.light[1, 0] > 0.1, "it comes from the subject's left"
