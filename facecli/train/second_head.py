"""A second head's ways to differ, carried over to the head model: Vitruvian's morphs of faces.

The head model's people are principal components of light-stage scans: smooth, and few of them are old. A sculptor's
morphs bend single features - bridges and tips of noses, lids, bags under eyes, jowls, the folds of old age - which no
sum of components does. Added to some people they keep the network from seeing those components in everybody.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from facecli.train.headmodel import FACE, HeadModel
from facecli.train.raster import pieces
from facecli.train.registration import register, shares, spread
from facecli.train.scan import motions_and_growth

PLACES = Path(__file__).with_name("second_head_points.txt")
"""The same points on the second head (mm, y up) and on the mean head: of the iBUG 68, and the skin between them.
Found by the network on shaded pictures of the second head from 21 sides and lights."""
LOWEST_MM = 1430.0
"""Of the second head's body only what is higher is used."""
SPLIT, NEAREST = 4, 4
"""Its triangles of 1.5 mm are looked up at the nearest few of the points that divide edges in so many parts."""
CLOSE_MM = 5.0
"""Farther from the second head's surface than this, in mouth and sockets, nothing is carried."""
SMOOTHING = 2
"""Times each vertex takes the mean of itself and its neighbours: what is found of two lips or lids that touch differs
from vertex to vertex."""
RIM_MM = 9.0
"""Skin nearer than this to an eye or to the mouth's inside takes it along."""

GENERAL = {
    "Gender_Female": 0, "Gender_Male": 0, "Race_Bengali": 0, "Race_Tamil": 0, "Race_Punjabi": 0, "Race_Marathi": 0,
    "Race_Telegu": 0, "Race_Sinhalese": 0, "Race_Kannada": 0, "Race_Hispanic": 0, "Race_White": 0, "Race_African": 0,
    "Race_EastAsian": 0, "Race_MiddleEastern": 0, "BodyType_Fat": 0, "BodyType_Emaciated": 0, "BodyType_Lean": 0,
    "BodyType_EndoMorph": 0, "Face_Puffy": 0,
}  # fmt: skip
"""Morphs of the whole face, and the least weight of each; the most is 1."""
OLD = "Age_Old"
SINGLE = {
    "Generic_Assymetry": -1, "Face_Maxilla": -1, "Face_Zygomatic_Bone": -1, "Face_EyeSocket_Potrusion": -1,
    "Face_FrontalBone_BrowRidge": -1, "Face_FrontalBone_FrontalEminence": -1, "Face_FrontalBone": -1,
    "Face_BrowRidge_Droop": 0, "Face_BrowRidge_Raise": 0, "Face_BrowRidge_CurvedDroop": 0,
    "Face_BrowRidge_CurvedRaise": 0, "Cheeks_BoneDefinition": 0, "Cheeks_CheeksBonePositionZ": -1,
    "Cheeks_UpperCheek_Bone": -1, "Cheeks_BuccalFat": -1, "Chin_Width": -1, "Chin_Portrusion": -1,
    "Chin_ChinCleft": 0, "Chin_PosZ": -1, "Chin_Height": -1, "Chin_Tilt": -1, "Chin_SecondaryWidth": -1,
    "Jaw_Mandible": -1, "Jaw_Mandible_GonialAngle": -1, "Jaw_Definition": -1, "Jaw_Ramus_Extrusion": -1,
    "Jaw_Ramus_LocY": -1, "Jaw_Width": -1, "Head_SideScalpPotrusion": -1, "Head_SphenoidBone": -1,
    "Head_TemporalLines": -1, "Head_FrontalBoneFlatness": -1, "Eyes_EyebrowsAngle": -1, "Eyes_EyebrowsDroop": -1,
    "Eyes_EyelidsAngle": -1, "Eyes_EyelidsAngle2": -1, "Eyes_EyelidsCrease": -1, "Eyes_EyeBagsProminence": -1,
    "Eyes_EyeBagsSize": -1, "Eyes_Size": -1, "Eyes_Distance": -1, "Eyes_VerticalShift": -1,
    "Eyes_Eyelid_Monolid": 0, "Eyes_Eyelid_hooded": 0, "Mouth_Lips_Length": -1, "Mouth_Lips_Height": -1,
    "Mouth_Lips_BottomLipDepth": -1, "Mouth_Lips_UpperLipDepth": -1, "Mouth_Lips_UpperLipArch": -1,
    "Mouth_Lips_UpperAngle": -1, "Mouth_Lips_LowerAngle": -1, "Mouth_PhiltrumDepth": -1, "Mouth_PhiltrumHeight": -1,
    "Nose_NasalBone": -1, "Nose_NasalBone_AnteriorNasalAperature": -1, "Nose_NasalBone_AnteriorNasalSpine": -1,
    "Nose_NoseHeight": -1, "Nose_NasalAngle": -1, "Nose_NostrilSize": -1, "Nose_Tip_Potrusion": -1,
    "Nose_BottomFlatness": -1, "Nose_Potrusion": -1, "Nose_BridgeProminence": -1, "Nose_TipCrease": 0,
    "Neck_AdamsApple": 0, "Neck_ChinConnection": -1,
}  # fmt: skip
"""Morphs of single features, likewise."""
MOST = (GENERAL, 3), (SINGLE, 14)
"""As many of either kind, at most, make a person."""
AGED, AGES = 0.35, (1.2, 1.6)
"""Share of people with some old age, and the shape of the beta distribution of how much."""
LARGEST = 0.8
"""The strongest weight: at 1 some eyes and noses are a caricature's."""


