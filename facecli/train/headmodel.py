"""The morphable head that makes the training data: ICT-FaceKit in millimetres, in facecli's head frame.

Only training needs it; nothing of it ships. Coordinates are right-handed, y up, nose to +z, the subject's
left to +x, with the origin between the ears so that turning the head about it looks natural.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

FACE, BACK, GUMS, TEETH, SCLERA_LEFT, IRIS_LEFT, SCLERA_RIGHT, IRIS_RIGHT, LACRIMAL = range(9)
OPAQUE_PARTS = 9
"""Materials from here on (eye blend, eye occlusion, lashes) are translucent shells and are never drawn."""
NARROW_FACE_VERTICES = 6706
FACE_VERTICES = 9409


@dataclass(frozen=True)
class HeadModel:
    """Linear head: `vertices = neutral + identity . alpha + expression . beta`, all in mm.

    `corner_uv` indexes `uv` per triangle corner; `part` is the material of each triangle (the constants
    above).
    """

    neutral: Float[np.ndarray, "v 3"]
    identity: Float[np.ndarray, "i v 3"]
    expression: Float[np.ndarray, "e v 3"]
    expression_names: tuple[str, ...]
    faces: Int[np.ndarray, "f 3"]
    part: Int[np.ndarray, "f"]
    corner_uv: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "u 2"]
    landmark_vertices: Int[np.ndarray, "68"]

    @classmethod
    def load(cls, folder: Path) -> "HeadModel":
        """Read `ict_facekit.npz` and `vertex_indices.json` (centimetres there) from `folder`."""
        with np.load(folder / "ict_facekit.npz") as archive:
            neutral = archive["neutral"].astype(np.float32) * 10
            identity = archive["identity"].astype(np.float32) * 10
            expression = archive["expression"].astype(np.float32) * 10
            names = tuple(str(name) for name in archive["names"])
            faces, part = archive["tri"].astype(np.int32), archive["tri_mat"].astype(np.int32)
            corner_uv, uv = archive["tri_uv"].astype(np.int32), archive["uv"].astype(np.float32)
        indices = json.loads((folder / "vertex_indices.json").read_text())
        landmark_vertices = np.array(indices["idx_to_landmark_verts"], np.int32)
        opaque = part < OPAQUE_PARTS
        ears = neutral[landmark_vertices[[0, 16]]].mean(0)
        ears[0] = 0
        return cls(
            neutral - ears,
            identity,
            expression,
            names,
            faces[opaque],
            part[opaque],
            corner_uv[opaque],
            uv,
            landmark_vertices,
        )

    def vertices(
        self, alpha: Float[np.ndarray, "i"] | None = None, beta: Float[np.ndarray, "e"] | None = None
    ) -> Float[np.ndarray, "v 3"]:
        """The head of identity `alpha` (standard deviations) and expression `beta` (0..1), mm."""
        out = self.neutral.reshape(-1).copy()
        if alpha is not None:
            out += alpha.astype(np.float32) @ self.identity.reshape(len(alpha), -1)
        if beta is not None and beta.any():
            used = np.flatnonzero(beta)
            out += beta[used].astype(np.float32) @ self.expression[used].reshape(len(used), -1)
        return out.reshape(-1, 3)

    @cached_property
    def carried(self) -> Bool[np.ndarray, "v"]:
        """Which vertices the jaw takes along when it opens: what of face and mouth is below."""
        moved = np.linalg.norm(self.expression[self.expression_names.index("jawOpen")], axis=1)
        return np.asarray(moved > 0.4 * moved[:FACE_VERTICES].max())

    @cached_property
    def skin(self) -> Int[np.ndarray, "f 3"]:
        """The triangles of face and back of the head."""
        return self.faces[np.isin(self.part, (FACE, BACK))]

    @cached_property
    def mirror(self) -> Int[np.ndarray, "v"]:
        """For each vertex, the vertex nearest to its mirror image in the mean head."""
        from scipy.spatial import cKDTree

        return np.asarray(cKDTree(self.neutral).query(self.neutral * [-1, 1, 1])[1], np.int32)
