"""A results folder in small: what `facecli reconstruct` leaves behind, without a network."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from facecli import export
from facecli.camera import Pose, camera_for, rotation_from_angles
from facecli.crop import crop_from_square
from facecli.images import encode_png
from facecli.mesh import Mesh, vertex_normals

CAMERA = camera_for(640, 480)
CROP = crop_from_square(np.array([300.0, 250.0]), 400.0, 0.2)
POSE = Pose(rotation_from_angles(20.0, -5.0, 3.0), np.array([-15.0, 8.0, 600.0]))


def dome(side: int = 24) -> Mesh:
    """A shallow bowl of a face in the head frame, as large as a hand, red to the subject's left."""
    y, x = np.mgrid[1 : -1 : side * 1j, -1 : 1 : side * 1j]
    places = np.stack([x * 0.07, y * 0.09, 0.06 - 0.05 * (x**2 + y**2) / 2], axis=2)
    vertices = places.reshape(-1, 3).astype(np.float32)
    a = np.arange(side * side, dtype=np.int32).reshape(side, side)[:-1, :-1].ravel()
    faces = np.concatenate([np.stack([a, a + side, a + 1], 1), np.stack([a + 1, a + side, a + side + 1], 1)])
    colors = np.full((len(vertices), 3), 90, np.uint8)
    colors[:, 0] = np.linspace(40, 250, side).astype(np.uint8)[None].repeat(side, 0).ravel()
    uv = np.stack([(x + 1) / 2, (1 - y) / 2], axis=2).reshape(-1, 2).astype(np.float32)
    return Mesh(vertices, faces, vertex_normals(vertices, faces), colors, uv)


def facts(name: str, face: int = 0, **more: Any) -> dict[str, Any]:
    """As much of result.json as the report reads."""
    told = {
        "schema": "facecli.result/1",
        "input": {"name": name, "width": 640, "height": 480, "notes": []},
        "face": face,
        "box": [200.0, 150.0, 320.0, 330.0],
        "score": 0.91,
        "camera": {
            "matrix": CAMERA.matrix.tolist(),
            "source": "default",
            "field_of_view": {"diagonal": 61.9},
        },
        "crop": {"size": 256, "matrix": CROP.matrix.tolist()},
        "pose": {"matrix": POSE.matrix.tolist(), "yaw": 20.0, "pitch": -5.0, "roll": 3.0},
        "files": ["face.ply", "preview.png", "result.json"],
        "versions": {"facecli": "1.2.3", "weights": "2026.1"},
    }
    return told | more


def strip() -> np.ndarray:
    """A preview: five panels of their own greys."""
    return np.repeat(np.repeat(np.uint8([40, 80, 120, 160, 200]), 64)[None, :, None], 64, 0).repeat(3, 2)


def write_face(folder: Path, name: str, face: int = 0, **more: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(facts(name, face, **more)))
    (folder / "preview.png").write_bytes(encode_png(strip()))
    (folder / "face.ply").write_bytes(export.to_ply(dome())["mesh.ply"])


def write_manifest(out: Path, *lines: dict[str, Any]) -> None:
    text = "".join(
        json.dumps({"schema": "facecli.manifest/1", "finished": 1.0, **line}) + "\n" for line in lines
    )
    (out / "manifest.jsonl").write_text(text)
