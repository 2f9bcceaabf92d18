"""Portraits to head parameters: identity, expression, pose and focal length from dense landmarks.

The landmarks of one photo say little about a person's depth, so identity has its true N(0, I) prior; what the
fit is trusted for is region and correspondence (see `synth`). Two witnesses say where the points are: MediaPipe, and
once there are weights, the network itself (see `second_look`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from facecli.train.correspond import (
    FACE_OVAL,
    LOWER_LIP,
    UPPER_LIP,
    calibrated,
    canonical_points,
    move,
    register,
)
from facecli.train.headmodel import HeadModel

LANDMARK_NOISE = 0.02
"""Standard deviation of a dense landmark, as a share of the outer eye distance."""
INDEPENDENT_LANDMARKS = 120
"""Neighbouring landmarks err together: 468 of them weigh like this many independent ones. Of 83 people's neutral and
smiling portraits, fitted apart, the second is nearest to its own first one in 69 % with 30, 70 % with 120, 65 % with
2000; in 78 % with both witnesses and `EXPRESSION_PRIOR`."""
EXPRESSION_PRIOR = 12.0
"""Of each expression weight, 0 to 1: a neutral face shall not be explained by many small ones."""
OPPOSED = (
    ("mouthLeft", "mouthRight"),
    ("jawLeft", "jawRight"),
    ("jawOpen", "mouthClose"),
    *((f"mouthSmile_{side}", f"mouthFrown_{side}") for side in "LR"),
    *((f"browDown_{side}", f"browOuterUp_{side}") for side in "LR"),
    *((f"eyeBlink_{side}", f"eyeWide_{side}") for side in "LR"),
    *((f"eyeSquint_{side}", f"eyeWide_{side}") for side in "LR"),
    *((f"eyeLookUp_{side}", f"eyeLookDown_{side}") for side in "LR"),
    *((f"eyeLookIn_{side}", f"eyeLookOut_{side}") for side in "LR"),
)
"""Nobody can do both at once; the head model's own list of such pairs is empty."""
OPPOSED_PRIOR = 60.0
"""Of the product of two opposed weights."""
CORNERS = np.array([33, 133, 362, 263, 61, 291, 2])
"""Of MediaPipe's points: eye corners, mouth corners, nose bottom."""
CORNER_WEIGHT = 25.0
"""They are seen sharply in any photo, and the others' mean must not drag the labels off them."""
OUTER_LIPS, INNER_LIPS = (
    np.concatenate([UPPER_LIP[rim], LOWER_LIP[rim]]) for rim in (slice(9), slice(-9, None))
)
OUTER_LIPS_WEIGHT, INNER_LIPS_WEIGHT = 2.0, 4.0
"""MediaPipe sees well how far lips part, in few points of many. The network, which learned it from these fits, has no
say there. It is paid for with identity: of the 83 second portraits, by the shape of the narrow face, 60 % are nearest
to their own first one, and 71 % were."""
OUTLINE_WEIGHT = 0.25
"""MediaPipe's outline slides over the head when it turns."""
OUTER_EYES = 89.0
"""Outer eye distance of the mean head, mm."""
CALIBRATION_ROUNDS = 3
FOCAL_RATIO, FOCAL_SPREAD = 2.2, 0.35
"""Prior of a portrait's focal length over its longer side, and the spread of its logarithm."""


@dataclass(frozen=True)
class Fits:
    """One row per portrait. `rotation` and `translation` (mm) take the head frame to the camera frame (x
    right, y down, z forward); the principal point is the photo's centre; `error` is the RMS landmark residual
    over the eye distance."""

    names: list[str]
    sizes: Float[np.ndarray, "n 2"]
    alpha: Float[np.ndarray, "n i"]
    beta: Float[np.ndarray, "n e"]
    rotation: Float[np.ndarray, "n 3 3"]
    translation: Float[np.ndarray, "n 3"]
    focal: Float[np.ndarray, "n"]
    error: Float[np.ndarray, "n"]

    def save(self, path: Path) -> None:
        """Write every field to one npz."""
        np.savez(path, **self.__dict__)

    def take(self, rows: Int[np.ndarray, "k"]) -> "Fits":
        """The portraits of these rows."""
        arrays = {key: value[rows] for key, value in self.__dict__.items() if key != "names"}
        return Fits([self.names[i] for i in rows], **arrays)

    @classmethod
    def load(cls, path: Path) -> "Fits":
        """Read what `save` wrote."""
        with np.load(path) as archive:
            fields = {key: archive[key] for key in archive}
        return cls(**{**fields, "names": [str(name) for name in fields["names"]]})


