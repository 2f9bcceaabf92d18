"""The expression of a face, as blendshape weights that animators use, and the face without it.

The weights are regressed from the completed mesh and from what eyes and mouth uncover, by a small head that learned
from samples as the network sees them (`facecli.train.expression`). It is linear, and says the posterior mean: what the
network's maps cannot tell of a shape is shrunk towards the shape's mean.

The modes of `facecli.complete.FaceModel` are first those of identity, then those of expression. In the latter every
blendshape of the head model is one vector (`facecli.train.blendshapes`): that takes an expression off again.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, UInt8

from facecli.camera import Camera, Pose
from facecli.complete import FaceModel, Surface, to_mesh, with_even_lips
from facecli.completion import fingerprint
from facecli.crop import Crop
from facecli.errors import WeightsError
from facecli.grid import enlarge, sample
from facecli.mesh import Mesh
from facecli.mouth import with_inner_mouth
from facecli.runtime import Maps
from facecli.weights import REPAIR, Weights

# The head model's shapes: ARKit's, but brow and cheek by side where ARKit has one, and no tongue.
SHAPES = tuple(
    """browDown_L browDown_R browInnerUp_L browInnerUp_R browOuterUp_L browOuterUp_R cheekPuff_L cheekPuff_R
    cheekSquint_L cheekSquint_R eyeBlink_L eyeBlink_R eyeLookDown_L eyeLookDown_R eyeLookIn_L eyeLookIn_R
    eyeLookOut_L eyeLookOut_R eyeLookUp_L eyeLookUp_R eyeSquint_L eyeSquint_R eyeWide_L eyeWide_R jawForward
    jawLeft jawOpen jawRight mouthClose mouthDimple_L mouthDimple_R mouthFrown_L mouthFrown_R mouthFunnel
    mouthLeft mouthLowerDown_L mouthLowerDown_R mouthPress_L mouthPress_R mouthPucker mouthRight mouthRollLower
    mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmile_L mouthSmile_R mouthStretch_L mouthStretch_R
    mouthUpperUp_L mouthUpperUp_R noseSneer_L noseSneer_R""".split()
)
ONE_IN_ARKIT = ("browInnerUp", "cheekPuff")
TONGUE = "tongueOut"

# Around the left eye, the right eye and the mouth: centre and reach (x, y) on the template, mm.
APERTURES = np.array([[31.0, -0.65, 22.0, 14.0], [-31.0, -0.65, 22.0, 14.0], [0.0, -75.0, 35.0, 30.0]])
LARGEST = 0.5, 2.0  # of open and of seen area, over that of the rectangle: more is a pose gone wrong


@dataclass(frozen=True, eq=False)
class Regressor:
    """The learned head: what a completed face and its openings tell of the weights."""

    cells: Float32[np.ndarray, "p 2"]  # places on the face model's grid, column and row
    by_place: Float32[np.ndarray, "p 3 e"]  # per mm that the face lies beside the mean face there
    by_opening: Float32[np.ndarray, "9 e"]  # per unit of `openings`
    usual: Float32[np.ndarray, " e"]  # where all of these are 0

    def weights(
        self, model: FaceModel, surface: Surface, openings: Float[np.ndarray, "9"]
    ) -> Float[np.ndarray, " e"]:
        """Of SHAPES, 0 to 1."""
        offsets = sample(surface.positions - model.mean, self.cells.astype(np.float64))
        told = np.tensordot(offsets, self.by_place.astype(np.float64), 2) + openings @ self.by_opening
        return np.clip(self.usual + told, 0, 1)


@dataclass(frozen=True, eq=False)
class Blendshapes:
    """The head model's shapes in the modes of the face model."""

    first: int  # the modes before are of identity
    shapes: Float32[np.ndarray, "e x"]  # each at weight 1, in the modes of expression
    mean: Float32[np.ndarray, " e"]  # the weights that the face model's mean face has
    precision: Float32[np.ndarray, "e e"]  # of the weights in the training data
    regressor: Regressor | None = None  # None: not trained yet

    @cached_property
    def neutral(self) -> Float[np.ndarray, " x"]:
        """The neutral face in the modes of expression."""
        return -self.mean.astype(np.float64) @ self.shapes

    def offset(self, model: FaceModel, weights: Float[np.ndarray, " e"]) -> Float[np.ndarray, "g g 3"]:
        """What an expression adds to the neutral face, mm."""
        change = np.tensordot((weights @ self.shapes).astype(np.float32), model.modes[self.first :], 1)
        return enlarge(change, model.mean.shape[0])


def load_blendshapes(weights: Weights, model: FaceModel) -> Blendshapes:
    """The packaged shapes and head. Raises WeightsError when they are missing, damaged or not for the model's modes."""
    return replace(load_shapes(weights, model), regressor=load_regressor(weights, model))


