"""Pictures to judge by eye: reconstructions of photos, and training samples with their labels."""

import numpy as np
from jaxtyping import Bool, Float, UInt8

from facecli.images import Image
from facecli.pipeline import INPUT, Face, Reconstructor
from facecli.render import PANEL, preview
from facecli.train.sample import COARSE, UNIT, Sample

TILE = 256
"""Side of one picture of a sample, pixels."""
GAP = 4
WHITE = 255
DEEPEST = 0.25
"""Relief of this many mm is black or white."""
PANELS = 3
"""Of the preview's panels, the first: photo, overlay, clay from the front."""


def contact_sheet(
    photos: list[Image], reconstructor: Reconstructor, columns: int = 3
) -> UInt8[np.ndarray, "h w 3"]:
    """Photo crop, mesh over it, and clay for every face of every photo; a grey tile where there is none."""
    tiles = []
    for photo in photos:
        faces = reconstructor.reconstruct(photo)
        tiles += [_triptych(photo, face) for face in faces]
        if not faces:
            tiles.append(np.full((PANEL, PANELS * PANEL, 3), 128, np.uint8))
    return tiled(tiles, columns)


def _triptych(photo: Image, face: Face) -> UInt8[np.ndarray, "p q 3"]:
    crop = face.crop.warp(photo.pixels, INPUT)
    strip = preview(crop, face.mesh, face.camera, face.pose, face.crop, face.landmarks)
    return strip[:, : PANELS * PANEL]


def sample_sheet(samples: list[Sample], columns: int = 2) -> UInt8[np.ndarray, "h w 3"]:
    """Per sample: image, region over it, template coordinates as colours, normals of the depth, relief."""
    return tiled([np.concatenate(label_pictures(sample), axis=1) for sample in samples], columns)


def label_pictures(sample: Sample) -> list[UInt8[np.ndarray, "256 256 3"]]:
    """The five pictures of a sample, all of the same crop."""
    known = sample.known > 0
    image = _resized(sample.image)
    tint = image // 2 + np.array([0, 96, 0], np.uint8)
    inside = _resized(sample.region)[..., None] > 127
    coordinate = np.clip(sample.coarse[..., :3] * UNIT / 200 + 0.5, 0, 1)
    depth = sample.coarse[..., 3].astype(np.float64) * UNIT
    facing = normals_of(np.where(known, depth, np.nan), sample.footprint)
    relief = np.zeros((TILE, TILE)) if sample.detail is None else _resized(np.nan_to_num(sample.detail))
    grey = np.clip(relief / DEEPEST * 0.5 + 0.5, 0, 1)
    return [
        image,
        np.where(inside, tint, image),
        _coloured(coordinate, known),
        _coloured(facing * 0.5 + 0.5, known & np.isfinite(facing).all(-1)),
        (np.repeat(grey[..., None], 3, -1) * WHITE).astype(np.uint8),
    ]


def normals_of(depth: Float[np.ndarray, "h w"], footprint: float) -> Float[np.ndarray, "h w 3"]:
    """Unit normals (x right, y up, z to the camera) of a depth map in mm, as if seen from far away.

    footprint: mm that a pixel spans. Not a number where a neighbour's depth is not.
    """
    along_y, along_x = np.gradient(depth, footprint)
    normals = np.stack([-along_x, along_y, np.ones_like(depth)], -1)
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def tiled(tiles: list[UInt8[np.ndarray, "h w 3"]], columns: int) -> UInt8[np.ndarray, "p q 3"]:
    """Tiles of one size in rows of `columns`, with thin white gaps; no tiles make one white pixel."""
    if not tiles:
        return np.full((1, 1, 3), WHITE, np.uint8)
    height, width = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), WHITE, np.uint8)
    for k, tile in enumerate(tiles):
        y, x = k // columns * (height + GAP), k % columns * (width + GAP)
        sheet[y : y + height, x : x + width] = tile
    return sheet


def _coloured(
    values: Float[np.ndarray, "128 128 3"], known: Bool[np.ndarray, "128 128"]
) -> UInt8[np.ndarray, "256 256 3"]:
    """Values of 0 to 1 as colours, black where unknown, every coarse pixel a block."""
    colours = np.where(known[..., None], np.nan_to_num(values) * WHITE, 0).astype(np.uint8)
    block = TILE // COARSE
    return colours.repeat(block, 0).repeat(block, 1)


def _resized(values: np.ndarray) -> np.ndarray:
    import cv2

    return np.asarray(cv2.resize(values, (TILE, TILE), interpolation=cv2.INTER_AREA))
