"""What cameras, networks and crops do to a face: applied when a sample is loaded, never stored."""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import UInt8

from facecli.train.sample import Sample


def augment(sample: Sample, rng: np.random.Generator, degrade: bool = True) -> Sample:
    """Flip, then, to `degrade`, colour, blur, resolution, noise, JPEG and a black border, each now and then."""
    if rng.random() < 0.5:
        sample = flip(sample)
    if not degrade:
        return sample
    image = soften(tone(sample.image, rng), rng)
    if rng.random() < 0.45:
        quality = int(rng.uniform(25, 95))
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    if rng.random() < 0.12:
        image, sample = border(image, sample, rng)
    return replace(sample, image=image)


def flip(sample: Sample) -> Sample:
    """Mirror everything; the template is symmetric, so its x changes sign."""
    coarse = sample.coarse[:, ::-1].copy()
    coarse[..., 0] *= -1
    return replace(
        sample,
        image=sample.image[:, ::-1],
        region=sample.region[:, ::-1],
        coarse=coarse,
        known=sample.known[:, ::-1],
        opening=sample.opening[:, ::-1],
        detail=None if sample.detail is None else sample.detail[:, ::-1],
    )


def tone(image: UInt8[np.ndarray, "s s 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "s s 3"]:
    """Exposure, gamma, contrast, white balance, saturation, grey, colour cast."""
    table = np.repeat(np.arange(256, dtype=np.float64)[:, None], 3, 1)
    if rng.random() < 0.8:
        table = (table / 255) ** np.exp(rng.normal(0, 0.2)) * 255 * np.exp(rng.normal(0, 0.15))
        middle = image[::8, ::8].mean()
        table = (table - middle) * np.exp(rng.normal(0, 0.15)) + middle
    if rng.random() < 0.08:  # over- and underexposed: highlights clip, shadows sink
        table = table * np.exp(rng.uniform(0.2, 0.7) if rng.random() < 0.5 else rng.uniform(-1.5, -0.4))
    if rng.random() < 0.6:
        table = table * (1 + rng.normal(0, 0.07, 3))
    image = cv2.LUT(np.ascontiguousarray(image), np.clip(table, 0, 255).astype(np.uint8)[None])
    if rng.random() < 0.16:
        cast = 1 + rng.normal(0, 0.08, 3) * (rng.random() < 0.3)
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        return np.clip(grey * cast.astype(np.float32), 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        keep = rng.uniform(0.4, 1.3)
        return cv2.addWeighted(image, keep, grey, 1 - keep, 0)
    return image


def soften(image: UInt8[np.ndarray, "s s 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "s s 3"]:
    """Defocus, motion, too few pixels, sensor noise; sizes are relative to the crop."""
    size = image.shape[0]
    kind = rng.random()
    if kind < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), np.exp(rng.uniform(np.log(0.4), np.log(3.5))) * size / 256)
    elif kind < 0.25:
        length = int(rng.integers(3, 13) * size / 256)
        kernel = np.zeros((length, length), np.float32)
        angle = rng.uniform(0, np.pi)
        half = (length - 1) / 2
        reach = np.array([np.cos(angle), np.sin(angle)]) * half
        start, end = np.rint(half - reach).astype(int), np.rint(half + reach).astype(int)
        cv2.line(kernel, start.tolist(), end.tolist(), 1.0)
        image = cv2.filter2D(image, -1, kernel / max(float(kernel.sum()), 1))
    elif kind < 0.45:
        small = int(np.exp(rng.uniform(np.log(36), np.log(256))))
        if small < size:
            down = cv2.resize(
                image, (small, small), interpolation=rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR])
            )
            up = rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST], p=[0.5, 0.45, 0.05])
            image = cv2.resize(down, (size, size), interpolation=up)
    if rng.random() < 0.3:
        noise = rng.standard_normal((size, size, 3 if rng.random() < 0.5 else 1), np.float32)
        if rng.random() < 0.5:
            noise = cv2.GaussianBlur(noise, (0, 0), 0.8).reshape(size, size, -1) * 1.6
        return np.clip(image + noise * np.float32(rng.uniform(1, 16)), 0, 255).astype(np.uint8)
    return image


def border(
    image: UInt8[np.ndarray, "s s 3"], sample: Sample, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "s s 3"], Sample]:
    """The photo ends inside the crop, along a line of any slope near a side's: black beyond, and no labels there."""
    share = rng.uniform(0.03, 0.38)
    angle = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.2)
    direction = np.array([np.cos(angle), np.sin(angle)], np.float32)

    def cut(array: np.ndarray) -> np.ndarray:
        along = np.linspace(-0.5, 0.5, len(array), dtype=np.float32)
        beyond = along * direction[0] + along[:, None] * direction[1] > 0.5 - share
        out = array.copy()
        out[beyond] = 0
        return out

    detail = None if sample.detail is None else cut(sample.detail)
    return cut(image), replace(sample, region=cut(sample.region), known=cut(sample.known), detail=detail)
