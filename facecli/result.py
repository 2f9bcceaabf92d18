"""One face -> the files of its folder as {name: bytes}: meshes, maps, preview, result.json. No disk here."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16

from facecli.blendshapes import SHAPES, to_arkit
from facecli.camera import Camera
from facecli.crop import CROP
from facecli.images import Image, encode_png
from facecli.landmarks import DENSE_NAMES, IBUG_NAMES, Landmarks, part_indices
from facecli.mesh import Mesh
from facecli.options import Options
from facecli.pipeline import Face
from facecli.texture import Skin

SCHEMA, LANDMARK_SCHEMA = "facecli.result/1", "facecli.landmarks/1"
BLENDSHAPE_SCHEMA = "facecli.blendshapes/1"

# Affine codes of the maps: value = (mm + offset) * scale, so mm = value / scale - offset. 0 means no data.
DEPTH_SCALE, DEPTH_OFFSET = 100.0, 327.68  # 16 bit: steps of 0.01 mm, -327.67 to +327.67 mm
DETAIL_SCALE, DETAIL_OFFSET = 8192.0, 4.0  # 16 bit: steps of 0.00012 mm, -4 to +4 mm; displacement alike
COORDINATE_SCALE, COORDINATE_OFFSET = 1.0, 128.0  # 8 bit: steps of 1 mm, -127 to +127 mm

FOCAL_NOTES = {
    "option": "the focal length that was given",
    "exif": "EXIF's focal length as a 35 mm equivalent, over the diagonal of 36 x 24 mm",
    "default": "no EXIF focal length: the most probable by the perspective of the faces and by what is usual",
}
SCALE_NOTE = (
    "One photo does not tell absolute size. Lengths assume a head of average size: the template's mean head "
    "is fitted to the face without scaling. A child's head comes out too large."
)


def face_files(
    face: Face, index: int, image: Image, name: str, options: Options, versions: Mapping[str, str]
) -> dict[str, bytes]:
    """All files of one face. name: the photo's, for result.json; index: the face's place in the photo."""
    files: dict[str, bytes] = {}
    if "pixel" in options.meshes:
        files |= mesh_files(face.mesh, face.texture, options)
    if "face" in options.meshes and face.complete is not None and face.skin is not None:
        files |= whole_files(face, face.complete, face.skin, options)
    files["landmarks.json"] = to_json(describe_landmarks(face))
    if options.blendshapes and face.expression is not None:
        files["blendshapes.json"] = to_json(describe_expression(face.expression.weights))
    if options.maps:
        files |= map_files(face)
    if options.preview:
        from facecli.render import preview

        picture = preview(
            face.texture, face.mesh, face.camera, face.pose, face.crop, face.landmarks, face.complete
        )
        files["preview.png"] = encode_png(picture)
    facts = describe(face, index, image, name, [*files, "result.json"], versions)
    if options.maps:
        facts["maps"] = MAP_NOTES | (WHOLE_NOTES if "texture_visibility.png" in files else {})
    files["result.json"] = to_json(facts)
    return files


def mesh_files(
    mesh: Mesh,
    texture: UInt8[np.ndarray, "t t 3"],
    options: Options,
    name: str = "mesh",
    picture: str = "texture.png",
    normal_map: UInt8[np.ndarray, "n n 3"] | None = None,
) -> dict[str, bytes]:
    """A mesh in the chosen formats; picture: the name of the texture beside an OBJ."""
    from facecli import export

    files: dict[str, bytes] = {}
    if "obj" in options.formats:
        files |= export.to_obj(mesh, texture, name, picture)
    if "ply" in options.formats:
        files |= export.to_ply(mesh, name)
    if "glb" in options.formats:
        files |= export.to_glb(mesh, texture, name, normal_map)
    if "stl" in options.formats:
        files |= export.to_stl(mesh, name)
    return files


def whole_files(face: Face, mesh: Mesh, skin: Skin, options: Options) -> dict[str, bytes]:
    """face.* and, if wanted, neutral.* in the chosen formats; with maps also what is on the texture's coordinates."""
    from facecli import relief, texture

    skin_colour = skin.texture
    if options.albedo:
        skin_colour = texture.unlit(skin).albedo
        mesh = replace(mesh, colors=texture.vertex_colors(skin_colour, mesh.uv))
    height = facing = None
    if face.detail_scale > 0 and (options.maps or "glb" in options.formats):
        detail = face.maps.detail * np.float32(face.detail_scale)
        height = relief.displacement(skin, detail, face.camera, face.pose, face.crop)
        facing = relief.normal_map(skin, height)
    files = mesh_files(mesh, skin_colour, options, "face", "face.png", facing)
    if options.neutral and face.expression is not None:
        relaxed = replace(face.expression.neutral, colors=mesh.colors)
        files |= mesh_files(relaxed, skin_colour, options, "neutral", "face.png", facing)
    if options.maps:
        files["texture_visibility.png"] = encode_png(skin.visibility)
        if height is not None and facing is not None:
            files["face_normal.png"] = encode_png(facing)
            files["face_displacement.png"] = encode_png(
                encode_affine(height, DETAIL_SCALE, DETAIL_OFFSET, 65535)
            )
    return files


