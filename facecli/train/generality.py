"""Where it breaks: error against one thing at a time, on people that never were and on real photos.

A synthetic photo is compared with its exact geometry; a real photo, made worse step by step, with its own clean
result, so that nobody's truth is needed.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from facecli.camera import FULL_FRAME_DIAGONAL_MM
from facecli.images import Image
from facecli.pipeline import Face
from facecli.train.scan import OUTER_EYES, similarity
from facecli.train.studio import Scene, Shot, Studio
from facecli.train.trial import Trial, angles, largest, relief_of, view_of_face
from facecli.train.verdict import Verdict, judge, strength

YAWS = (0, 15, 30, 45, 60, 75, 90)
WIDTHS = (40, 60, 80, 120, 160, 240, 400, 700, 1000)
QUALITIES = (5, 10, 20, 30, 50, 75, 95)
TILTS = (-180, -150, -120, -90, -60, -30, 0, 30, 60, 90, 120, 150, 180)
BLURS = (0.0, 0.5, 1.0, 2.0, 3.0)
"""Standard deviations, per cent of the face's width."""
BASE_WIDTH = 400
"""Pixels of the face in the photo that all others are made of."""
USUAL_WIDTH = 200
"""Pixels of the face where something else is varied."""

Pixels = UInt8[np.ndarray, "_ _ 3"]
Change = Callable[[Pixels, float], Pixels]


@dataclass(frozen=True)
class Series:
    """Verdicts by step: `found[k]` of `asked` faces at `steps[k]`, which are numbers, or names of kinds."""

    name: str
    axis: str
    steps: tuple[float, ...] | tuple[str, ...]
    verdicts: list[list[Verdict]]
    asked: int

    @property
    def found(self) -> list[int]:
        """Faces found at each step."""
        return [len(step) for step in self.verdicts]


def kinds(person: int) -> dict[str, Scene]:
    """One person as usual, and with one thing different each."""
    usual = Scene(person, yaw=[-12.0, 0.0, 14.0][person % 3], width=USUAL_WIDTH)
    return {
        "usual": usual,
        "dark skin": replace(usual, tone=0.0),
        "light skin": replace(usual, tone=1.0),
        "glasses": replace(usual, glasses=True),
        "eyes closed": replace(usual, expression={"eyeBlink": 1.0}),
        "mouth open": replace(usual, expression={"jawOpen": 0.8}),
        "laughing": replace(usual, expression={"mouthSmile": 0.9, "jawOpen": 0.3, "cheekSquint": 0.7}),
        "looking up": replace(usual, pitch=30.0),
        "looking down": replace(usual, pitch=-30.0),
        "sculpted": replace(usual, sculpted=True),
    }


def synthetic(studio: Studio, trial: Trial, people: int) -> list[Series]:
    """Each thing varied by itself, everything else as usual, for the same people."""
    usual = [
        studio.photograph(Scene(p, yaw=[-12.0, 0.0, 14.0][p % 3], width=BASE_WIDTH)) for p in range(people)
    ]
    small = [resized(shot, USUAL_WIDTH / BASE_WIDTH) for shot in usual]
    every = [kinds(person) for person in range(people)]
    named = {name: [studio.photograph(scenes[name]) for scenes in every] for name in every[0]}
    named["grey"] = [changed(shot, grey(shot.pixels)) for shot in small]
    named["dark photo"] = [changed(shot, exposed(shot.pixels, 0.25)) for shot in small]

    def turned(yaw: float) -> list[Shot]:
        signs = [1 if person % 2 else -1 for person in range(people)]
        return [
            studio.photograph(Scene(p, yaw=sign * yaw, width=USUAL_WIDTH)) for p, sign in enumerate(signs)
        ]

    def series(name: str, axis: str, steps: Sequence[float], shots: Callable[[float], list[Shot]]) -> Series:
        judged = [judged_all(trial, shots(step), f"{name} {step}") for step in steps]
        return Series(name, axis, tuple(float(step) for step in steps), judged, people)

    return [
        series("yaw", "yaw, degrees", YAWS, turned),
        series(
            "width",
            "width of the face, pixels",
            WIDTHS,
            lambda w: [resized(s, w / BASE_WIDTH) for s in usual],
        ),
        series(
            "jpeg", "JPEG quality", QUALITIES, lambda q: [changed(s, compressed(s.pixels, q)) for s in small]
        ),
        series(
            "blur",
            "blur, % of the face's width",
            BLURS,
            lambda b: [changed(s, blurred(s.pixels, b * USUAL_WIDTH / 100)) for s in small],
        ),
        series("tilt", "tilt in the plane, degrees", TILTS, lambda a: [rotated(s, a) for s in small]),
        Series(
            "kinds",
            "",
            tuple(named),
            [judged_all(trial, shots, name) for name, shots in named.items()],
            people,
        ),
    ]


