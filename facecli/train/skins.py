"""Whole skins, from MakeHuman's (CC0): they lend what no photo of a person shows, and are people of their own."""

from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from facecli.train.headmodel import HeadModel
from facecli.train.makehuman import Body, Chart, charts

UNFIT = ("creamy_female_diffuse", "darthfurby_caucasian_female", "old_darkskinned_female_diffuse")
"""Two with painted lips, lids and brows, which would not lie on those of the head model, and one that is all red."""
NO_COLOUR = ("_NRM", "_SPEC")
COLLAR = (-132.0, -118.0)
"""Over these heights, mm, a photo's neck is trusted ever more: collars and their shadows are lifted too."""
RIM = 24.0
"""Texels from the edge of the face's texture over which a person's own skin fades into the one lent."""
GAP = 25
"""Texels across the gap in the texture between lids or lips, which is no edge."""
STUBBLE = 5.0, 2.0
"""Texels of the face and of the back: of shaved hair half of what is finer is kept."""
HAIRLINE = (-85.0, -55.0, -38.0, -10.0, 20.0, 45.0), (-85.0, -70.0, -40.0, 2.0, 48.0, 62.0)
"""Heights on the mean head, mm, above which is hair, by how far in front of the ears' plane."""
EAR = 74.0
"""mm from the middle: what is farther out beside the head is ear."""
ALIKE = 5
"""Skins as light as the person's, of which one is taken."""
CELL, SPREAD, DOUBT = 8, 5.0, 0.02
"""The lent skin's tone follows the person's own in cells of so many texels, over so many cells, and where none is near
it is that of the whole face."""
OTHER = 0.35
"""What is lighter or darker than the face by this factor's logarithm is less its tone than beard, hair or flare."""


@dataclass(frozen=True, eq=False)
class Skins:
    """sRGB in the head model's layout: the face, and the back of head, neck and shoulders; the median of each face;
    `trust`: how far a photo counts at each texel of the face, and `near`: how far its tone does."""

    face: UInt8[np.ndarray, "n t t 3"]
    back: UInt8[np.ndarray, "n b b 3"]
    tone: Float[np.ndarray, "n 3"]
    trust: Float[np.ndarray, "t t"]
    near: Float[np.ndarray, "t t"]

    @classmethod
    def load(cls, path: Path) -> "Skins":
        """What `save` wrote."""
        with np.load(path) as archive:
            return cls(**archive)

    def save(self, path: Path) -> None:
        """One .npz, a field each."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def bake(cls, model: HeadModel, folder: Path) -> "Skins":
        """Lay the skins of `folder`/makehuman_2k on the head model by way of `folder`/makehuman_base.obj."""
        front, rear = charts(model, Body.load(folder / "makehuman_base.obj"))
        paths = [
            path
            for path in sorted((folder / "makehuman_2k").glob("*.jpg"))
            if path.stem not in UNFIT and not path.stem.endswith(NO_COLOUR)
        ]
        plain = front.drawn & (np.abs(front.place[..., 1]) < 60) & (front.place[..., 2] > 30)
        faces, backs, tones = [], [], []
        for path in paths:
            data = np.frombuffer(path.read_bytes(), np.uint8)
            texture = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1].copy()
            face = front.baked(texture)
            tone = np.median(face[plain], 0).astype(np.float32)
            faces.append(_shaved(face, front, tone, STUBBLE[0]))
            backs.append(_shaved(rear.baked(texture), rear, tone, STUBBLE[1]))
            tones.append(tone)
        closed = cv2.morphologyEx(
            np.pad(front.drawn, GAP).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((GAP, GAP))
        )
        inward = cv2.distanceTransform(closed, cv2.DIST_L2, 5)[GAP:-GAP, GAP:-GAP]
        neck = (front.place[..., 1] - COLLAR[0]) / (COLLAR[1] - COLLAR[0])
        near = np.clip(inward / RIM - 0.2, 0, 1).astype(np.float32)
        trust = (np.clip(inward / RIM * 2 - 1, 0, 1) * np.clip(neck, 0, 1)).astype(np.float32)
        return cls(np.stack(faces), np.stack(backs), np.stack(tones), trust, near)

    def complete(
        self, albedo: UInt8[np.ndarray, "t t 3"], seen: Bool[np.ndarray, "t t"], number: int
    ) -> tuple[UInt8[np.ndarray, "t t 3"], UInt8[np.ndarray, "b b 3"]]:
        """Fill the texels not seen: from the mirrored side (the layout is symmetric), then from a skin about as light,
        in the person's own tone. Also the back that goes with it. `number` picks among alike skins."""
        colour, weight = albedo.astype(np.float32), seen.astype(np.float32)
        soft = np.asarray(cv2.GaussianBlur(cv2.erode(weight, np.ones((7, 7), np.uint8)), (0, 0), 4.0))
        soft *= weight * self.trust
        from_twin = (1 - soft) * soft[:, ::-1]
        own, known = colour * soft[..., None] + colour[:, ::-1] * from_twin[..., None], soft + from_twin
        sure = known > 0.9
        tone = np.median(own[sure] / known[sure][:, None], 0) if sure.any() else self.tone.mean(0)
        lender = np.argsort(np.abs(np.log(np.maximum(tone, 1) / self.tone)).sum(1))[:ALIKE][number % ALIKE]
        skin = np.maximum(self.face[lender], 1).astype(np.float32)
        overall = (tone / self.tone[lender]).astype(np.float32)
        side = len(known) // CELL
        cells = cv2.resize(np.dstack([own / skin, known]), (side, side), interpolation=cv2.INTER_AREA)
        lighter = np.log(
            np.maximum(cells[..., :3].sum(-1) / np.maximum(cells[..., 3], 1e-6) / overall.sum(), 1e-3)
        )
        cells *= np.exp(-((lighter / OTHER) ** 2))[..., None]
        cells = cv2.GaussianBlur(cells, (0, 0), SPREAD)
        local = (cells[..., :3] + DOUBT * overall) / (cells[..., 3:] + DOUBT)
        local = cv2.resize(local, known.shape, interpolation=cv2.INTER_LINEAR)
        lent = skin * (overall + (local - overall) * self.near[..., None])
        face = own + lent * (1 - known)[..., None]
        back = self.back[lender] * overall
        return _grey_values(face), _grey_values(back)


def _shaved(
    skin: UInt8[np.ndarray, "t t 3"], chart: Chart, tone: Float[np.ndarray, "3"], sigma: float
) -> UInt8[np.ndarray, "t t 3"]:
    """Without the short hair that all have: only the grain of it, on skin."""
    colour = skin.astype(np.float32)
    grain = colour / np.maximum(cv2.GaussianBlur(colour, (0, 0), sigma), 4)
    x, y, z = np.moveaxis(chart.place, -1, 0)
    hairline = np.interp(z, *HAIRLINE)
    ear = np.clip((np.abs(x) - EAR) / 4, 0, 1) * (z > -58)
    scalp = (np.clip((y - hairline) / 14 + 0.5, 0, 1) * (1 - ear))[..., None]
    return _grey_values(colour + ((grain + 1) / 2 * tone - colour) * scalp)


def _grey_values(colour: Float[np.ndarray, "n n 3"]) -> UInt8[np.ndarray, "n n 3"]:
    return np.clip(np.rint(colour), 0, 255).astype(np.uint8)
