"""A head made of formulas, and the exact maps a camera sees of it: ground truth for the geometry's tests."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from facecli.camera import Camera, Pose, rotation_from_angles
from facecli.crop import CROP, Crop, crop_from_square

RADII = np.array([72.0, 105.0, 92.0])


def bump(direction, towards, width):
    towards = np.array(towards, dtype=float)
    return np.exp((direction @ (towards / np.linalg.norm(towards)) - 1) / width**2)


def outline(direction):
    """Distance (mm) from the head centre to the surface: an egg with nose, brows, sockets, lips and chin."""
    egg = 1 / np.linalg.norm(direction / RADII, axis=-1)
    shape = 22 * bump(direction, [0, -0.17, 1], 0.13) + 9 * bump(direction, [0, 0.08, 1], 0.1)
    shape += 4 * (bump(direction, [0.33, 0.42, 1], 0.18) + bump(direction, [-0.33, 0.42, 1], 0.18))
    shape -= 7 * (bump(direction, [0.36, 0.2, 1], 0.14) + bump(direction, [-0.36, 0.2, 1], 0.14))
    shape += 4 * (bump(direction, [0.36, 0.2, 1], 0.07) + bump(direction, [-0.36, 0.2, 1], 0.07))
    for x in (-0.16, 0.0, 0.16):
        shape += 2.5 * (bump(direction, [x, -0.5, 1], 0.055) + bump(direction, [x, -0.62, 1], 0.06))
    return egg + shape + 7 * bump(direction, [0, -1.0, 1], 0.17)


def swelling(points):
    """A person's smooth difference from the template, mm, at places (mm) of the person's head."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack(
        [0.04 * x + 1.5 * np.sin(y / 45), 1.5 * np.cos(x / 50) - 0.03 * y, 2.0 * np.sin(y / 40) + 0.02 * z],
        axis=-1,
    )


def landmarks():
    """68 points of the template, laid out roughly as the iBUG ones."""
    jaw = [
        (np.sin(a), -0.1 - 0.85 * np.cos(a) ** 1.5, 0.25 + 0.75 * np.cos(a))
        for a in np.radians(np.linspace(-85, 85, 17))
    ]
    brows = [
        (s * x, 0.36 + 0.06 * np.sin(6 * x), 1)
        for s, xs in ((-1, [0.58, 0.46, 0.35, 0.24, 0.12]),)
        for x in xs
    ]
    brows += [(-x, y, z) for x, y, z in reversed(brows)]
    nose = [(0, y, 1) for y in (0.2, 0.08, -0.05, -0.17)] + [
        (x, -0.28, 1) for x in (-0.14, -0.07, 0, 0.07, 0.14)
    ]
    eye = [
        (-0.46, 0.2, 1),
        (-0.4, 0.25, 1),
        (-0.32, 0.25, 1),
        (-0.24, 0.2, 1),
        (-0.32, 0.16, 1),
        (-0.4, 0.16, 1),
    ]
    eyes = eye + [(-eye[i][0], *eye[i][1:]) for i in (3, 2, 1, 0, 5, 4)]
    ring = [(-0.3, -0.56)] + [(x, -0.48) for x in (-0.2, -0.08, 0, 0.08, 0.2)] + [(0.3, -0.56)]
    ring += [(x, -0.66) for x in (0.2, 0.08, 0, -0.08, -0.2)]
    inner = [
        (-0.24, -0.56),
        (-0.1, -0.55),
        (0, -0.55),
        (0.1, -0.55),
        (0.24, -0.56),
        (0.1, -0.57),
        (0, -0.57),
        (-0.1, -0.57),
    ]
    directions = np.array(jaw + brows + nose + eyes + [(x, y, 1) for x, y in ring + inner], dtype=float)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert directions.shape == (68, 3)
    return directions * outline(directions)[:, None]


