"""The whole method on one page: photo -> faces -> crops -> maps -> pose -> surface -> mesh, texture, landmarks."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8

from facecli.blas import one_thread
from facecli.blendshapes import Expression, express, load_blendshapes, openings
from facecli.camera import Camera, Pose, camera_for
from facecli.clock import Clock
from facecli.complete import FaceModel, Rims, complete, load_face_model, to_mesh
from facecli.crop import CROP, Crop, crop_from_detection, crop_from_square, exposed
from facecli.detect import Detection, Detector
from facecli.geometry import (
    PARTED,
    displace,
    inner,
    inner_mouth,
    landmarks_from_maps,
    normals,
    positions,
)
from facecli.handful import Result, Steps, in_step
from facecli.hem import hemmed
from facecli.images import Image
from facecli.landmarks import Landmarks, dense_landmarks
from facecli.lens import likely_camera
from facecli.look import (
    SMALLEST_REGION,
    Look,
    ask,
    coarse_mask,
    evidence,
    look_at,
    placed_at,
    rays_through,
)
from facecli.mesh import Mesh, grid_mesh
from facecli.pose import fit_person
from facecli.relief import raised, relief
from facecli.rims import on_rims, rim_edges, rim_points
from facecli.runtime import Maps, Network
from facecli.texture import Shown, Skin, bake, vertex_colors
from facecli.upsample import upsample_masked
from facecli.weights import Template, Weights, load_template, load_weights

INPUT = 512  # the network's crop
FRAMING = 1.45  # side of the crop over the longer side of the box of the whole face area, as in training
OFF_CENTRE, OFF_SIZE, OFF_ROLL = 0.07, 0.13, math.radians(12)  # a crop worse than this is taken once more
FAR_CENTRE, FAR_SIZE, FAR_ROLL = (
    0.3,
    0.6,
    math.radians(50),
)  # unless it is so far off that the maps must be wrong
LARGEST_TEXTURE, TEXTURE_STEP = 1024, 128
DISAGREEMENT = 0.35  # detector and network apart by more than this share of the face's size: there is no face
DOUBTFUL = 1.2  # mm: nor where that share, times how far the network doubts its depth, is more
RIMS_APART = 0.7  # mm, on the template
SURE_MM = 4.0  # pixels whose depth the network doubts more than this count less for what is hidden
NOTICEABLE = 1e-6  # pixels: less is only arithmetic
SAME_FACE = 0.3  # landmarks closer than this share of the face's size: two detections of one face


@dataclass(frozen=True, eq=False)
class Face:
    """One reconstructed face. Pixels are of the upright photo, x right, y down, centres at integers."""

    detection: Detection
    crop: Crop
    camera: Camera
    pose: Pose  # head frame -> camera frame
    maps: Maps  # what the network saw in the crop
    mesh: Mesh  # what the photo shows, one vertex per pixel; metres, head frame
    complete: Mesh | None  # the whole face, vertex order the same for every face; metres, head frame
    texture: UInt8[np.ndarray, "t t 3"]  # the photo's crop, where mesh.uv points
    landmarks: Float[np.ndarray, "68 2"]  # iBUG 68 in the photo, pixels
    landmarks_3d: Float[np.ndarray, "68 3"]  # the same, metres, head frame
    landmarks_visible: Bool[np.ndarray, "68"]  # whether the photo shows it
    seconds: dict[str, float] = field(default_factory=dict)  # wall time by stage
    skin: Skin | None = None  # the whole face's texture and where it is from
    dense: Landmarks | None = None  # MediaPipe's 468 points on the whole face
    detail_scale: float = 1.0  # how much of maps.detail is in the mesh
    expression: Expression | None = None  # blendshape weights, and `complete` without them


class Reconstructor:
    """Finds every face of a photo and makes a mesh of each. Cheap to keep, costly to make.

    device: "auto", "cpu", "cuda" or "cuda:N". weights: default the packaged ones. threads: of the CPU, 0 = all.
    focal: focal length in pixels of every photo; else EXIF, else a guess. detail: displace the mesh by the
    third subtask's relief, times detail_scale. whole: also make `Face.complete`, `skin` and `dense`.
    expression: with whole, also make `Face.expression`. mirror: look at each face mirrored too, and take the mean.

    Raises WeightsError and DeviceError.
    """

    def __init__(
        self,
        device: str = "auto",
        weights: Weights | None = None,
        threads: int = 0,
        focal: float | None = None,
        detail: bool = True,
        whole: bool = True,
        detail_scale: float = 1.0,
        expression: bool = False,
        mirror: bool = False,
    ) -> None:
        weights = load_weights() if weights is None else weights
        self.network = Network(weights, device, threads)
        self.detector = Detector(weights.read("detector.onnx"), threads)
        self.template: Template = load_template(weights)
        self.model = load_face_model(weights)
        self.blendshapes = load_blendshapes(weights, self.model) if whole and expression else None
        self.focal, self.whole, self.mirror = focal, whole, mirror
        self.detail, self.detail_scale = detail, detail_scale if detail else 0.0

    def reconstruct(self, image: Image | UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Every face of an upright sRGB photo, the most certain detection first; [] when there is none.

        Raises DeviceError when memory runs out for even one face.
        """
        if not isinstance(image, Image):
            image = Image(image)
        with one_thread():
            return next(self.together([self.steps(image, Clock())]))

    def together(self, tasks: Iterable[Steps[Result]]) -> Iterator[Result]:
        """The results of tasks made of `steps`, as each is finished; on a GPU their faces share batches.

        On the CPU they do not: that would bring nothing, and the same photo could have other last bits.
        """
        return in_step(tasks, self.network, self.network.room)

    def steps(self, image: Image, clock: Clock) -> Steps[list[Face]]:
        """What `reconstruct` does, pausing wherever the network is to look. clock: is told the stages."""
        # Where nobody is after all that the detector took for a face, somebody else may have been overlooked for that.
        for detections in self.detector.passes(image.pixels):
            clock.mark("detect")
            if faces := (yield from self._faces(image, detections, clock)):
                return faces
            wholes = self.detector.around(image.pixels, detections)
            clock.mark("detect")
            if wholes and (faces := (yield from self._faces(image, wholes, clock))):
                return faces
        clock.mark("detect")
        return []

    def _faces(self, image: Image, detections: list[Detection], clock: Clock) -> Steps[list[Face]]:
        """Those of the detections that are faces."""
        camera = camera_for(image.width, image.height, image.focal_35mm, self.focal)
        crops = [crop_from_detection(detection) for detection in detections]
        looks = yield from self._look(image, camera, crops, clock)
        camera, looks = _through_the_likely_lens(self.model, camera, looks)
        clock.mark("network")
        looks = yield from self._reframe(image, camera, looks, clock)
        clock.mark("reframe")
        if self.mirror:
            looks = yield from self._mirrored(image, camera, looks, clock)
            clock.mark("mirror")
        found = [
            self._assemble(image, camera, detection, look, clock.shared(len(detections)))
            for detection, look in zip(detections, looks, strict=True)
        ]
        clock.mark("assemble")
        return _credible([face for face in found if face is not None])

    def _look(self, image: Image, camera: Camera, crops: list[Crop], clock: Clock) -> Steps[list[Look]]:
        if not crops:
            return []
        seen = yield from ask(image, _pictures(image, crops), clock)
        return [look_at(camera, *each) for each in zip(crops, seen, strict=True)]

    def _reframe(self, image: Image, camera: Camera, looks: list[Look], clock: Clock) -> Steps[list[Look]]:
        """Look once more, with a better crop, at the faces that the detector framed badly."""
        better: dict[int, Crop] = {}
        for i, look in enumerate(looks):
            if look.place is not None:
                improved = _framing(camera, look.place[0], self.template.box_points)
                if (
                    improved is not None
                    and _is_off(look.crop, improved)
                    and not _is_absurd(look.crop, improved)
                ):
                    better[i] = improved
        again = yield from self._look(image, camera, list(better.values()), clock)
        for i, look in zip(better, again, strict=True):
            if look.region.sum() >= SMALLEST_REGION:  # never trade a face for none
                looks[i] = look
        return looks

    def _mirrored(self, image: Image, camera: Camera, looks: list[Look], clock: Clock) -> Steps[list[Look]]:
        """The mean of each face's look and one in a mirror: what the network errs in either way is half chance."""
        placed = [i for i, look in enumerate(looks) if look.place is not None]
        if not placed:
            return looks
        seen = yield from ask(image, _pictures(image, [looks[i].crop for i in placed])[:, :, ::-1], clock)
        for i, maps in zip(placed, seen, strict=True):
            one = looks[i]
            both = look_at(camera, one.crop, one.maps.mean(maps.mirrored()))
            if both.place is not None:  # never trade a face for none
                looks[i] = both
        return looks

    def _assemble(
        self, image: Image, camera: Camera, detection: Detection, look: Look, seconds: dict[str, float]
    ) -> Face | None:
        import cv2

        clock = Clock()
        if look.place is None:
            return None
        crop, maps, region = look.crop, look.maps, look.region
        known = coarse_mask(region)
        pose, distance = fit_person(self.model, *look.place, *evidence(camera, crop, maps, known))
        pixels, rays = rays_through(camera, crop, CROP)
        finer = upsample_masked(np.dstack([maps.coordinate, maps.depth, maps.opening]), known, CROP)
        is_skin = finer[region][:, 4] < PARTED
        if is_skin.sum() < SMALLEST_REGION:
            return None
        surface = positions(finer[..., 3].astype(np.float64), rays, distance)
        landmarks, landmarks_3d, visible = landmarks_from_maps(
            finer[region][:, :3],
            pixels[region],
            surface[region],
            self.template.landmarks,
            pose,
            camera,
            is_skin,
        )
        better = crop.to_photo(on_rims(crop.to_crop(landmarks), finer[..., 4].astype(np.float64)))
        landmarks_3d[:, :2] += (better - landmarks) * landmarks_3d[:, 2:] / camera.focal
        visible |= (np.abs(better - landmarks) > NOTICEABLE).any(1)
        landmarks = better
        texture = crop.warp(image.pixels, _texture_size(crop))
        photographed = np.asarray(cv2.resize(texture, (CROP, CROP), interpolation=cv2.INTER_AREA))
        detail = cv2.resize(maps.detail, (CROP, CROP), interpolation=cv2.INTER_AREA) * self.detail_scale
        detailed = surface
        if self.detail:
            detailed = displace(surface, normals(surface, region), detail.astype(np.float64))
        mesh = hemmed(grid_mesh(detailed, region, photographed, pose), pose, CROP)
        if len(mesh.faces) == 0:
            return None
        whole = skin = dense = expression = None
        if self.whole:
            sure = inner(region) & ~inner_mouth(finer[..., :3], finer[..., 4])
            opened = finer[..., 4].astype(np.float64)
            edges = crop.to_photo(rim_edges(crop.to_crop(landmarks), opened, visible))
            placed = rim_points(landmarks_3d, visible)
            placed[:, :2] += (edges - rim_points(landmarks, visible)) * placed[:, 2:] / camera.focal
            rims = Rims(
                rim_points(self.template.landmarks.astype(np.float64), visible, RIMS_APART),
                pose.to_head(placed),
                pose.eye,
            )
            believed = np.minimum(1, SURE_MM / np.maximum(cv2.resize(maps.sigma, (CROP, CROP))[sure], 1e-3))
            seen = pose.to_head(surface[sure])
            completed = complete(self.model, finer[sure][:, :3], seen, rims, believed)
            shown = Shown(surface[..., 2], region)
            skin = bake(self.model, completed, shown, texture, camera, pose, crop)
            if self.detail:
                skin = raised(skin, relief(self.model, skin, detail, camera, pose, crop))
            whole = to_mesh(self.model, skin.surface, vertex_colors(skin.texture, self.model.uv))
            dense = dense_landmarks(self.model, self.template.dense, skin, camera, pose)
            if self.blendshapes is not None:
                told = openings(maps, camera, pose, crop)
                expression = express(self.model, self.blendshapes, skin.surface, told, whole.colors)
        clock.mark("assemble")
        return Face(
            detection,
            crop,
            camera,
            pose,
            maps,
            mesh,
            whole,
            texture,
            landmarks,
            pose.to_head(landmarks_3d) / 1000,
            visible,
            seconds | clock.seconds,
            skin,
            dense,
            self.detail_scale,
            expression,
        )


