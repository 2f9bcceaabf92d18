"""The lens of a photo that does not tell it: the most probable one, by the perspective of the faces it shows.

From near by a nose is large and ears hide behind cheeks; from afar a face looks flatter. A person's shape is not known,
but how people differ is: so each face says how probable it is from each distance (`Person`), besides what is known of
lenses and of where people stand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from facecli.camera import Camera
from facecli.complete import FaceModel
from facecli.look import Look, coarse_mask, evidence, line_of_sight, reaching
from facecli.pose import Person, Points, some_points

USUAL_MM = 900.0  # most photos of a face that fills them are from here or farther
# Of the logarithms of an unknown focal length about the guess, and of distances that are less than usual.
FOCAL_SPREAD, DISTANCE_SPREAD = 0.7, 0.5
# `Person` credits points with little, so that a shape is not taken for more than it is. For the distance that is too
# little: so many times as much makes what is said of held-back people's distances as sure as it is right.
CREDIT = 3.0
SURE_MM = 7.0  # where the network doubts depth more, at the median, it may be no face: 3 to 5 is usual
FACES = 4  # the largest: those far behind them show no perspective
_ROUNDS, _LONGEST_STEP, _SETTLED, _SMALL = 8, 0.5, 0.02, 1e-3  # of Gauss-Newton; of the logarithm


def likely_camera(model: FaceModel, camera: Camera, looks: Sequence[Look]) -> Camera:
    """The camera with the most probable focal length for the faces seen; one that is known stays.

    Gauss-Newton on the posterior of focal length, poses and shapes: a bundle adjustment (Triggs et al. 2000) of all
    faces of the photo, with priors.
    """
    if camera.source != "default":
        return camera
    placed = [look for look in looks if look.place is not None]
    faces = [face for look in placed if (face := _Face.of(model, camera, look)) is not None]
    faces = sorted(faces, key=lambda face: face.person.distance)[:FACES]
    if not faces:  # nobody that the network is sure of
        nearest = min((look.place[1] for look in placed if look.place is not None), default=np.inf)
        return _stepped_back(camera, nearest)
    longer = 0.0  # logarithm of the focal length over the guess
    for _ in range(_ROUNDS):
        nearest = min(face.person.distance for face in faces)
        systems = [face.equations() for face in faces]
        slope, curve = _prior(longer, nearest)
        for system, right in systems:
            follows = np.linalg.solve(system[:-1, :-1], system[:-1, -1])
            slope += CREDIT * float(right[-1] - follows @ right[:-1])
            curve += CREDIT * max(float(system[-1, -1] - follows @ system[:-1, -1]), 0.0)
        step = min(max(-slope / curve, -_LONGEST_STEP), _LONGEST_STEP)
        longer += step
        faces = [face.after(*each, step) for face, each in zip(faces, systems, strict=True)]
        faces = [face for face in faces if face.person.in_front(face.points)]
        if abs(step) < _SETTLED or not faces:
            break
    return replace(camera, focal=camera.focal * math.exp(longer))


def _prior(longer: float, nearest: float) -> tuple[float, float]:
    """Slope and curvature of what is known without looking at perspective, by the logarithm of the focal length over
    the guess; `nearest`, with that lens, goes with it."""
    short = min(math.log(nearest / USUAL_MM), 0.0)
    slope = longer / FOCAL_SPREAD**2 + short / DISTANCE_SPREAD**2
    return slope, 1 / FOCAL_SPREAD**2 + (short < 0) / DISTANCE_SPREAD**2


def _stepped_back(camera: Camera, nearest: float) -> Camera:
    """The camera by that alone."""
    slope, curve = _prior(0.0, nearest)
    return replace(camera, focal=camera.focal * math.exp(-slope / curve))


@dataclass(frozen=True, eq=False)
class _Face:
    """One face of the photo as the lens says at the moment; how far away it is goes with the focal length.

    slopes: of the rays to its points and of the line of sight, as the guessed camera has them; longer: the logarithm of
    the focal length over the guess.
    """

    points: Points
    person: Person
    slopes: Float[np.ndarray, "n 2"]
    sight: Float[np.ndarray, "2"]
    longer: float = 0.0

    @classmethod
    def of(cls, model: FaceModel, camera: Camera, look: Look) -> "_Face | None":
        """What a look tells of the lens, if it shows a face."""
        mask = coarse_mask(look.region)
        if look.place is None or np.median(look.maps.sigma[mask]) > SURE_MM:
            return None
        points = some_points(model, *evidence(camera, look.crop, look.maps, mask))
        if points is None:
            return None
        slopes = points.rays[:, :2] / points.rays[:, 2:]
        return cls(points, Person.mean(*look.place), slopes, line_of_sight(camera, look.crop)[:2])

    def equations(self) -> tuple[Float[np.ndarray, "p p"], Float[np.ndarray, " p"]]:
        """Of a step of everything, the logarithm of the focal length last."""
        points, distance, shift = self._pushed(_SMALL)
        moved = points.rays * (distance - points.depth)[:, None] - shift
        seen = self.points.rays * (self.person.distance - self.points.depth)[:, None]
        return self.person.equations(self.points, ((moved - seen) / _SMALL)[..., None])

    def after(self, system: Float[np.ndarray, "p p"], right: Float[np.ndarray, " p"], step: float) -> "_Face":
        """The face once the logarithm of the focal length has made a step, and all else what follows from it."""
        rest = -np.linalg.solve(system[:-1, :-1], right[:-1] + system[:-1, -1] * step)
        points, distance, shift = self._pushed(step)
        person = replace(self.person, distance=distance, translation=self.person.translation + shift)
        return replace(self, points=points, person=person.stepped(points, rest), longer=self.longer + step)

    def _pushed(self, step: float) -> tuple[Points, float, Float[np.ndarray, "3"]]:
        """The points through a lens that is longer by a step, how far away the face is that stays as large in the
        photo, and how it moves to get there, mm."""
        nearer = math.exp(-self.longer - step)
        rays = np.concatenate([self.slopes * nearer, np.ones((len(self.slopes), 1))], 1)
        points = replace(self.points, rays=reaching(rays, np.append(self.sight * nearer, 1.0)))
        distance = self.person.distance * math.exp(step)
        return points, distance, points.mean_ray * distance - self.points.mean_ray * self.person.distance