def describe_expression(weights: Float[np.ndarray, " e"]) -> dict[str, Any]:
    """What blendshapes.json says: ARKit's names, and the head model's own, which have sides where ARKit has none."""
    return {
        "schema": BLENDSHAPE_SCHEMA,
        "units": "0: nothing of the shape, 1: all of it",
        "arkit": to_arkit(weights),
        "shapes": dict(zip(SHAPES, numbers(weights, 4), strict=True)),
    }


def describe_landmarks(face: Face) -> dict[str, Any]:
    """What landmarks.json says: the iBUG 68, and the 468 points where there is a whole face."""
    facts: dict[str, Any] = {
        "schema": LANDMARK_SCHEMA,
        "units": {"photo": "pixels, x right, y down, centres at integers", "mesh": "metres, as the mesh"},
        "ibug68": _landmarks(
            IBUG_NAMES, Landmarks(face.landmarks, face.landmarks_3d, face.landmarks_visible)
        ),
    }
    if face.dense is not None:
        facts["mediapipe468"] = _landmarks(DENSE_NAMES, face.dense)
        facts["mediapipe468"]["parts"] = part_indices()
    return facts


def _landmarks(names: tuple[str, ...], landmarks: Landmarks) -> dict[str, Any]:
    return {
        "names": list(names),
        "photo": numbers(landmarks.photo, 2),
        "mesh": numbers(landmarks.mesh, 6),
        "visible": [bool(seen) for seen in landmarks.visible],
    }


def describe(
    face: Face, index: int, image: Image, name: str, files: list[str], versions: Mapping[str, str]
) -> dict[str, Any]:
    """What result.json says, as plain Python values. No times: the same photo gives the same bytes."""
    yaw, pitch, roll = face.pose.yaw_pitch_roll
    return {
        "schema": SCHEMA,
        "input": {"name": name, "width": image.width, "height": image.height, "notes": list(image.notes)},
        "face": index,
        "box": numbers(face.detection.box, 2),
        "score": number(face.detection.score, 4),
        "detector_landmarks": dict(
            zip(
                ("right_eye", "left_eye", "nose_tip", "mouth_right", "mouth_left"),
                numbers(face.detection.landmarks, 2),
                strict=True,
            )
        ),
        "landmarks": {
            "scheme": "iBUG 68",
            "photo": numbers(face.landmarks, 2),
            "mesh": numbers(face.landmarks_3d, 6),
            "visible": [bool(seen) for seen in face.landmarks_visible],
        },
        "crop": {"size": CROP, "matrix": numbers(face.crop.matrix, 6)},
        "camera": _camera(face.camera, image),
        "pose": {
            "matrix": numbers(face.pose.matrix, 7),
            "yaw": number(yaw, 2),
            "pitch": number(pitch, 2),
            "roll": number(roll, 2),
        },
        "scale": {"fixed_by": "mean head", "note": SCALE_NOTE},
        "units": {
            "photo": "pixels, x right, y down, pixel centres at integers",
            "mesh": "metres",
            "angles": "degrees",
        },
        "axes": {
            "mesh": "right-handed, y up, nose to +z, the subject's left to +x, origin at the head's centre",
            "camera": "x right, y down, z forward; pose.matrix takes mesh points into this frame, in metres",
            "crop": "crop.matrix takes photo pixels into the 256 x 256 crop, pixels, centres at integers",
        },
        "files": sorted(files),
        "versions": dict(versions),
    }