def _pictures(image: Image, crops: list[Crop]) -> UInt8[np.ndarray, "n 512 512 3"]:
    """What the network is shown of crops, at least one."""
    return np.stack([exposed(crop.warp(image.pixels, INPUT)) for crop in crops])


def _through_the_likely_lens(
    model: FaceModel, camera: Camera, looks: list[Look]
) -> tuple[Camera, list[Look]]:
    """The camera as the faces tell it, and the looks placed before it."""
    likely = likely_camera(model, camera, looks)
    if likely is camera:
        return camera, looks
    return likely, [
        replace(look, place=placed_at(likely, look.crop, look.maps, look.region)) for look in looks
    ]


def _credible(faces: list[Face]) -> list[Face]:
    """Without those where detector and network, two witnesses, do not mean the same face, the less so the less sure the
    network is of what it sees; and without doubles.

    Of two readings of one face the one stays on which both agree better.
    """
    doubt = [_disagreement(face) for face in faces]
    kept: list[int] = []
    for i in sorted(range(len(faces)), key=lambda i: doubt[i]):
        face = faces[i]
        apart = [np.linalg.norm(face.landmarks - faces[k].landmarks, axis=1).mean() for k in kept]
        is_face = doubt[i] < DISAGREEMENT and doubt[i] * _deviation(face.maps) < DOUBTFUL
        if is_face and min(apart, default=np.inf) > SAME_FACE * face.detection.size:
            kept.append(i)
    return [faces[i] for i in sorted(kept)]