def judged_all(trial: Trial, shots: list[Shot], name: str) -> list[Verdict]:
    """Of the faces that were found."""
    verdicts = [judge(shot, trial.faces(f"{name} ({k})", shot.image)) for k, shot in enumerate(shots)]
    return [verdict for verdict in verdicts if verdict is not None]


def real(photos: Sequence[Image], trial: Trial) -> list[Series]:
    """The largest face of each photo as the photo gets worse, against what the clean photo gave."""
    clean = [(photo, largest(trial.faces("clean", photo))) for photo in photos]
    known = [(photo, face) for photo, face in clean if face is not None]
    ways: list[
        tuple[str, str, Sequence[float], Callable[[Image, Face, float], tuple[Pixels, np.ndarray]]]
    ] = [
        ("real width", "width of the face, pixels", WIDTHS[:6], _smaller),
        ("real jpeg", "JPEG quality", QUALITIES, lambda p, f, q: (compressed(p.pixels, q), _STAY)),
        (
            "real blur",
            "blur, % of the face's width",
            BLURS,
            lambda p, f, b: (blurred(p.pixels, b * width_of(f) / 100), _STAY),
        ),
        ("real tilt", "tilt in the plane, degrees", TILTS[6:], lambda p, f, a: turned_photo(p.pixels, a)),
        (
            "real grey",
            "grey (1) or colour (0)",
            (0, 1),
            lambda p, f, g: (grey(p.pixels) if g else p.pixels, _STAY),
        ),
        (
            "real light",
            "exposure, times",
            (0.12, 0.25, 0.5, 1.0, 2.0, 4.0),
            lambda p, f, e: (exposed(p.pixels, e), _STAY),
        ),
    ]
    out = []
    for name, axis, steps, way in ways:
        judged = []
        for step in steps:
            verdicts = []
            for photo, face in known:
                pixels, matrix = way(photo, face, float(step))
                # The same lens: what the photo's size makes of a missing focal length is not the question here.
                focal = face.camera.focal * float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
                film = focal * FULL_FRAME_DIAGONAL_MM / float(np.hypot(*pixels.shape[:2]))
                found = trial.faces(f"{name} {step}", Image(pixels, focal_35mm=film))
                verdict = drift(photo, face, found, matrix)
                if verdict is not None:
                    verdicts.append(verdict)
            judged.append(verdicts)
        out.append(Series(name, axis, tuple(float(step) for step in steps), judged, len(known)))
    return out


_STAY = np.array([[1.0, 0, 0], [0, 1, 0]])


def drift(photo: Image, face: Face, found: list[Face], matrix: Float[np.ndarray, "2 3"]) -> Verdict | None:
    """How far a changed photo's face is from the clean photo's; `matrix` takes clean pixels to changed ones.

    Landmarks in per cent of the outer eye distance (in 3D); shape as the mean distance of the 68 landmarks in 3D
    after a similarity, mm; normals over the clean photo's pixels, degrees; relief of the changed photo, mm.
    """
    eyes = float(np.linalg.norm(face.landmarks_3d[OUTER_EYES[0]] - face.landmarks_3d[OUTER_EYES[1]])) * 1000
    eyes_px = eyes * face.camera.focal / float(face.pose.translation[2])
    back = cv2.invertAffineTransform(matrix)
    placed = [other.landmarks @ back[:, :2].T + back[:, 2] for other in found]
    off = [float(np.linalg.norm(points - face.landmarks, axis=1).mean()) / eyes_px for points in placed]
    if not off or min(off) > 0.5:
        return None
    best = int(np.argmin(off))
    other = found[best]
    a, b = other.landmarks_3d.astype(np.float64) * 1000, face.landmarks_3d.astype(np.float64) * 1000
    shape = float(np.linalg.norm(similarity(a, b)(a) - b, axis=1).mean())
    height, width = photo.pixels.shape[:2]
    seen = view_of_face(face, width, height)
    wide, high = round(other.camera.centre_x * 2 + 1), round(other.camera.centre_y * 2 + 1)
    theirs = view_of_face(other, wide, high)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    normals = cv2.warpAffine(theirs.normals.astype(np.float32), matrix, (width, height), flags=flags)
    shown = cv2.warpAffine(theirs.seen.astype(np.uint8), matrix, (width, height), flags=flags) > 0
    turn = matrix[:, :2] / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    flip = np.array([[1.0, -1.0], [-1.0, 1.0]])  # the image's y points down, the normals' up
    normals[..., :2] = normals[..., :2] @ (turn * flip)
    both = seen.seen & shown
    return Verdict(
        100 * off[best],
        shape,
        float(angles(normals[both].astype(np.float64), seen.normals[both]).mean())
        if both.any()
        else float("nan"),
        strength(relief_of(other, wide, high)),
    )


