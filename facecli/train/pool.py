"""The pool of people: every licensed portrait fitted and taken apart, stored once as memory-mapped arrays.

After the portraits' come the skins that lend them what no photo shows: people who have a skin and nothing else.
"""

import multiprocessing
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from facecli.train.fit import Fits, fit
from facecli.train.fringe import outlines
from facecli.train.headmodel import HeadModel
from facecli.train.lift import CROP, TEXTURE, lift
from facecli.train.makehuman import BACK_TEXTURE
from facecli.train.skins import Skins

WORST_FIT = 0.045
"""Fits whose RMS landmark error exceeds this share of the eye distance are left out."""
SPECTACLES = Path(__file__).with_name("spectacles.txt")
"""Portraits of people who wear spectacles, found by looking: rims would become skin, and their shadows relief."""

COVERED = Path(__file__).with_name("covered.txt")
"""Portraits with a hand, a mask or a microphone before the face, with no light on it, or of whose face the mask misses
much, found by looking."""

BIG = ("crops", "masks", "albedos", "backs")


@dataclass(frozen=True)
class Pool:
    """All kept portraits: fits row by row, with `crops`, `masks` and skins memory-mapped in the same order.

    `to_crop` maps photo pixels to stored-crop pixels; `light` as in `lift.Lifted`. Of skins (sRGB: `albedos` of
    faces, `backs` of the rest of the head) there are more, those of nobody's photo; `quality` is the share of the
    face's UV tile that a photo shows, 1 for those.
    """

    fits: Fits
    to_crop: Float[np.ndarray, "n 2 3"]
    light: Float[np.ndarray, "n 9 3"]
    quality: Float[np.ndarray, "p"]
    crops: UInt8[np.ndarray, "n s s 3"]
    masks: UInt8[np.ndarray, "n s s"]
    albedos: UInt8[np.ndarray, "p t t 3"]
    backs: UInt8[np.ndarray, "p b b 3"]

    @classmethod
    def load(cls, folder: Path) -> "Pool":
        """Open what `build` wrote; the big arrays stay on disk until touched."""
        with np.load(folder / "pool.npz") as archive:
            small = {key: archive[key] for key in ("to_crop", "light", "quality")}
        big = {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in BIG}
        return cls(Fits.load(folder / "fits.npz"), **small, **big)


def build(assets: Path, landmark_file: Path, folder: Path, workers: int = 2) -> None:
    """Fit the portraits of `assets`, drop bad fits, spectacles and covered faces, lift the rest into `folder`.

    Fits that `folder` has already are not made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = HeadModel.load(assets / "head_model")
    stored = folder / "fits.npz"
    fits = Fits.load(stored) if stored.exists() else fit(model, landmark_file)
    bare = ~np.isin(fits.names, SPECTACLES.read_text().split() + COVERED.read_text().split())
    kept = np.flatnonzero((fits.error < WORST_FIT) & bare)
    sys.stderr.write(
        f"{len(kept)} of {len(fits.names)} fits kept, {(~bare).sum()} left out for what is before the face; "
        f"median error {np.median(fits.error):.4f}\n"
    )
    fits = fits.take(kept)
    fits.save(stored)
    skins = Skins.bake(model, assets / "skins")
    skins.save(folder / "skins.npz")
    people = len(kept) + len(skins.face)
    shapes = {
        "crops": (len(kept), CROP, CROP, 3),
        "masks": (len(kept), CROP, CROP),
        "albedos": (people, TEXTURE, TEXTURE, 3),
        "backs": (people, BACK_TEXTURE, BACK_TEXTURE, 3),
    }
    big = {k: np.lib.format.open_memmap(folder / f"{k}.npy", "w+", np.uint8, shapes[k]) for k in BIG}
    big["albedos"][len(kept) :], big["backs"][len(kept) :] = skins.face, skins.back
    for array in big.values():
        array.flush()
    context = multiprocessing.get_context("spawn")
    parts = [(assets, folder, part, workers) for part in range(workers)]
    with context.Pool(workers) as pool:
        rows = [row for part in pool.map(_lift_part, parts) for row in part]
    rows.sort(key=lambda row: row[0])
    columns = list(zip(*rows, strict=True))
    np.savez(
        folder / "pool.npz",
        to_crop=np.stack(columns[1]),
        light=np.stack(columns[2]),
        quality=np.concatenate([columns[3], np.ones(len(skins.face))]),
    )


def _lift_part(job: tuple[Path, Path, int, int]) -> list[tuple[int, np.ndarray, np.ndarray, float]]:
    import cv2

    assets, folder, part, workers = job
    cv2.setNumThreads(1)
    model, fits = HeadModel.load(assets / "head_model"), Fits.load(folder / "fits.npz")
    skins = Skins.load(folder / "skins.npz")
    out = {key: np.load(folder / f"{key}.npy", mmap_mode="r+") for key in BIG}
    rows = []
    for i in range(part, len(fits.names), workers):
        data = np.frombuffer((assets / "portraits" / fits.names[i]).read_bytes(), np.uint8)
        photo = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1].copy()
        vertices = model.vertices(fits.alpha[i], fits.beta[i])
        covers = outlines().get(fits.names[i], [])
        lifted = lift(
            model, vertices, fits.rotation[i], fits.translation[i], float(fits.focal[i]), photo, covers
        )
        out["crops"][i], out["masks"][i] = lifted.crop, lifted.mask
        out["albedos"][i], out["backs"][i] = skins.complete(lifted.albedo, lifted.seen, i)
        rows.append((i, lifted.to_crop, lifted.light, float(lifted.seen.mean())))
    return rows