MAP_NOTES: dict[str, Any] = {
    "frame": "every map covers the crop's square at its own resolution; centres at half-pixels",
    "region.png": {"bits": 8, "meaning": "probability of visible face = value / 255"},
    "opening.png": {
        "bits": 8,
        "meaning": "probability that lids or lips have parted here, so that eye, teeth or gums show = value / 255",
    },
    "depth.png": {
        "bits": 16,
        "scale": DEPTH_SCALE,
        "offset": DEPTH_OFFSET,
        "no_data": 0,
        "meaning": "mm in front of the head centre, towards the camera = value / scale - offset",
    },
    "correspondence.png": {
        "bits": 8,
        "scale": COORDINATE_SCALE,
        "offset": COORDINATE_OFFSET,
        "no_data": [0, 0, 0],
        "range": [(1 / COORDINATE_SCALE) - COORDINATE_OFFSET, (255 / COORDINATE_SCALE) - COORDINATE_OFFSET],
        "meaning": "the template's point seen here: x, y, z in mm = red, green, blue / scale - offset",
    },
    "normal.png": {
        "bits": 8,
        "no_data": [0, 0, 0],
        "meaning": "the mesh's unit normal in the mesh's frame: x, y, z = value / 127.5 - 1",
    },
    "detail.png": {
        "bits": 16,
        "scale": DETAIL_SCALE,
        "offset": DETAIL_OFFSET,
        "no_data": 0,
        "meaning": "mm along the normal of the coarse surface, outwards = value / scale - offset",
    },
}


WHOLE_NOTES: dict[str, Any] = {
    "texture_visibility.png": {
        "bits": 8,
        "frame": "the texture of face.*",
        "meaning": "share of the texel's colour that is the photo's own = value / 255; the rest was filled in",
    },
    "face_normal.png": {
        "bits": 8,
        "frame": "the texture of face.*",
        "meaning": "tangent-space normal: along u, against v, outwards = (value - 128) / 127 (OpenGL's green)",
    },
    "face_displacement.png": {
        "bits": 16,
        "scale": DETAIL_SCALE,
        "offset": DETAIL_OFFSET,
        "frame": "the texture of face.*",
        "meaning": "mm along the normal of face.*, outwards = value / scale - offset; what its vertices lack",
    },
}


def map_files(face: Face) -> dict[str, bytes]:
    """region, opening, depth, correspondence, normal and detail as PNG; MAP_NOTES says how to read them."""
    maps = face.maps
    inside = maps.region >= 0.5
    coarse = inside.reshape(128, 2, 128, 2).mean(axis=(1, 3)) >= 0.5
    fine = inside.repeat(2, axis=0).repeat(2, axis=1)
    coordinate = encode_affine(maps.coordinate, COORDINATE_SCALE, COORDINATE_OFFSET, 255) * coarse[:, :, None]
    return {
        "region.png": encode_png(np.rint(maps.region * 255).astype(np.uint8)),
        "opening.png": encode_png(np.rint(maps.opening * coarse * 255).astype(np.uint8)),
        "depth.png": encode_png(encode_affine(maps.depth, DEPTH_SCALE, DEPTH_OFFSET, 65535) * coarse),
        "correspondence.png": encode_png(coordinate.astype(np.uint8)),
        "normal.png": encode_png(_normal_map(face)),
        "detail.png": encode_png(encode_affine(maps.detail, DETAIL_SCALE, DETAIL_OFFSET, 65535) * fine),
    }