@dataclass(frozen=True)
class Scene:
    """Maps of a crop of a photo of the head; coordinates on the template, positions in the camera frame."""

    pose: Pose
    camera: Camera
    crop: Crop
    pixels: np.ndarray  # h w 2, photo frame
    rays: np.ndarray  # h w 3
    mask: np.ndarray  # h w
    positions: np.ndarray  # h w 3, camera frame mm
    coordinate: np.ndarray  # h w 3, template mm
    depth: np.ndarray  # h w, mm relative to the head centre

    def sees(self, points):
        """Which points of the surface (camera frame, mm) nothing hides."""
        hit = trace(self.pose, self.camera.rays(self.camera.project(points)), self.swollen)
        return np.abs(hit - points[:, 2]) < 0.5

    swollen: bool = True


def trace(pose, rays, swollen):
    """Depth z (mm) of the first hit of each ray (n 3, z = 1), nan without one: marching, then bisection."""

    near, far = pose.translation[2] - 150, pose.translation[2] + 110
    steps = np.linspace(max(near, 20), far, 140)
    low, high = np.full(len(rays), np.nan), np.full(len(rays), np.nan)
    for before, after in pairwise(steps):
        todo = np.flatnonzero(np.isnan(high))
        hit = todo[outside(pose, rays, swollen, todo, after) < 0]
        low[hit], high[hit] = before, after
    found = np.flatnonzero(~np.isnan(high))
    for _ in range(40):
        middle = (low[found] + high[found]) / 2
        out = outside(pose, rays, swollen, found, middle) > 0
        low[found] = np.where(out, middle, low[found])
        high[found] = np.where(out, high[found], middle)
    return (low + high) / 2


def outside(pose, rays, swollen, which, z):
    """How far (mm) the points at depth z on some of the rays are above the surface."""
    person = pose.to_head(rays[which] * np.reshape(z, (-1, 1)))
    template = person - swelling(person) if swollen else person
    distance = np.linalg.norm(template, axis=1)
    return distance - outline(template / distance[:, None])


@lru_cache(maxsize=32)
def scene(yaw=0.0, pitch=0.0, roll=0.0, distance=600.0, size=128, swollen=True):
    """The head before a camera of 1500 px focal, off the photo's middle, in a crop that leans with it.

    Made once: copy before changing.
    """
    camera = Camera(1500.0, 599.5, 449.5, "default")
    pose = Pose(
        rotation_from_angles(yaw, pitch, roll), np.array([0.06 * distance, -0.04 * distance, distance])
    )
    centre = camera.project(pose.translation[None])[0]
    crop = crop_from_square(centre, 270.0 * camera.focal / distance, float(np.radians(roll)))
    at = (np.arange(size) + 0.5) * CROP / size - 0.5
    grid = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
    pixels = crop.to_photo(grid)
    rays = camera.rays(pixels)
    z = trace(pose, rays, swollen)
    positions = rays * z[:, None]
    head = pose.to_head(positions)
    coordinate = head - swelling(head) if swollen else head
    # The face: in front of the ears, below the hairline.
    with np.errstate(invalid="ignore"):
        mask = ~np.isnan(z) & (coordinate[:, 2] > 0) & (coordinate[:, 1] < 75)
    shape = (size, size)
    return Scene(
        pose=pose,
        camera=camera,
        crop=crop,
        pixels=pixels.reshape(*shape, 2),
        rays=rays.reshape(*shape, 3),
        mask=mask.reshape(shape),
        positions=np.where(mask[:, None], positions, 0).reshape(*shape, 3),
        coordinate=np.where(mask[:, None], coordinate, 0).reshape(*shape, 3),
        depth=np.where(mask, pose.translation[2] - z, 0).reshape(shape),
        swollen=swollen,
    )


def person_point(template):
    """Where template points (mm) are on the person: the inverse of x - swelling(x)."""
    person = template.copy()
    for _ in range(200):
        person = template + swelling(person)
    return person


def icosphere(divisions=4):
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=divisions)
    return ball.vertices.astype(np.float32), ball.faces.astype(np.int32)


def disc(size, x, y, radius):
    grid_y, grid_x = np.mgrid[:size, :size]
    return (grid_x - x) ** 2 + (grid_y - y) ** 2 < radius**2
