"""The network's own dense landmarks of the licensed portraits: a second witness for the fit.

Self-training (after Xie et al., "Self-training with Noisy Student", CVPR 2020): what the network has learned from
rendered heads, whose correspondences are exact, corrects MediaPipe, whose outline slides and whose faces are all alike;
the head model that both must agree on is the filter. Points that the photo does not show do not count.
"""

import sys
from pathlib import Path

import numpy as np

from facecli.images import read_image
from facecli.pipeline import Reconstructor
from facecli.weights import Weights

ANOTHER_FACE = 0.2
"""Where the two witnesses differ by more of the eye distance, at the median, they mean different faces."""
OUTER_CORNERS = (33, 263)


def add_own_points(landmark_file: Path, portraits: Path, weights: Weights | None = None) -> int:
    """Add `own` (n, 468, 2; photo pixels) and `own_seen` (n, 468; 0 or 1) to what `landmarks` wrote -> faces found."""
    with np.load(landmark_file) as archive:
        arrays = {key: archive[key] for key in archive}
    reconstructor = Reconstructor("cpu", weights, threads=1)
    known = arrays["landmarks"][:, :468, :2]
    own, seen = np.zeros_like(known), np.zeros(known.shape[:2], np.float32)
    for i, name in enumerate(arrays["names"]):
        photo = read_image((portraits / str(name)).read_bytes())
        eyes = np.linalg.norm(np.subtract(*known[i, OUTER_CORNERS, :]))
        for face in reconstructor.reconstruct(photo):
            if face.dense is None:
                continue
            apart = np.median(np.linalg.norm(face.dense.photo - known[i], axis=1))
            if apart < ANOTHER_FACE * eyes:
                own[i], seen[i] = face.dense.photo, face.dense.visible
    found = int((seen.max(1) > 0).sum())
    sys.stderr.write(f"{found} of {len(known)} faces seen by the network too\n")
    temporary = landmark_file.with_suffix(".tmp.npz")
    np.savez(temporary, **{**arrays, "own": own, "own_seen": seen})
    temporary.replace(landmark_file)
    return found
