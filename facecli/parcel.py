"""One face as the report's viewer takes it: a script, since a page from a disk may load scripts and nothing else.

    facecli.deliver(ID, BASE64);      BASE64 of gzip of: length (uint32), JSON header, blobs

The header says where each blob is. Numbers are small here so that ten thousand faces fit on a disk: positions are
16 bit (steps of less than 0.01 mm), every column of numbers is stored as differences, and those byte by byte
(all low bytes, then all high ones), which is what gzip is good at. `page/viewer.js` reads it.
"""

import base64
import gzip
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from facecli.crop import CROP
from facecli.images import encode_jpeg
from facecli.meshfile import Model

FORMAT = 1  # of the script's contents; part of the file's name, so that an old one is never read
_TEXTURE_QUALITY, _NORMAL_QUALITY = 86, 92
_NEAR, _FAR = 0.02, 50.0  # metres
_CELL = 6  # indices of a grid cell's two triangles: they repeat from cell to cell, one further on


def to_parcel(
    identity: str,
    models: Mapping[str, Model],
    facts: Mapping[str, Any],
    photo: UInt8[np.ndarray, "p p 3"] | None,
) -> bytes:
    """The script of one face. models: by name, first the one to show first. facts: result.json's.

    photo: the photo under the crop. The photo's camera is left out where facts lack it.
    """
    blobs = _Blobs()
    header: dict[str, Any] = {"meshes": {name: _mesh(blobs, model) for name, model in models.items()}}
    if photo is not None:
        header["photo"] = blobs.add(encode_jpeg(photo, _TEXTURE_QUALITY))
    if {"camera", "crop", "pose"} <= facts.keys():
        view, projection = photo_camera(facts)
        header["camera"] = {"view": view.ravel().tolist(), "projection": projection.ravel().tolist()}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    packed = gzip.compress(struct.pack("<I", len(text)) + text + bytes(blobs.data), 6, mtime=0)
    return b'facecli.deliver("%s","%s");\n' % (identity.encode("ascii"), base64.b64encode(packed))


def photo_camera(
    facts: Mapping[str, Any],
) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "4 4"]]:
    """OpenGL's view and projection matrices of the photo's crop, for points in the mesh's frame (metres).

    Eye space is x right, y up, z backwards. The crop's square fills clip space from -1 to 1, its pixels'
    outer edges on the rim.
    """
    flip = np.diag([1.0, -1.0, -1.0])
    view = np.array(facts["pose"]["matrix"], np.float64)
    view[:3] = flip @ view[:3]
    crop = np.vstack([np.array(facts["crop"]["matrix"], np.float64), [0, 0, 1]])
    to_clip = np.array([[2 / CROP, 0, 1 / CROP - 1], [0, -2 / CROP, 1 - 1 / CROP], [0, 0, 1]])
    pixels = to_clip @ crop @ np.array(facts["camera"]["matrix"], np.float64) @ flip
    projection = np.zeros((4, 4))
    projection[[0, 1, 3], :3] = pixels
    projection[2, 2:] = -(_FAR + _NEAR) / (_FAR - _NEAR), -2 * _FAR * _NEAR / (_FAR - _NEAR)
    return view, projection


class _Blobs:
    """Bytes one after the other, and where each is."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, data: bytes) -> list[int]:
        start = len(self.data)
        self.data += data
        return [start, len(data)]


def _mesh(blobs: _Blobs, model: Model) -> dict[str, Any]:
    mesh = model.mesh
    step = max(float(np.abs(mesh.vertices).max()), 1e-6) / 32767
    described: dict[str, Any] = {
        "vertices": len(mesh.vertices),
        "triangles": len(mesh.faces),
        "step": step,
        "positions": blobs.add(_columns(np.rint(mesh.vertices / step).astype("<i2"))),
        "indices": blobs.add(_differences(mesh.faces.reshape(-1).astype("<i4"), _CELL)),
    }
    if model.texture is None:
        described["colors"] = blobs.add(_columns(mesh.colors))
    else:
        described["uv"] = blobs.add(_columns(np.rint(np.clip(mesh.uv, 0, 1) * 65535).astype("<u2")))
        described["texture"] = blobs.add(encode_jpeg(model.texture, _TEXTURE_QUALITY))
        if model.normal_map is not None:
            described["normal_map"] = blobs.add(encode_jpeg(model.normal_map, _NORMAL_QUALITY))
    return described


def _columns(values: Integer[np.ndarray, "n k"]) -> bytes:
    return b"".join(_differences(np.ascontiguousarray(column), 1) for column in values.T)


def _differences(values: Integer[np.ndarray, " n"], back: int) -> bytes:
    """Each value less the one `back` places before (modulo its width), all first bytes, all second, ..."""
    different = values.copy()
    different[back:] -= values[:-back]  # wraps around, and so does the sum that undoes it
    return different.view(np.uint8).reshape(len(values), values.itemsize).T.tobytes()
