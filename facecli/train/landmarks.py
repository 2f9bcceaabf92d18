"""Dense landmarks by MediaPipe 0.10.14 (Apache-2.0): of the licensed portraits for the fit, of any photos for
the evaluation.

Runs in an environment of its own (`pip install mediapipe==0.10.14 "numpy<2"`, Python 3.11 or 3.12), so it
imports nothing else of facecli: `python facecli/train/landmarks.py PORTRAITS OUT.npz`, where PORTRAITS is a folder,
or an .npz that `facecli.train.peer` wrote.
"""

import sys
import time
from pathlib import Path
from typing import Any

PADDING = 0.2
"""Tight crops are padded by this share of the longer side before detection."""
CONFIDENCE = 0.4
MOST_FACES = 40
TIMED_RUNS = 40


def main(source: Path, out: Path) -> None:
    """Portraits of a folder, or photos of an archive, to landmarks."""
    if source.suffix == ".npz":
        evaluated(source, out)
    else:
        portraits(source, out)


def portraits(folder: Path, out: Path) -> None:
    """Write `names`, `landmarks` (n, 478, 3; photo pixels, centres at integers) and `sizes` (w, h)."""
    import cv2
    import numpy as np

    mesh = _mesh(most_faces=1)
    names, landmarks, sizes = [], [], []
    for path in sorted(p for p in folder.glob("*/*") if p.suffix.lower() in {".jpg", ".png", ".webp"}):
        photo = np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR))
        height, width = photo.shape[:2]
        pad = int(PADDING * max(height, width))
        padded = cv2.copyMakeBorder(photo, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        found = _points(mesh, cv2.cvtColor(padded, cv2.COLOR_BGR2RGB))
        if not found:
            continue
        names.append(str(path.relative_to(folder)))
        landmarks.append((found[0] - [pad, pad, 0]).astype(np.float32))
        sizes.append((width, height))
    np.savez(out, names=names, landmarks=np.array(landmarks), sizes=np.array(sizes))
    sys.stderr.write(f"{len(names)} faces with landmarks -> {out}\n")


def evaluated(photos: Path, out: Path) -> None:
    """What MediaPipe makes of `photo0`, `photo1`, ... (RGB) of an archive.

    `squares0`, ... (m, 3: centre and side, pixels) are where faces are known to be: where MediaPipe finds none there
    by itself, it is shown that square alone. Writes `faces0`, ... (n, 478, 3), `helped0`, ... (n; whether it was
    shown where) and `seconds` for each photo; and where `timing` is in the archive, the milliseconds of its parts.
    """
    import cv2
    import numpy as np

    mesh, single = _mesh(MOST_FACES), _mesh(most_faces=1)
    written: dict[str, Any] = {}
    seconds = []
    with np.load(photos) as archive:
        count = sum(name.startswith("photo") for name in archive)
        for k in range(count):
            photo, squares = archive[f"photo{k}"], archive[f"squares{k}"]
            start = time.perf_counter()
            found = _points(mesh, photo)
            seconds.append(time.perf_counter() - start)
            helped = [False] * len(found)
            for x, y, side in squares:
                middles = np.array([face[:, :2].mean(0) for face in found]).reshape(-1, 2)
                if (np.linalg.norm(middles - [x, y], axis=1) < side / 4).any():
                    continue
                size = max(int(side), 192)
                step = side / size
                # The centre of pixel (i, j) of the square is the photo's (x, y) - side / 2 + step * (i + 1 / 2).
                matrix = np.array([[step, 0, x - side / 2 + step / 2], [0, step, y - side / 2 + step / 2]])
                flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
                square = cv2.warpAffine(photo, matrix, (size, size), flags=flags)
                for points in _points(single, square):
                    found.append(points * step + [matrix[0, 2], matrix[1, 2], 0])
                    helped.append(True)
            written[f"faces{k}"] = np.array(found, np.float32).reshape(-1, 478, 3)
            written[f"helped{k}"] = np.array(helped, bool)
        if "timing" in archive:
            written.update(_timing(archive["timing"]))
    np.savez(out, seconds=np.array(seconds), **written)


def _mesh(most_faces: int, still: bool = True) -> Any:
    import mediapipe  # type: ignore[import-not-found]

    return mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=still,
        max_num_faces=most_faces,
        refine_landmarks=True,
        min_detection_confidence=CONFIDENCE,
    )


def _points(mesh: Any, photo: Any) -> list[Any]:
    """Faces of an RGB photo: (478, 3) each, pixels with centres at integers, z in the scale of x."""
    import numpy as np

    height, width = photo.shape[:2]
    found = mesh.process(photo).multi_face_landmarks or []
    scale = np.array([width, height, width])
    return [np.array([[p.x, p.y, p.z] for p in face.landmark]) * scale - [0.5, 0.5, 0] for face in found]


def _timing(photo: Any) -> dict[str, float]:
    """Least milliseconds for one face: finding it and its landmarks in a photo; its landmarks while tracked;
    the plain landmark network alone, on 1 and 2 threads, where a TFLite interpreter is installed."""
    import numpy as np

    def least(call: Any) -> float:
        taken = []
        for _ in range(TIMED_RUNS):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
        return 1000 * min(taken)

    still, tracked = _mesh(1), _mesh(1, still=False)
    out = {
        "whole_ms": least(lambda: still.process(photo)),
        "tracked_ms": least(lambda: tracked.process(photo)),
    }
    try:
        from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found]
    except ImportError:
        return out
    import mediapipe

    model = Path(mediapipe.__file__).parent / "modules" / "face_landmark" / "face_landmark.tflite"
    for threads in (1, 2):
        network = Interpreter(str(model), num_threads=threads)
        network.allocate_tensors()
        slot = network.get_input_details()[0]
        network.set_tensor(slot["index"], np.zeros(slot["shape"], np.float32))
        out[f"network{threads}_ms"] = least(network.invoke)
    return out


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
