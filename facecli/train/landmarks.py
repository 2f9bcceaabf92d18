"""Dense landmarks of the licensed portraits, by MediaPipe 0.10.14 (Apache-2.0), for the fit.

Runs in an environment of its own (`pip install mediapipe==0.10.14 "numpy<2"`, Python 3.11 or 3.12), so it
imports nothing else of facecli: `python facecli/train/landmarks.py PORTRAITS OUT.npz`.
"""

import sys
from pathlib import Path

PADDING = 0.2
"""Tight crops are padded by this share of the longer side before detection."""


def main(portraits: Path, out: Path) -> None:
    """Write `names`, `landmarks` (n, 478, 3; photo pixels, centres at integers) and `sizes` (w, h)."""
    import cv2
    import mediapipe  # type: ignore[import-not-found]
    import numpy as np

    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.4
    )
    names, landmarks, sizes = [], [], []
    for path in sorted(p for p in portraits.glob("*/*") if p.suffix.lower() in {".jpg", ".png", ".webp"}):
        photo = np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR))
        height, width = photo.shape[:2]
        pad = int(PADDING * max(height, width))
        padded = cv2.copyMakeBorder(photo, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        found = mesh.process(cv2.cvtColor(padded, cv2.COLOR_BGR2RGB)).multi_face_landmarks
        if not found:
            continue
        scale = np.array([padded.shape[1], padded.shape[0], padded.shape[1]])
        points = np.array([[p.x, p.y, p.z] for p in found[0].landmark]) * scale - [pad + 0.5, pad + 0.5, 0]
        names.append(str(path.relative_to(portraits)))
        landmarks.append(points.astype(np.float32))
        sizes.append((width, height))
    np.savez(out, names=names, landmarks=np.array(landmarks), sizes=np.array(sizes))
    sys.stderr.write(f"{len(names)} faces with landmarks -> {out}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