def fit(model: HeadModel, landmark_file: Path, steps: int = 500) -> Fits:
    """Fit every face of `landmark_file` (see `landmarks.py` and `second_look.py`)."""
    names, sizes, sightings = _read(landmark_file)
    return _fit(model, calibrated(model), names, sizes, sightings, steps)[0]


def calibrate(model: HeadModel, canonical_obj: Path, landmark_file: Path) -> Float[np.ndarray, "468 3"]:
    """Where on the mean head MediaPipe's points really are, mm.

    The registered landmarks sit a little off where MediaPipe really puts them, which would show as an
    expression that everybody shares; so they are moved on the surface by their median residual over the
    neutral London faces.
    """
    names, sizes, sightings = _read(landmark_file)
    even = _even()  # which are known better is not known yet
    attached = register(model, canonical_points(canonical_obj))
    neutral = [i for i, name in enumerate(names) if name.startswith("london/neutral")]
    chosen, points = [names[i] for i in neutral], sightings[0].points[neutral]
    seen = Sighting(points, np.tile(even / even.sum(), (len(neutral), 1)))
    for _ in range(CALIBRATION_ROUNDS):
        _, residual = _fit(model, attached, chosen, sizes[neutral], [seen], 200, expressive=False)
        attached = move(model, attached, -np.median(residual, 0) * OUTER_EYES)
    triples, bary = attached
    return np.asarray((model.neutral[triples] * bary[..., None]).sum(1))


@dataclass(frozen=True)
class Sighting:
    """Where one witness saw the 468 points of each face, photo pixels, and what each of them counts."""

    points: Float[np.ndarray, "n 468 2"]
    weight: Float[np.ndarray, "n 468"]


def _even() -> Float[np.ndarray, "468"]:
    """What MediaPipe's points count when all but its outline are known alike."""
    weight = np.ones(468)
    weight[FACE_OVAL] = OUTLINE_WEIGHT
    return weight


def _read(landmark_file: Path) -> tuple[list[str], Float[np.ndarray, "n 2"], list[Sighting]]:
    """Names, sizes (w, h), and what was seen, MediaPipe first."""
    weight = _even()
    total = weight.sum()
    weight[CORNERS] = CORNER_WEIGHT
    weight[INNER_LIPS], weight[OUTER_LIPS] = INNER_LIPS_WEIGHT, OUTER_LIPS_WEIGHT
    with np.load(landmark_file) as archive:
        names = [str(name) for name in archive["names"]]
        sightings = [Sighting(archive["landmarks"][:, :468, :2], np.tile(weight / total, (len(names), 1)))]
        if "own" in archive:
            own = archive["own_seen"] / 468.0
            own[:, np.concatenate([INNER_LIPS, OUTER_LIPS])] = 0
            sightings.append(Sighting(archive["own"], own))
        return names, archive["sizes"].astype(np.float32), sightings


