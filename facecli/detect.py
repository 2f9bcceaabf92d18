"""Find faces: YuNet (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023) over onnxruntime.

The network alone is not enough. At one scale it misses very large and very small faces, so it sees the photo
at several. And it labels the points of a leaning or upside-down head as if upright, with a high score: so
every proposal is read again on eight rotated crops, and the best reading upright in its own crop counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from facecli.crop import CROP, Crop, crop_from_square
from facecli.runtime import cpu_session

PASSES = (640, 256)  # longest side of the photo as the network sees it
BIG_PHOTO, BIG_PASS = 1600, 1280  # longer photos get one more pass, for their small faces
PROPOSAL = 0.4  # score from which a face is read again
OVERLAP = 0.4  # boxes that share more than this (intersection over union) are one face
STRIDES = (8, 16, 32)
TURNS = 8  # readings of one face, 45 degrees apart
READING = 160  # pixels of such a reading
SURROUND = 2.0  # its side in the photo / the longer side of the proposed box
UPRIGHT = np.radians(40)  # a reading that leans more in its own crop is better read from the next one
DARK = 60  # median of a photo that is looked at once more, brightened, if no face was found in it
CLAHE_LIMIT = 8.0  # how much local contrast may grow
PART = 2.0  # side of the box that is read for the whole of which something may be a part, over that part's
LARGER = 1.5  # the whole is at least so many times as large: else it is that part, read once more
FACES_AT_ONCE = 16  # readings of so many faces go through the network together


@dataclass(frozen=True, eq=False)
class Detection:
    """One face, in photo pixels (centres at integers); it may reach past the photo's edge."""

    box: Float[np.ndarray, "4"]  # x0 y0 x1 y1, around the face as it leans in the photo
    landmarks: Float[np.ndarray, "5 2"]  # subject's right eye, left eye, nose tip, right, left mouth corner
    score: float  # 0..1
    roll: float  # radians, clockwise as seen: by how much the face leans in the photo
    size: float  # sqrt(width * height) of the box of the face put upright