def _disagreement(face: Face) -> float:
    """How far the detector's five points are from where the maps have them, over the face's size."""
    eyes = face.landmarks[36:42].mean(0), face.landmarks[42:48].mean(0)
    ours = np.stack([*eyes, *face.landmarks[[30, 48, 54]]])
    return float(np.linalg.norm(ours - face.detection.landmarks, axis=1).mean() / face.detection.size)


def _deviation(maps: Maps) -> float:
    """By how much the network doubts the depth of what it takes for the face, mm: 3 to 4 for most faces, 7 and more for
    stones and the like. 0 where it sees no face."""
    seen = maps.sigma[maps.region[::2, ::2] > 0.5]
    return float(np.median(seen)) if len(seen) else 0.0


def _framing(camera: Camera, pose: Pose, outline: Float[np.ndarray, "n 3"]) -> Crop | None:
    """The crop that training would have given to a head posed like this."""
    placed = pose.to_camera(outline)
    if (placed[:, 2] < 1).any():
        return None
    roll = math.radians(pose.yaw_pitch_roll[2])
    upright = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    turned = camera.project(placed) @ upright.T
    low, high = turned.min(0), turned.max(0)
    return crop_from_square((low + high) / 2 @ upright, FRAMING * float((high - low).max()), roll)


def _difference(crop: Crop, better: Crop) -> tuple[float, float, float]:
    """How two crops differ: centre over the side, logarithm of the size, roll in radians."""
    middle = np.full((1, 2), (CROP - 1) / 2)
    shift = float(np.linalg.norm(crop.to_crop(better.to_photo(middle)) - middle) / CROP)
    first, second = (math.atan2(c.matrix[0, 1], c.matrix[0, 0]) for c in (crop, better))
    return shift, abs(math.log(better.scale / crop.scale)), abs(math.remainder(second - first, math.tau))


def _is_off(crop: Crop, better: Crop) -> bool:
    """Whether a crop differs from a better one by more than training's jitter makes harmless."""
    shift, size, roll = _difference(crop, better)
    return shift > OFF_CENTRE or size > OFF_SIZE or roll > OFF_ROLL


def _is_absurd(crop: Crop, better: Crop) -> bool:
    """Whether the "better" crop is no correction of the detector's but another thing altogether."""
    shift, size, roll = _difference(crop, better)
    return shift > FAR_CENTRE or size > FAR_SIZE or roll > FAR_ROLL


def _texture_size(crop: Crop) -> int:
    """The smallest multiple of `TEXTURE_STEP` that keeps the photo's resolution, 256 to 1024."""
    steps = math.ceil(CROP * min(crop.scale, LARGEST_TEXTURE / CROP) / TEXTURE_STEP - 1e-9)
    return max(CROP, steps * TEXTURE_STEP)