def _fit(
    model: HeadModel,
    attached: tuple[Int[np.ndarray, "468 3"], Float[np.ndarray, "468 3"]],
    names: list[str],
    sizes: Float[np.ndarray, "n 2"],
    sightings: list[Sighting],
    steps: int,
    expressive: bool = True,
) -> tuple[Fits, Float[np.ndarray, "n 468 2"]]:
    """Fit all faces by Adam; also the residuals to the first sighting, upright (x right, y down), over the eyes'
    distance."""
    import torch

    triples, bary = attached
    witnesses = [
        (torch.tensor(s.points, dtype=torch.float32), torch.tensor(s.weight, dtype=torch.float32))
        for s in sightings
    ]
    points = witnesses[0][0]

    def on_points(values: Float[np.ndarray, "... v 3"]) -> torch.Tensor:
        return torch.tensor((values[..., triples, :] * bary[..., None]).sum(-2), dtype=torch.float32)

    neutral = on_points(model.neutral)
    identity, expression = on_points(model.identity).flatten(1), on_points(model.expression).flatten(1)
    count = len(names)
    centre = torch.tensor((sizes - 1) / 2)
    longest = torch.tensor(sizes.max(1))
    eyes = (points[:, 33] - points[:, 263]).norm(dim=1)
    index = {name: i for i, name in enumerate(model.expression_names)}
    one, other = ([index[pair[k]] for pair in OPPOSED] for k in (0, 1))

    alpha = torch.zeros(count, identity.shape[0], requires_grad=True)
    beta_logit = torch.full((count, expression.shape[0]), -3.0 if expressive else -30.0, requires_grad=True)
    log_focal = (longest * FOCAL_RATIO).log().requires_grad_()
    sixd = torch.tensor([1.0, 0, 0, 0, -1, 0]).repeat(count, 1)
    across = points[:, 263] - points[:, 33]
    across = across / across.norm(dim=1, keepdim=True)
    sixd[:, :2], sixd[:, 3], sixd[:, 4] = across, across[:, 1], -across[:, 0]
    sixd.requires_grad_()
    distance = log_focal.detach().exp() * OUTER_EYES / eyes
    middle = points[:, [33, 263, 4, 152, 10]].mean(1) - centre
    position = torch.cat([middle / eyes[:, None] * OUTER_EYES, (distance + 60)[:, None]], 1).requires_grad_()
    optimiser = torch.optim.Adam(
        [
            {"params": [alpha], "lr": 0.05},
            {"params": [beta_logit], "lr": 0.08 if expressive else 0.0},
            {"params": [log_focal], "lr": 0.005},
            {"params": [sixd], "lr": 0.01},
            {"params": [position], "lr": 2.0},
        ]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, 1e-2)

    def rotation() -> torch.Tensor:
        a = torch.nn.functional.normalize(sixd[:, :3], dim=1)
        b = sixd[:, 3:] - (a * sixd[:, 3:]).sum(1, keepdim=True) * a
        b = torch.nn.functional.normalize(b, dim=1)
        return torch.stack([a, b, torch.linalg.cross(a, b)], 2)  # columns: images of the head's x, y, z

    def projected() -> torch.Tensor:
        shape = neutral + (alpha @ identity + beta_logit.sigmoid() @ expression).view(count, 468, 3)
        placed = shape @ rotation().transpose(1, 2) + position[:, None]
        return placed[..., :2] / placed[..., 2:] * log_focal.exp()[:, None, None] + centre[:, None]

    for _ in range(steps):
        pixels, beta = projected(), beta_logit.sigmoid()
        prior = alpha.square().sum(1) + EXPRESSION_PRIOR * beta.sum(1)
        prior = prior + OPPOSED_PRIOR * (beta[:, one] * beta[:, other]).sum(1)
        prior = prior + ((log_focal - (longest * FOCAL_RATIO).log()) / FOCAL_SPREAD).square()
        loss = prior.sum()
        for seen, weight in witnesses:
            squared = (pixels - seen).square().sum(-1) / (eyes[:, None] * LANDMARK_NOISE).square()
            robust = 9 * torch.log1p(squared / 9)  # Cauchy: a slid outline must not bend the face
            loss = loss + INDEPENDENT_LANDMARKS * (robust * weight).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        residual = (projected() - points) / eyes[:, None, None]
        error = residual.square().sum(-1).mean(1).sqrt()
        upright = torch.stack([across, torch.stack([-across[:, 1], across[:, 0]], 1)], 1)
        fits = Fits(
            names,
            sizes,
            alpha.numpy(),
            beta_logit.sigmoid().numpy(),
            rotation().numpy(),
            position.numpy(),
            log_focal.exp().numpy(),
            error.numpy(),
        )
        return fits, (residual @ upright.transpose(1, 2)).numpy()
