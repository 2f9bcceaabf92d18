"""One training sample: a crop of 512 or 256 px with its labels in the network's own layout."""

from dataclasses import dataclass
from typing import no_type_check

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from facecli.train.headmodel import GUMS, LACRIMAL, SCLERA_LEFT, TEETH
from facecli.upsample import upsample_masked

FULL = 512
"""Side of a sample with detail; samples without are made at half of it, which is four times as fast."""
REGION = 256
COARSE = 128
CROP_MARGIN = 1.45
"""Side of an unjittered crop over the longer side of the box of the projected face."""
LARGEST_DETAIL = 2.5
"""mm; whatever differs more from the coarse surface lies on another one: behind the nose, within the mouth."""
STEEP = 5.0
"""mm of depth from one side of a coarse pixel's neighbours to the other."""
FAR = 1e6
"""mm: farther than any surface."""
BESIDE, ABOVE, BELOW, BEHIND = 52.0, 28.0, -92.0, 25.0
"""Bounds of the template's eyes, nose and mouth: |x|, y, y, z, mm."""
KNOWN = 0.6
"""More than this share of a coarse pixel has to be surface."""
UNIT = 100.0
"""Template coordinates and depth are stored in units of this many mm."""


@dataclass(frozen=True)
class Sample:
    """`coarse` holds template coordinate (3) and depth (1), unit 100 mm, where `known` > 0; `detail` is the
    displacement in mm along the coarse normal that makes the true surface of the coarse one, skin relief
    included, not a number where that is not known. `known` is 1 where the depth is exact, less where it comes
    from a fit, 0 where there is no surface. `footprint` is the mm that one pixel of the 128 px map spans at
    the head centre. `depth_weight` is what the depth of this source is worth. `source` is one of `shards.SHARE`,
    or "taught" (see `teach`).
    `expression`: the weights of the head model's shapes, where they were kept."""

    image: UInt8[np.ndarray, "s s 3"]
    region: UInt8[np.ndarray, "256 256"]
    coarse: Float[np.ndarray, "128 128 4"]
    known: Float[np.ndarray, "128 128"]
    detail: Float[np.ndarray, "512 512"] | None
    footprint: float
    depth_weight: float
    opening: UInt8[np.ndarray, "128 128"]
    source: str = ""
    expression: Float[np.ndarray, " e"] | None = None