def width_of(face: Face) -> float:
    """Of a face, pixels: between the ends of the jaw line, in 3D."""
    across = float(np.linalg.norm(face.landmarks_3d[0] - face.landmarks_3d[16])) * 1000
    return across * face.camera.focal / float(face.pose.translation[2])


def _smaller(photo: Image, face: Face, width: float) -> tuple[Pixels, np.ndarray]:
    factor = min(width / width_of(face), 1.0)
    pixels = scaled(photo.pixels, factor)
    real = np.array([pixels.shape[1] / photo.width, pixels.shape[0] / photo.height])
    return pixels, np.c_[np.diag(real), real / 2 - 0.5]


def scaled(pixels: Pixels, factor: float) -> Pixels:
    """At another size."""
    size = max(round(pixels.shape[1] * factor), 1), max(round(pixels.shape[0] * factor), 1)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def compressed(pixels: Pixels, quality: float) -> Pixels:
    """As a JPEG file."""
    from PIL import Image as pillow

    buffer = io.BytesIO()
    pillow.fromarray(pixels).save(buffer, "JPEG", quality=int(quality))
    with pillow.open(buffer) as picture:
        return np.asarray(picture.convert("RGB"))


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    """Out of focus, pixels."""
    return pixels if sigma <= 0 else np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def grey(pixels: Pixels) -> Pixels:
    """Without colour."""
    return np.repeat(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[..., None], 3, 2)


def exposed(pixels: Pixels, times: float) -> Pixels:
    """With so many times the light."""
    linear = (pixels.astype(np.float32) / 255) ** 2.2 * times
    return (np.clip(linear, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def turned_photo(pixels: Pixels, degrees: float) -> tuple[Pixels, Float[np.ndarray, "2 3"]]:
    """Turned clockwise about its middle in a square that holds all of it; and where its pixels went."""
    height, width = pixels.shape[:2]
    side = int(np.ceil(np.hypot(width, height)))
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.c_[turn, (side - 1) / 2 - turn @ np.array([(width - 1) / 2, (height - 1) / 2])]
    turned = cv2.warpAffine(pixels, matrix, (side, side), borderValue=(0, 0, 0))
    return np.asarray(turned, np.uint8), matrix


def changed(shot: Shot, pixels: Pixels) -> Shot:
    """The same place in another picture."""
    return replace(shot, pixels=pixels)


def resized(shot: Shot, factor: float) -> Shot:
    """The photo at another resolution, with what it shows."""
    pixels = scaled(shot.pixels, factor)
    side = len(pixels)
    factor = side / len(shot.pixels)
    middle = (side - 1) / 2

    def picked(maps: np.ndarray) -> np.ndarray:
        at = ((np.arange(side) + 0.5) / factor - 0.5).astype(np.float32)
        x, y = np.meshgrid(at, at)
        return np.asarray(
            cv2.remap(maps.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )

    return replace(
        shot,
        pixels=pixels,
        camera=replace(shot.camera, focal=shot.camera.focal * factor, centre_x=middle, centre_y=middle),
        landmarks=(shot.landmarks + 0.5) * factor - 0.5,
        eyes=shot.eyes * factor,
        position=_at_pixels(picked(shot.position), shot.camera.focal * factor, middle),
        normals=_unit(picked(shot.normals)),
        texel=picked(shot.texel),
    )


def _at_pixels(
    position: Float[np.ndarray, "h w 3"], focal: float, middle: float
) -> Float[np.ndarray, "h w 3"]:
    """Points moved along x and y onto the rays of their new pixels."""
    z = position[..., 2]
    along = (np.arange(len(z)) - middle) / focal
    return np.stack([along[None, :] * z, along[:, None] * z, z], -1)


def _unit(normals: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)


def rotated(shot: Shot, degrees: float) -> Shot:
    """The photo turned clockwise about its middle, with what it shows."""
    pixels, matrix = turned_photo(shot.pixels, degrees)
    side, angle = len(pixels), np.radians(degrees)
    about = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])

    def moved(maps: np.ndarray) -> np.ndarray:
        nothing = (float("nan"),) * 3
        return np.asarray(cv2.warpAffine(maps.astype(np.float32), matrix, (side, side), borderValue=nothing))

    middle = (side - 1) / 2
    position = moved(shot.position) @ about.T
    mirrored = about * np.array([[1, -1, 1], [-1, 1, 1], [1, 1, 1]])  # normals: y up
    return replace(
        shot,
        pixels=pixels,
        camera=replace(shot.camera, centre_x=middle, centre_y=middle),
        landmarks=shot.landmarks @ matrix[:, :2].T + matrix[:, 2],
        position=_at_pixels(position, shot.camera.focal, middle),
        normals=_unit(np.nan_to_num(moved(shot.normals))) @ mirrored.T,
        texel=moved(np.dstack([shot.texel, shot.texel[..., :1]]))[..., :2],
    )