@dataclass(frozen=True, eq=False)
class Morphs:
    """How the head model's vertices move for weight 1 of each morph, mm; and its least weight, 0 or -1."""

    names: tuple[str, ...]
    least: Float[np.ndarray, " m"]
    change: Float[np.ndarray, "m v 3"]

    def weights(self, rng: np.random.Generator) -> Float[np.ndarray, " m"]:
        """Somebody's: a few general ones, some of single features, and sometimes old age."""
        out = np.zeros(len(self.names))
        for kind, most in MOST:
            members = np.flatnonzero(np.isin(self.names, list(kind)))
            few = rng.choice(members, rng.integers(0, most + 1), replace=False)
            out[few] = rng.uniform(self.least[few], 1) * LARGEST
        if rng.random() < AGED:
            out[self.names.index(OLD)] = rng.beta(*AGES) * LARGEST
        return out

    def moved(self, weights: Float[np.ndarray, " m"]) -> Float[np.ndarray, "v 3"]:
        """What weights add to a head, mm."""
        used = np.flatnonzero(weights)
        return np.asarray(np.tensordot(weights[used].astype(np.float32), self.change[used], 1))


def load_morphs(model: HeadModel, folder: Path) -> Morphs:
    """Vitruvian's morphs (`folder` of its files) on the head model's vertices."""
    vertices = _upright(np.load(folder / "morphs" / "L1" / "Default.npy")) * 1000
    quads = np.load(folder / "faces.npy").astype(np.int32)
    faces = _skin(vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))
    theirs, ours = np.split(np.loadtxt(PLACES), 2, axis=1)
    laid = register(model, vertices, faces, theirs, ours, SPLIT)
    skin = np.unique(model.skin)
    carried = _neighbours(model, skin) ** SMOOTHING @ _carrier(vertices, faces, laid[skin])
    followers = [
        (inner, rim, *_as_one(model.neutral[rim], model.neutral[inner]))
        for inner, rim in _followers(model, skin)
    ]
    limits = {**GENERAL, OLD: 0, **SINGLE}
    change = np.zeros((len(limits), len(model.neutral), 3), np.float32)
    for number, name in enumerate(limits):
        change[number, skin] = carried @ _morph(folder, name, len(vertices))
        for inner, rim, found, follows in followers:
            change[number, inner] = (follows @ (found @ change[number, rim].ravel())).reshape(-1, 3)
    return Morphs(tuple(limits), np.array([float(limits[name]) for name in limits]), change)