@dataclass(frozen=True, eq=False)
class _View:
    """The photo at another size."""

    pixels: UInt8[np.ndarray, "h w 3"]
    steps: Float[
        np.ndarray, "2"
    ]  # photo pixels per view pixel in x, in y: equal but for rounding of the size

    @property
    def step(self) -> float:
        return float(self.steps.max())

    def to_photo(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        return np.asarray((points + 0.5) * self.steps - 0.5)

    def from_photo(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        return np.asarray((points + 0.5) / self.steps - 0.5)


@dataclass(frozen=True, eq=False)
class _Found:
    """What the network says of a batch of pictures, one row per candidate."""

    picture: np.ndarray  # int, "m": which of the batch
    boxes: Float[np.ndarray, "m 4"]  # centre x, centre y, width, height
    landmarks: Float[np.ndarray, "m 5 2"]
    scores: Float[np.ndarray, " m"]


class Detector:
    """YuNet, from the bytes of detector.onnx; threads: 0 = all cores.

    Raises WeightsError for bytes that are no model.
    """

    def __init__(self, model: bytes, threads: int = 0) -> None:
        self._session: Any = cpu_session(model, threads, "detector.onnx")

    def detect(self, pixels: UInt8[np.ndarray, "h w 3"], threshold: float = 0.6) -> list[Detection]:
        """The faces of an RGB photo, best score first: the first of `passes` that finds any."""
        return next(self.passes(pixels, threshold), [])

    def passes(self, pixels: UInt8[np.ndarray, "h w 3"], threshold: float = 0.6) -> Iterator[list[Detection]]:
        """The faces of an RGB photo, best score first, each time one is found in another way; made when asked for.

        Heads on their side or upside down may not be proposed at all, so without a face the photo is turned; after
        that a dark one is brightened. Whoever does not believe in the faces of one pass asks for the next.
        """
        if pixels.shape[0] == 0 or pixels.shape[1] == 0:
            return
        photo, *views = _pyramid(pixels)
        for quarters in ((0,), (1, 2, 3)):
            if faces := self._find(photo, views, quarters, threshold):
                yield faces
        if np.median(views[-1].pixels) < DARK:
            photo, *views = _pyramid(_brightened(pixels))
            if faces := self._find(photo, views, (0,), threshold):
                yield faces

    def around(
        self, pixels: UInt8[np.ndarray, "h w 3"], parts: list[Detection], threshold: float = 0.6
    ) -> list[Detection]:
        """The faces of which detections, not believed, may be parts: a nose lit from below looks like one."""
        views, found = _pyramid(pixels), []
        for part in parts:
            (x0, y0, x1, y1), size = part.box, part.size
            box = np.array([[(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) * PART, (y1 - y0) * PART]])
            found += [face for face in self._read(views, box, threshold) if face.size > LARGER * size]
        return found

    def _find(
        self, photo: _View, views: list[_View], quarters: tuple[int, ...], threshold: float
    ) -> list[Detection]:
        """The faces proposed in views turned by quarters of a turn, read from the photo itself or a view."""
        proposals = self._propose(views, quarters, min(PROPOSAL, threshold))
        return self._read([photo, *views], proposals, threshold)

    def _propose(
        self, views: list[_View], quarters: tuple[int, ...], threshold: float
    ) -> Float[np.ndarray, "m 4"]:
        """Boxes (centre x, centre y, width, height; photo px) in all views turned by quarters of a turn."""
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
        for view in views:
            height, width = view.pixels.shape[:2]
            for quarter in quarters:
                found = self._infer(np.rot90(view.pixels, quarter)[None], threshold)
                turned = _turn_back(found.boxes, quarter, width, height)
                boxes.append(
                    np.concatenate([view.to_photo(turned[:, :2]), turned[:, 2:] * view.step], axis=1)
                )
                scores.append(found.scores)
        every = np.concatenate(boxes)
        return every[_suppress(every, np.concatenate(scores))]

    def _read(
        self, views: list[_View], proposals: Float[np.ndarray, "m 4"], threshold: float
    ) -> list[Detection]:
        """The best upright reading of each proposal, where there is one, doubles removed, best first."""
        faces: list[Detection] = []
        turns = np.arange(TURNS) * (2 * np.pi / TURNS)
        for start in range(0, len(proposals), FACES_AT_ONCE):
            some = proposals[start : start + FACES_AT_ONCE]
            zooms = SURROUND * some[:, 2:].max(axis=1) / READING  # photo pixels per pixel of the reading
            crops, pictures = [], []
            for box, zoom in zip(some, zooms, strict=True):
                # A large face need not be read from all of its pixels: the coarsest view that is fine enough.
                view = max((v for v in views if v.step <= max(zoom, 1)), key=lambda v: v.step)
                crops += [crop_from_square(box[:2], float(zoom) * READING, float(turn)) for turn in turns]
                centre, side = view.from_photo(box[None, :2])[0], float(zoom) * READING / view.step
                # A reading turned by a quarter shows the same pixels: two are made, and turned.
                drawn = [
                    crop_from_square(centre, side, float(turn)).warp(view.pixels, READING)
                    for turn in turns[: TURNS // 4]
                ]
                pictures += [np.rot90(picture, quarter) for quarter in range(4) for picture in drawn]
            found = self._infer(np.stack(pictures), threshold)
            for face, zoom in enumerate(zooms):
                best = _best_upright(found, face)
                if best is not None:
                    turn = int(found.picture[best])
                    faces.append(
                        _detection(found, best, crops[turn], float(zoom), float(turns[turn % TURNS]))
                    )
        corners = np.array([face.box for face in faces]).reshape(-1, 4)
        boxes = np.concatenate(
            [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1
        )
        return [faces[i] for i in _suppress(boxes, np.array([face.score for face in faces]))]

    def _infer(self, pictures: UInt8[np.ndarray, "n h w 3"], threshold: float) -> _Found:
        """Decode the network's answer for a batch of RGB pictures: everything scored threshold or more."""
        import cv2

        count, height, width = pictures.shape[:3]
        rows, columns = -(-height // 32) * 32, -(-width // 32) * 32
        make = np.empty if (rows, columns) == (height, width) else np.zeros
        blob = make((count, 3, rows, columns), np.float32)
        for picture, planes in zip(pictures, blob, strict=True):
            for channel, plane in enumerate(reversed(cv2.split(picture))):  # BGR, 0..255
                planes[channel, :height, :width] = plane
        outputs: list[Float32[np.ndarray, "n p c"]] = self._session.run(None, {"input": blob})
        picked = [np.zeros(0, int)], [np.zeros((0, 4))], [np.zeros((0, 5, 2))], [np.zeros(0)]
        for level, stride in enumerate(STRIDES):
            classes, objects, boxes, points = (outputs[kind * len(STRIDES) + level] for kind in range(4))
            scores = np.sqrt(np.clip(classes[..., 0], 0, 1) * np.clip(objects[..., 0], 0, 1))
            picture, cell = np.nonzero(scores >= threshold)
            # The network counts from pixel edges (mirrored photos show it), we from centres: half a pixel.
            row, column = np.divmod(cell, columns // stride)
            prior = np.stack([column, row], axis=1) - 0.5 / stride
            box, point = boxes[picture, cell].astype(np.float64), points[picture, cell].astype(np.float64)
            picked[0].append(picture)
            picked[1].append(np.concatenate([prior + box[:, :2], np.exp(box[:, 2:])], axis=1) * stride)
            picked[2].append((prior[:, None] + point.reshape(-1, 5, 2)) * stride)
            picked[3].append(scores[picture, cell].astype(np.float64))
        return _Found(*(np.concatenate(part) for part in picked))


def roll_of(landmarks: Float[np.ndarray, "5 2"]) -> float:
    """The lean of a face, radians clockwise, from its eyes and mouth corners.

    The two left-right lines plus twice the eyes-to-mouth line turned by a right angle: on a profile the
    former vanish and the latter decides, so the angle stays steady as the head turns.
    """
    right_eye, left_eye, _, right_mouth, left_mouth = landmarks
    down = (right_mouth + left_mouth) - (right_eye + left_eye)
    x, y = (left_eye - right_eye) + (left_mouth - right_mouth) + np.array([down[1], -down[0]])
    return float(np.arctan2(y, x))


def _pyramid(pixels: UInt8[np.ndarray, "h w 3"]) -> list[_View]:
    """The photo, then the photo at each pass's longest side, largest first."""
    import cv2

    height, width = pixels.shape[:2]
    longest = max(height, width)
    views, source = [_View(pixels, np.ones(2))], pixels
    for side in (BIG_PASS, *PASSES) if longest > BIG_PHOTO else PASSES:
        shape = max(round(width * side / longest), 1), max(round(height * side / longest), 1)
        shrinks = side < max(source.shape[:2])
        # Each view is made from the one before: averages of averages, at a fraction of the cost.
        view = cv2.resize(source, shape, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        views.append(_View(np.asarray(view, np.uint8), np.array([width / shape[0], height / shape[1]])))
        if shrinks:
            source = views[-1].pixels
    return views


def _brightened(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """What is in the shadows, brought out: local contrast of the luminance made even (CLAHE, Zuiderveld 1994)."""
    import cv2

    luminance, *colour = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb))
    even = cv2.createCLAHE(CLAHE_LIMIT, (8, 8)).apply(luminance)
    return np.asarray(cv2.cvtColor(cv2.merge([even, *colour]), cv2.COLOR_YCrCb2RGB), np.uint8)


def _turn_back(
    boxes: Float[np.ndarray, "m 4"], quarter: int, width: int, height: int
) -> Float[np.ndarray, "m 4"]:
    """Boxes seen in numpy.rot90(view, quarter), back in the view of width x height."""
    x, y, w, h = boxes.T
    if quarter == 1:
        return np.stack([width - 1 - y, x, h, w], axis=1)
    if quarter == 2:
        return np.stack([width - 1 - x, height - 1 - y, w, h], axis=1)
    if quarter == 3:
        return np.stack([y, height - 1 - x, h, w], axis=1)
    return boxes.copy()


def _best_upright(found: _Found, face: int) -> int | None:
    """The row of a face's best reading: about where and as large as proposed, and upright in its own crop."""
    expected = READING / SURROUND
    offset = np.abs(found.boxes[:, :2] - (READING - 1) / 2).max(axis=1)
    ratio = found.boxes[:, 2:].max(axis=1) / expected
    good = (found.picture // TURNS == face) & (offset < 0.5 * expected) & (ratio > 0.5) & (ratio < 2.0)
    rows = [int(row) for row in np.nonzero(good)[0] if abs(roll_of(found.landmarks[row])) < UPRIGHT]
    return max(rows, key=lambda row: found.scores[row], default=None)


def _detection(found: _Found, row: int, crop: Crop, zoom: float, turn: float) -> Detection:
    """A reading (of a crop turned by turn radians, zoom photo pixels per pixel) as a face of the photo."""
    points = np.concatenate([found.landmarks[row], found.boxes[row : row + 1, :2]])
    in_photo = crop.to_photo((points + 0.5) * (CROP / READING) - 0.5)
    width, height = found.boxes[row, 2:] * zoom
    half = _half_extent(width, height, turn)
    return Detection(
        box=np.concatenate([in_photo[5] - half, in_photo[5] + half]),
        landmarks=in_photo[:5],
        score=float(found.scores[row]),
        roll=roll_of(in_photo[:5]),
        size=float(np.sqrt(width * height)),
    )


def _half_extent(width: float, height: float, roll: float) -> Float[np.ndarray, "2"]:
    """Half the axis-aligned extent of the ellipse inscribed in a width x height box that leans by roll."""
    cosine, sine = np.cos(roll), np.sin(roll)
    return np.array([np.hypot(width * cosine, height * sine), np.hypot(width * sine, height * cosine)]) / 2


def _suppress(boxes: Float[np.ndarray, "m 4"], scores: Float[np.ndarray, " m"]) -> list[int]:
    """Non-maximum suppression of (centre x, centre y, width, height) boxes: the rows kept, best first."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    area = boxes[:, 2] * boxes[:, 3]
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        first, left = int(left[0]), left[1:]
        kept.append(first)
        overlap = np.minimum(high[first], high[left]) - np.maximum(low[first], low[left])
        shared = np.clip(overlap, 0, None).prod(axis=1)
        left = left[shared <= OVERLAP * (area[first] + area[left] - shared)]
    return kept
