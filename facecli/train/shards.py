"""The data set on disk: shards of samples, each reproducible from its number, written whole or not at all.

Precision: template coordinates and depth are stored as float16 in units of 100 mm (0.05 mm at the face's
edge), detail as float16 in mm (under 0.001 mm), images as JPEG of quality 97. Degradations are added when a
sample is loaded.
"""

import io
import multiprocessing
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from facecli.blendshapes import SHAPES
from facecli.train.sample import COARSE, FULL, REGION, Sample
from facecli.wholefile import write_whole

PER_SHARD = 128
SHARE = {
    "synthetic": 0.46,
    "synthetic_detail": 0.06,
    "rerendered": 0.32,
    "rerendered_detail": 0.04,
    "portrait": 0.12,
}
"""How often each source is drawn: B at 256 px, B at 512 px with detail, A likewise, and C."""
DETAILED = {"synthetic_detail": 0.5, "rerendered_detail": 0.5}
"""The same, where all are to have detail."""


@dataclass(frozen=True)
class Job:
    """Where a worker reads and writes, and which shards are its own."""

    assets: Path
    pool: Path
    out: Path
    first: int
    step: int
    last: int
    seconds: float
    device: str
    detailed: bool


def generate(
    assets: Path,
    pool: Path,
    out: Path,
    shards: int,
    workers: int,
    seconds: float,
    device: str = "",
    detailed: bool = False,
) -> None:
    """Write shards 0..`shards`-1 that are not there yet, on `workers` processes, for at most `seconds`.

    `device`: synthetic heads are drawn there in batches, by torch; if empty, one by one, compiled. Either draws the
    same kinds of heads, but not the same ones. detailed: only samples with detail. Raises DeviceError.
    """
    if device:
        from facecli.runtime import device_named

        device = device_named(device)
    out.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    jobs = [
        Job(assets, pool, out, part, workers, shards, seconds, device, detailed) for part in range(workers)
    ]
    processes = [context.Process(target=_work, args=(job,)) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _work(job: Job) -> None:
    from facecli.train.garment import Wardrobe
    from facecli.train.rerender import Rerenderer
    from facecli.train.stage import Stage

    cv2.setNumThreads(1)
    stage = Stage.load(job.assets, job.pool)
    if job.device:
        import torch

        from facecli.train.tensor.source import Source

        torch.set_num_threads(1)
        draw = Source(stage, torch.device(job.device)).drawn
    else:
        from facecli.train.synth import Synthesizer

        draw = Synthesizer(stage).drawn
    rerenderer = Rerenderer(stage.model, stage.pool, Wardrobe(stage.model))
    weights = portrait_weights(stage.pool.fits.names)
    started = time.monotonic()
    for number in range(job.first, job.last, job.step):
        path = job.out / f"{number:06d}.npz"
        if path.exists():
            continue
        began = time.monotonic()
        lots = [lot(number, k, DETAILED if job.detailed else SHARE) for k in range(PER_SHARD)]
        made = draw([one for one in lots if one.synthetic])
        samples = []
        for one in lots:
            if one.synthetic:
                sample = made[one.seed]
            else:
                index = int(one.rng.choice(len(weights), p=weights))
                sample = rerenderer.sample(one.rng, one.size, index, changed=one.source != "portrait")
            samples.append(replace(sample, source=one.source))
        write_whole(path, pack(samples))
        rate = PER_SHARD / (time.monotonic() - began)
        sys.stderr.write(f"shard {number}: {rate:.1f} samples/s\n")
        if time.monotonic() - started > job.seconds:
            return


@dataclass(frozen=True)
class Lot:
    """What a sample is to be: of which source and size, and the generator that everything else about it is drawn by."""

    seed: tuple[int, int]
    rng: np.random.Generator
    source: str
    size: int

    @property
    def synthetic(self) -> bool:
        return self.source.startswith("synthetic")


def lot(number: int, k: int, share: Mapping[str, float] = SHARE) -> Lot:
    """Of the k-th sample of a shard. share: how often each source is drawn."""
    rng = np.random.default_rng([number, k])
    source = str(rng.choice(list(share), p=list(share.values())))
    return Lot((number, k), rng, source, FULL if source.endswith("detail") else FULL // 2)


def portrait_weights(names: list[str]) -> np.ndarray:
    """Sampling weights that level the portrait folders: half of all portraits are of much the same people."""
    share = {
        "congress": 0.16,
        "congress_small": 0.12,
        "generated": 0.17,
        "sfhq_t2i": 0.35,
        "london": 0.14,
        "canada": 0.06,
    }
    folders = [name.split("/")[0] for name in names]
    weights = np.array([share[folder] / folders.count(folder) for folder in folders])
    return weights / weights.sum()


def pack(samples: list[Sample]) -> bytes:
    """Samples as one npz of flat arrays: no pickled object in it."""
    images, details, records, expressions = [], [], [], []
    for sample in samples:
        ok, encoded = cv2.imencode(".jpg", sample.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])
        if not ok:
            raise RuntimeError("cannot encode a sample's image")
        images.append(encoded.reshape(-1))
        raw = b"" if sample.detail is None else zlib.compress(sample.detail.astype(np.float16).tobytes(), 1)
        details.append(np.frombuffer(raw, np.uint8))
        records.append((sample.footprint, sample.depth_weight))
        unknown = np.full(len(SHAPES), np.nan)
        expressions.append(unknown if sample.expression is None else sample.expression)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        images=np.concatenate(images),
        image_ends=np.cumsum([len(image) for image in images]),
        details=np.concatenate(details),
        detail_ends=np.cumsum([len(detail) for detail in details]),
        region=np.stack([sample.region for sample in samples]),
        coarse=np.stack([sample.coarse for sample in samples]).astype(np.float16),
        known=np.stack([sample.known for sample in samples]).astype(np.uint8),
        opening=np.stack([sample.opening for sample in samples]),
        records=np.array(records, np.float32),
        expressions=np.array(expressions, np.float32),
        sources=np.array([sample.source for sample in samples]),
    )
    return buffer.getvalue()


def unpack(path: Path) -> Iterator[Sample]:
    """The samples of one shard, in order."""
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive}
    image_start = detail_start = 0
    for k, (image_end, detail_end) in enumerate(
        zip(arrays["image_ends"], arrays["detail_ends"], strict=True)
    ):
        image = np.asarray(cv2.imdecode(arrays["images"][image_start:image_end], cv2.IMREAD_COLOR_RGB))
        detail = None
        if detail_end > detail_start:
            raw = zlib.decompress(arrays["details"][detail_start:detail_end].tobytes())
            detail = np.frombuffer(raw, np.float16).reshape(FULL, FULL).astype(np.float32)
        footprint, weight = arrays["records"][k]
        coarse = arrays["coarse"][k].astype(np.float32).reshape(COARSE, COARSE, 4)
        region = arrays["region"][k].reshape(REGION, REGION)
        expression = arrays["expressions"][k] if "expressions" in arrays else None  # older shards have none
        if expression is not None and np.isnan(expression).any():
            expression = None
        yield Sample(
            image,
            region,
            coarse,
            arrays["known"][k].astype(np.float32),
            detail,
            float(footprint),
            float(weight),
            arrays["opening"][k],
            str(arrays["sources"][k]),
            expression,
        )
        image_start, detail_start = image_end, detail_end