def encode_affine(
    millimetres: Float[np.ndarray, "*shape"], scale: float, offset: float, top: int
) -> UInt16[np.ndarray, "*shape"]:
    """mm -> round((mm + offset) * scale), kept within 1..top: 0 stays free for 'no data'."""
    values = (np.asarray(millimetres, np.float64) + offset) * scale
    return np.clip(np.rint(np.nan_to_num(values)), 1, top).astype(np.uint16)


def _normal_map(face: Face, size: int = 512) -> UInt8[np.ndarray, "size size 3"]:
    """The mesh's normals, detail included, drawn where its texture coordinates put them in the crop."""
    from facecli.raster import rasterize

    mesh = face.mesh
    corners = np.concatenate(
        [mesh.uv.astype(np.float64) * size - 0.5, mesh.vertices[:, 2:].astype(np.float64)], axis=1
    )
    index, barycentric = rasterize(corners, mesh.faces, size, size)
    covered: Bool[np.ndarray, "size size"] = index >= 0
    normals = np.einsum("nc,ncx->nx", barycentric[covered], mesh.normals[mesh.faces[index[covered]]])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    picture = np.zeros((size, size, 3), np.uint8)
    picture[covered] = np.rint((normals + 1) * 127.5).astype(np.uint8)
    return picture


def _camera(camera: Camera, image: Image) -> dict[str, Any]:
    def angle(extent: float) -> float:
        return round(math.degrees(2 * math.atan(extent / (2 * camera.focal))), 2)

    return {
        "focal": number(camera.focal, 3),
        "centre": [number(camera.centre_x, 3), number(camera.centre_y, 3)],
        "matrix": numbers(camera.matrix, 4),
        "source": camera.source,
        "why": FOCAL_NOTES[camera.source],
        "field_of_view": {
            "horizontal": angle(image.width),
            "vertical": angle(image.height),
            "diagonal": angle(math.hypot(image.width, image.height)),
        },
    }


def to_json(facts: dict[str, Any]) -> bytes:
    """Indented, with lists of plain values on one line. ASCII escapes keep names with undecodable bytes."""
    return (_indented(facts, 0) + "\n").encode("ascii")


def _indented(value: Any, depth: int) -> str:
    """JSON as `json.dumps(value, indent=1)` has it but for those lists; that one is pure Python, number by number."""
    plain = not isinstance(value, dict | list) or not value
    if plain or (isinstance(value, list) and not any(isinstance(part, dict | list) for part in value)):
        return json.dumps(value, allow_nan=False)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    line = "\n" + " " * depth
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_indented(part, depth + 1)}" for key, part in value.items()]
    else:
        rows = json.dumps(value, allow_nan=False)
        if '"' not in rows and "{" not in rows and rows.rfind("[[") == 0:  # a table of numbers
            return "[" + line + " " + rows[1:-1].replace("], [", f"],{line} [") + line + "]"
        parts = [_indented(part, depth + 1) for part in value]
    return opening + line + " " + f",{line} ".join(parts) + line + closing


def number(value: Any, digits: int) -> float | None:
    """A rounded JSON number; what is not finite becomes null."""
    finite = float(value)
    return round(finite, digits) if math.isfinite(finite) else None


def numbers(values: Any, digits: int) -> Any:
    """An array as nested lists of rounded JSON numbers."""
    array = np.asarray(values, np.float64)
    if np.isfinite(array).all():
        return np.round(array, digits).tolist()
    return [numbers(row, digits) for row in array] if array.ndim else number(array, digits)