def pack_opening(
    part: Int[np.ndarray, "s s"], surface: Bool[np.ndarray, "s s"]
) -> UInt8[np.ndarray, "128 128"]:
    """Share, 0..255, of each cell's surface that shows eyes, teeth or gums: what lids and lips uncover.

    Template coordinates hardly tell: teeth are a few mm from the lips there, and eyes nearer still. `part`: the
    material of each pixel, less than 0 where there is none.
    """
    out = np.zeros((COARSE, COARSE), np.uint8)
    _opening(part, surface, len(part) // COARSE, out)
    return out


@numba.njit(cache=True, nogil=True)
@no_type_check  # numba compiles the function itself, not a wrapper of it
def _opening(part, surface, step, out):
    for i in range(COARSE):
        for j in range(COARSE):
            uncovered = drawn = 0
            for k in range(i * step, (i + 1) * step):
                for m in range(j * step, (j + 1) * step):
                    if surface[k, m]:
                        what, drawn = part[k, m], drawn + 1
                        if what == GUMS or what == TEETH or SCLERA_LEFT <= what < LACRIMAL:
                            uncovered += 1
            if uncovered:
                out[i, j] = np.rint(uncovered / drawn * 255)


def pack_coarse(
    coordinate: Float[np.ndarray, "s s 3"], depth: Float[np.ndarray, "s s"], surface: Bool[np.ndarray, "s s"]
) -> tuple[Float[np.ndarray, "128 128 4"], Float[np.ndarray, "128 128"]]:
    """Average the maps to 128 px over pixels of the surface only; known where most of a cell is surface."""
    mean, known = np.zeros((COARSE, COARSE, 4), np.float32), np.zeros((COARSE, COARSE), np.float32)
    _averaged(coordinate, depth, surface, len(surface) // COARSE, mean, known)
    return mean, known


@numba.njit(cache=True, nogil=True)
@no_type_check
def _averaged(coordinate, depth, surface, step, mean, known):
    for i in range(COARSE):
        for j in range(COARSE):
            x = y = z = far = 0.0
            count = 0
            for k in range(i * step, (i + 1) * step):
                for m in range(j * step, (j + 1) * step):
                    if surface[k, m]:
                        x, y, z = x + coordinate[k, m, 0], y + coordinate[k, m, 1], z + coordinate[k, m, 2]
                        far, count = far + depth[k, m], count + 1
            if count:
                each = 1 / (count * UNIT)
                mean[i, j, 0], mean[i, j, 1] = x * each, y * each
                mean[i, j, 2], mean[i, j, 3] = z * each, far * each
                known[i, j] = count > KNOWN * step * step


def pack_detail(
    depth: Float[np.ndarray, "512 512"],
    facing: Float[np.ndarray, "512 512"],
    relief: Float[np.ndarray, "512 512"],
    coarse: Float[np.ndarray, "128 128 4"],
    known: Float[np.ndarray, "128 128"],
    skin: Bool[np.ndarray, "512 512"],
) -> Float[np.ndarray, "512 512"]:
    """What 128 px cannot hold of the surface, and the relief on it, mm along the normal; only known on `skin`.

    depth: mm towards the camera, facing: cosine between normal and line of sight. Not known either next to a step
    from one surface to another, where a coarse pixel holds the mean of both. Near the end of the known surface, and
    where it is steep, it is the relief alone: there what is lost hangs on where the pixels' edges happen to be.
    """
    smooth = upsample_masked(coarse[..., 3] * UNIT, known > 0, FULL)
    lost = (depth - smooth) * facing
    near_step = cv2.dilate((np.abs(lost) > LARGEST_DETAIL).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    inside = skin & ~near_step & (cv2.resize(known, (FULL, FULL), interpolation=cv2.INTER_NEAREST) > 0)
    counted = cv2.resize(gentle(coarse[..., 3] * UNIT, known), (FULL, FULL), interpolation=cv2.INTER_LINEAR)
    return np.where(inside, lost * counted + relief, np.nan).astype(np.float32)


def gentle(
    depth: Float[np.ndarray, "128 128"], known: Float[np.ndarray, "128 128"]
) -> Float[np.ndarray, "128 128"]:
    """1 where all pixels around are known, and of nearly one depth (mm); else 0."""
    around = np.ones((3, 3))
    nearest = cv2.dilate(np.where(known > 0, depth, -FAR), around)
    farthest = cv2.erode(np.where(known > 0, depth, FAR), around)
    return np.asarray(cv2.erode(known, around) * (nearest - farthest < STEEP), np.float32)


def viewing_axis(
    frame: Float[np.ndarray, "2 3"], size: int, focal: float, centre: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "3"]:
    """Unit vector of the camera frame through the crop's centre: depth is measured along it.

    Along the camera's own axis the depth of a face would depend on where in the photo it is, which its crop does
    not show. `frame` takes photo pixels to the crop's, `focal` and `centre` are the photo's camera.
    """
    middle = np.linalg.solve(frame[:, :2], (size / 2 - 0.5) - frame[:, 2])
    axis = np.append((middle - centre) / focal, 1.0)
    return np.asarray(axis / np.linalg.norm(axis))


def pack_region(region: Bool[np.ndarray, "s s"]) -> UInt8[np.ndarray, "256 256"]:
    """Area-averaged region, 0..255."""
    return cv2.resize(region.astype(np.uint8) * 255, (REGION, REGION), interpolation=cv2.INTER_AREA)


def jittered_frame(
    rng: np.random.Generator, box_points: Float[np.ndarray, "p 2"], roll_spread: float, size: int
) -> Float[np.ndarray, "2 3"]:
    """Crop of the projected face with the errors a detector makes: centre +-10 %, size 0.8-1.25, roll."""
    low, high = box_points.min(0), box_points.max(0)
    side = CROP_MARGIN * (high - low).max() * np.exp(np.clip(rng.normal(0, 0.09), -0.22, 0.22))
    centre = (low + high) / 2 + np.clip(rng.normal(0, 0.035, 2), -0.1, 0.1) * side
    roll = (
        np.deg2rad(np.clip(rng.normal(0, roll_spread), -45, 45))
        if rng.random() < 0.9
        else rng.uniform(-0.75, 0.75)
    )
    scale = size / side
    turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return np.c_[turn, (size / 2 - 0.5) - turn @ centre]


def euler(yaw: float, pitch: float, roll: float = 0.0) -> Float[np.ndarray, "3 3"]:
    """Head rotation in the head frame from radians: yaw about y, then pitch about x, then roll about z."""
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


EXPRESSIVE = {
    "jawOpen": 0.8, "mouthSmile": 1.0, "mouthFrown": 0.6, "mouthPucker": 0.8, "mouthFunnel": 0.7,
    "mouthStretch": 0.7, "mouthUpperUp": 0.6, "mouthLowerDown": 0.6, "mouthLeft": 0.5, "mouthRight": 0.5,
    "mouthPress": 0.6, "mouthDimple": 0.6, "mouthRollLower": 0.5, "mouthRollUpper": 0.5,
    "mouthShrugLower": 0.6, "mouthShrugUpper": 0.6, "jawLeft": 0.4, "jawRight": 0.4, "jawForward": 0.4,
    "cheekPuff": 0.6, "cheekSquint": 0.7, "browDown": 0.8, "browInnerUp": 0.8, "browOuterUp": 0.8,
    "noseSneer": 0.7, "eyeBlink": 1.0, "eyeSquint": 0.8, "eyeWide": 0.7, "eyeLook": 0.8,
}  # fmt: skip
"""Strongest weight of each group of blend shapes that random expressions use."""


def random_expression(rng: np.random.Generator, names: tuple[str, ...]) -> Float[np.ndarray, "e"]:
    """A sparse expression: a few groups at random strength, left and right mostly together."""
    beta = np.zeros(len(names), np.float32)
    groups = list(EXPRESSIVE)
    for group in rng.choice(groups, rng.integers(0, 6), replace=False):
        if group == "eyeBlink" and rng.random() < 0.5:
            continue
        strength = rng.beta(1.2, 1.6) * EXPRESSIVE[group]
        members = [i for i, name in enumerate(names) if name.startswith(group)]
        if group == "eyeLook":
            direction = rng.choice(["Up", "Down", "Left", "Right"])
            wanted = {"Left": ("Out_L", "In_R"), "Right": ("In_L", "Out_R")}.get(direction, (direction,))
            members = [i for i in members if any(w in names[i] for w in wanted)]
        lopsided = rng.random() < 0.25
        for i in members:
            beta[i] = strength * (rng.random() if lopsided else 1)
    return beta


def lively_expression(rng: np.random.Generator, names: tuple[str, ...]) -> Float[np.ndarray, "e"]:
    """A random expression; in two of five the mouth open (speech, laughter, lips that hardly part), in one of six the
    lids lowered."""
    beta = random_expression(rng, names)

    def add(group: str, strength: float) -> None:
        members = [i for i, name in enumerate(names) if name.startswith(group)]
        beta[members] = np.clip(beta[members] + strength, 0, 1)

    if rng.random() < 0.16:
        add("eyeBlink", rng.uniform(0.15, 1.0))
    if rng.random() < 0.6:
        return beta
    kind = rng.random()
    if kind < 0.3:
        add("jawOpen", rng.uniform(0.03, 0.25))
    elif kind < 0.65:
        add("jawOpen", rng.beta(1.3, 1.8))
        add(
            str(rng.choice(["mouthFunnel", "mouthPucker", "mouthStretch", "mouthLowerDown"])),
            rng.uniform(0, 0.5),
        )
    else:
        add("mouthSmile", rng.uniform(0.3, 0.9))
        add("mouthUpperUp", rng.uniform(0, 0.5))
        add("mouthLowerDown", rng.uniform(0, 0.6))
        add("jawOpen", rng.beta(1.0, 3.0) * 0.7)
        add("cheekSquint", rng.uniform(0, 0.6))
    return beta