def _upright(points: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """z up and the nose to -y, as Vitruvian is, to y up and the nose to +z."""
    return np.stack([points[:, 0], points[:, 2], -points[:, 1]], 1).astype(np.float64)


def _morph(folder: Path, name: str, count: int) -> Float[np.ndarray, "v 3"]:
    """What weight 1 of a morph moves, mm."""
    path = folder / "morphs" / "L2" / f"{name}.npz"
    change = np.zeros((count, 3))
    if path.exists():
        with np.load(path) as archive:
            change[archive["idx"]] = archive["delta"]
    else:
        change[:] = np.load(path.with_suffix(".npy"))
    return _upright(change) * 1000


def _skin(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "g 3"]:
    """The triangles of the head's skin: of the largest piece, which eyes and lashes are no part of."""
    piece = pieces(faces)
    high = (vertices[faces, 1] > LOWEST_MM).all(1)
    return faces[high & (piece == np.bincount(piece).argmax())]


def _carrier(  # type: ignore[no-untyped-def]  # scipy has no types
    vertices: Float[np.ndarray, "o 3"], faces: Int[np.ndarray, "f 3"], places: Float[np.ndarray, "s 3"]
):
    """A matrix from the second head's vertices to places on its surface; nothing comes to what lies farther off."""
    from scipy.sparse import coo_matrix
    from scipy.spatial import cKDTree

    apart, nearest = cKDTree(spread(vertices, faces, SPLIT)).query(places, NEAREST)
    share = 1 / np.maximum(apart, 0.1)
    share *= (apart[:, :1] < CLOSE_MM) / share.sum(1, keepdims=True)
    corners = shares(SPLIT)
    triangle, point = np.divmod(nearest, len(corners))
    values = share[..., None] * corners[point]
    rows = np.broadcast_to(np.arange(len(places))[:, None, None], values.shape)
    columns = faces[triangle]
    return coo_matrix((values.ravel(), (rows.ravel(), columns.ravel())), (len(places), len(vertices))).tocsr()


def _neighbours(model: HeadModel, skin: Int[np.ndarray, " s"]):  # type: ignore[no-untyped-def]  # scipy has no types
    """A matrix that takes the mean of each vertex of the skin and those beside it."""
    from scipy.sparse import coo_matrix, diags

    number = np.full(len(model.neutral), -1)
    number[skin] = np.arange(len(skin))
    faces = number[model.skin]
    one, other = np.concatenate([faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]).T
    every = np.arange(len(skin))
    rows, columns = np.concatenate([one, other, every]), np.concatenate([other, one, every])
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), (len(skin),) * 2).tocsr()
    graph.data[:] = 1
    return diags(1 / np.asarray(graph.sum(1)).ravel()) @ graph


def _followers(
    model: HeadModel, skin: Int[np.ndarray, " s"]
) -> list[tuple[Int[np.ndarray, " i"], Int[np.ndarray, " r"]]]:
    """The vertices of each eye and of the mouth's inside, and those of the skin around it."""
    from scipy.spatial import cKDTree

    inner = np.setdiff1d(np.arange(len(model.neutral)), skin)
    places = model.neutral[inner]
    groups = [inner[(places[:, 0] * side > 0) & (places[:, 1] > -30)] for side in (1, -1)] + [
        inner[places[:, 1] <= -30]
    ]
    face = skin[np.isin(skin, np.unique(model.faces[model.part == FACE]))]
    found = []
    for group in groups:
        if len(group):
            apart, _ = cKDTree(model.neutral[group]).query(model.neutral[face])
            found.append((group, face[apart < RIM_MM]))
    return found


def _as_one(
    rim: Float[np.ndarray, "r 3"], inner: Float[np.ndarray, "i 3"]
) -> tuple[Float[np.ndarray, "k r3"], Float[np.ndarray, "i3 k"]]:
    """What finds in the changes of a rim how it is shifted, turned and grown, and what does so to all within it."""
    middle = rim.mean(0)
    return np.linalg.pinv(motions_and_growth(rim - middle)), motions_and_growth(inner - middle)