def load_shapes(weights: Weights, model: FaceModel) -> Blendshapes:
    """The packaged shapes alone. Raises WeightsError when they are missing, damaged or not of the model's modes."""
    tensors = weights.tensors("blendshapes.safetensors")
    count = len(SHAPES)
    try:
        shapes, mean, precision = (tensors[key].astype(np.float32) for key in ("shapes", "mean", "precision"))
        (first,) = (int(value) for value in tensors["first"])
        if (shapes.ndim, len(shapes), mean.shape, precision.shape) != (2, count, (count,), (count, count)):
            raise ValueError(f"not {count} shapes")
        if first + shapes.shape[1] != len(model.modes):
            raise ValueError("completion.safetensors has other modes")
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"blendshapes.safetensors is not of this version: {error}") from error
    return Blendshapes(first, shapes, mean, precision)


def load_regressor(weights: Weights, model: FaceModel) -> Regressor:
    """The packaged head. Raises WeightsError when it is missing, damaged, or was trained for other modes."""
    tensors = weights.tensors("expression.safetensors")
    count = len(SHAPES)
    try:
        cells, by_place, by_opening, usual = (
            tensors[key].astype(np.float32) for key in ("cells", "by_place", "by_opening", "usual")
        )
        known = tensors["modes"].tobytes().decode("ascii", "replace")
        places = len(cells)
        wanted = ((places, 2), (places, 3, count), (3 * len(APERTURES), count), (count,))
        if tuple(part.shape for part in (cells, by_place, by_opening, usual)) != wanted:
            raise ValueError(f"not a head for {count} shapes")
        if not all(np.isfinite(part).all() for part in (cells, by_place, by_opening, usual)):
            raise ValueError("some of it is no number")
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"expression.safetensors is not of this version: {error}") from error
    if known != fingerprint(model.modes):
        raise WeightsError(f"expression.safetensors was trained for another completion.safetensors: {REPAIR}")
    return Regressor(cells, by_place, by_opening, usual)


def openings(maps: Maps, camera: Camera, pose: Pose, crop: Crop) -> Float[np.ndarray, "9"]:
    """Of left eye, right eye and mouth: how much of it is open, how much is seen of it and its surroundings (both as
    areas, over that of the rectangle in APERTURES), and its widest opening (0 to 1).

    The mesh has the rims of parted lids and lips, but shut ones lie where its network happens to put them: whether
    anything shows between them tells more.
    """
    size = len(maps.opening)
    step = len(maps.region) // size
    face = maps.region.reshape(size, step, size, step).mean((1, 3)) > 0.5
    pixel_mm = crop.footprint(size, float(pose.translation[2]), camera.focal)
    told = []
    for aperture in APERTURES:
        area = pixel_mm**2 / (4 * aperture[2] * aperture[3])
        near = face & (np.abs(maps.coordinate[..., :2] - aperture[:2]) < aperture[2:]).all(2)
        shown = maps.opening[near].astype(np.float64)
        areas = np.minimum([shown.sum() * area, near.sum() * area], LARGEST)
        told += [*areas, shown.max(initial=0)]
    return np.array(told)


@dataclass(frozen=True, eq=False)
class Expression:
    """One face's expression, and the whole face without it; wrinkles and whatever else no shape explains remain."""

    weights: Float[np.ndarray, " e"]  # of SHAPES, 0 to 1
    neutral: Mesh


def express(
    model: FaceModel,
    blendshapes: Blendshapes,
    surface: Surface,
    openings: Float[np.ndarray, "9"],
    colors: UInt8[np.ndarray, "v 3"],
) -> Expression:
    """The expression of one photo's face. surface: the whole face; colors: of its mesh.

    Raises ValueError for blendshapes without regressor.
    """
    if blendshapes.regressor is None:
        raise ValueError("the blendshapes have no regressor")
    weights = blendshapes.regressor.weights(model, surface, openings)
    neutral = with_even_lips(model, surface.positions - blendshapes.offset(model, weights))
    positions = with_inner_mouth(model.bag, neutral)
    return Expression(weights, to_mesh(model, Surface(positions, surface.seen), colors))


def to_arkit(weights: Float[np.ndarray, " e"]) -> dict[str, float]:
    """ARKit's 52 names with weights, in alphabetical order; the tongue, which no shape has, is 0."""
    named: dict[str, list[float]] = {TONGUE: [0.0]}
    for name, weight in zip(SHAPES, weights, strict=True):
        stem, _, side = name.partition("_")
        suffix = "" if stem in ONE_IN_ARKIT else {"L": "Left", "R": "Right"}.get(side, "")
        named.setdefault(stem + suffix, []).append(float(weight))
    return {name: round(sum(values) / len(values), 4) for name, values in sorted(named.items())}
