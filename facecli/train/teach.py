"""Portraits labelled by the network itself: what it sees in several looks, taken together, teaches one look.

Data distillation (Radosavovic et al., "Data Distillation: Towards Omni-Supervised Learning", CVPR 2018): each portrait
is shown as it is, in a mirror, and both again turned and at another size. Where the looks agree, their mean is nearer
to the truth than any of them, and it is the truth of photos, which no rendering quite is.
"""

import multiprocessing
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from facecli.camera import camera_for
from facecli.crop import CROP, Crop, exposed
from facecli.images import read_image
from facecli.look import look_at
from facecli.runtime import Maps, Network
from facecli.train.sample import COARSE, FULL, KNOWN, REGION, UNIT, Sample, jittered_frame
from facecli.train.shards import PER_SHARD, pack, portrait_weights
from facecli.weights import Weights, load_weights
from facecli.wholefile import write_whole

DENSE = 468
ROLL = 12.0
"""Standard deviation of how far a portrait leans, degrees: as in `synth`."""
TURN, ZOOM = 8.0, 1.08
"""Degrees and factor by which the second pair of looks differs: one way or the other."""
APART_MM = 5.0
"""Where looks are farther from their mean, they do not know."""
DEPTH_WEIGHT = 0.5
"""What the looks say of depth is worth half of what is rendered."""
SEED = 77


@dataclass(frozen=True)
class Job:
    """What a worker reads and writes, and which shards are its own."""

    landmark_file: Path
    portraits: Path
    weights: Path | None
    out: Path
    numbers: range


def teach(
    landmark_file: Path, portraits: Path, weights: Path | None, out: Path, shards: int, workers: int
) -> None:
    """Write shards taught-0..`shards`-1 that are not there yet, of portraits as the network sees them; other shards
    may be beside them."""
    out.mkdir(parents=True, exist_ok=True)
    jobs = [
        Job(landmark_file, portraits, weights, out, range(part, shards, workers)) for part in range(workers)
    ]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(_work, jobs)


def _work(job: Job) -> None:
    cv2.setNumThreads(1)
    with np.load(job.landmark_file) as archive:
        names = [str(name) for name in archive["names"]]
        points = archive["landmarks"][:, :DENSE, :2].astype(np.float64)
    teacher = Teacher(load_weights(job.weights))
    shares = portrait_weights(names)
    for number in job.numbers:
        path = job.out / f"taught-{number:06d}.npz"
        if path.exists():
            continue
        samples = []
        for k in range(PER_SHARD):
            rng = np.random.default_rng([SEED, number, k])
            index = int(rng.choice(len(names), p=shares))
            photo = read_image((job.portraits / names[index]).read_bytes()).pixels
            samples.append(teacher.sample(rng, photo, points[index]))
        write_whole(path, pack(samples))


class Teacher:
    """Labels portraits."""

    def __init__(self, weights: Weights) -> None:
        self.network = Network(weights, "cpu", threads=1)

    def sample(
        self, rng: np.random.Generator, photo: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "p 2"]
    ) -> Sample:
        """A portrait in a crop as detectors make them, with what several looks say of it. points: of the face."""
        crop = Crop(jittered_frame(rng, points, ROLL, CROP))
        sign = float(rng.choice([-1.0, 1.0]))
        turn = cv2.getRotationMatrix2D(((CROP - 1) / 2,) * 2, sign * TURN, ZOOM ** rng.choice([-1.0, 1.0]))
        turned = Crop(np.asarray(turn) @ np.vstack([crop.matrix, [0, 0, 1]]))
        picture, other = crop.warp(photo, FULL), exposed(turned.warp(photo, FULL))
        first = exposed(picture)
        maps = self.network.run(np.stack([first, first[:, ::-1], other, other[:, ::-1]]))
        looks = [maps[0], maps[1].mirrored(), *(turned_back(m, turn) for m in (maps[2], maps[3].mirrored()))]
        mean, agreed = together(looks)
        camera = camera_for(*photo.shape[1::-1])
        place = look_at(camera, crop, mean).place
        here = cv2.resize(mean.region, (COARSE, COARSE), interpolation=cv2.INTER_AREA) > KNOWN
        known = here & agreed & (place is not None)
        distance = camera.focal if place is None else place[1]
        return Sample(
            cv2.resize(picture, (REGION, REGION), interpolation=cv2.INTER_AREA),
            np.rint(mean.region * 255).astype(np.uint8),
            np.concatenate([mean.coordinate, mean.depth[..., None]], 2) / np.float32(UNIT),
            known.astype(np.float32),
            None,
            crop.footprint(COARSE, distance, camera.focal),
            DEPTH_WEIGHT,
            np.rint(mean.opening * 255).astype(np.uint8),
            source="taught",
        )


def turned_back(maps: Maps, turn: Float[np.ndarray, "2 3"]) -> Maps:
    """The maps of a crop that was turned about its middle by `turn` (pixels at 256), as of the crop before."""

    def back(values: np.ndarray) -> np.ndarray:
        size = len(values)
        middle, linear = (size - 1) / 2, turn[:, :2]
        matrix = np.column_stack([linear, middle - linear @ np.full(2, middle)])
        return np.asarray(
            cv2.warpAffine(
                values,
                matrix,
                (size, size),
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.float32,
        )

    return Maps(**{name: back(values) for name, values in vars(maps).items()})


def together(looks: list[Maps]) -> tuple[Maps, Bool[np.ndarray, "128 128"]]:
    """The mean of looks at one crop, and where they agree on what is there and how deep it is."""
    mean = looks[0].mean(*looks[1:])
    # Cubics overshoot, and these are probabilities.
    mean = replace(mean, region=np.clip(mean.region, 0, 1), opening=np.clip(mean.opening, 0, 1))
    agreed = np.ones(mean.depth.shape, bool)
    for look in looks:
        away = np.linalg.norm(look.coordinate - mean.coordinate, axis=2)
        agreed &= (away < APART_MM) & (np.abs(look.depth - mean.depth) < APART_MM)
    return mean, agreed
