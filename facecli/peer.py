"""MediaPipe's face mesh, written as OBJ, on the same photos: what facecli is compared with."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from facecli.errors import UsageError

# Runs under a Python of its own choice, which need not have facecli. Arguments: a folder for the results, how many
# photos, and the photos. Triangles are the cycles of three among the
# tesselation's edges.
_PROGRAM = """
import json, sys, time
import cv2
import mediapipe
from mediapipe.python.solutions.face_mesh import FaceMesh
from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION
folder, count, photos = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
after = {}
for a, b in FACEMESH_TESSELATION:
    after.setdefault(a, set()).add(b)
corners = ((a, b, c) for a in after for b in after[a] for c in after.get(b, ()) if a in after.get(c, ()))
triangles = {tuple(sorted(three)) for three in corners}
faces = "".join("f %d %d %d\\n" % (a + 1, b + 1, c + 1) for a, b, c in sorted(triangles))
mesh = FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True)
found, began = 0, None
for n in range(count + 3):
    if n == 3:
        began = time.perf_counter()
    pixels = cv2.cvtColor(cv2.imread(photos[n % len(photos)]), cv2.COLOR_BGR2RGB)
    for face in mesh.process(pixels).multi_face_landmarks or ():
        found += n >= 3
        with open("%s/%d.obj" % (folder, n % 64), "w") as file:
            file.write("".join("v %.6f %.6f %.6f\\n" % (p.x, -p.y, -p.z) for p in face.landmark) + faces)
seconds = time.perf_counter() - began
print(json.dumps({"version": mediapipe.__version__, "faces": found, "seconds": seconds}))
"""


def mediapipe_python(named: str | None) -> str | None:
    """The Python that has MediaPipe: the one named, else this one, else None."""
    if named is not None:
        return named
    return sys.executable if find_spec("mediapipe") is not None else None


def run_mediapipe(python: str, photos: Sequence[Path], workers: int, count: int) -> dict[str, float | str]:
    """`workers` processes share `count` photos, each warm -> version, photos_per_second, faces_per_second.

    Raises UsageError when that Python cannot run MediaPipe.
    """
    share = max(1, count // workers)
    with tempfile.TemporaryDirectory(prefix="facecli-bench-") as folder:
        try:
            running = [
                subprocess.Popen(
                    [python, "-c", _PROGRAM, folder, str(share), *map(str, photos)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
                for _ in range(workers)
            ]
        except OSError as exc:
            raise UsageError(
                f"--mediapipe {python}: {exc.strerror or exc}; name a Python that has it"
            ) from exc
        answers = [process.communicate() for process in running]
    rows = []
    for process, (stdout, stderr) in zip(running, answers, strict=True):
        if process.returncode != 0:
            last = (stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
            raise UsageError(f"--mediapipe {python}: {last}; name a Python that has it")
        rows.append(json.loads(stdout.splitlines()[-1]))
    return {
        "version": rows[0]["version"],
        "photos_per_second": sum(share / row["seconds"] for row in rows),
        "faces_per_second": sum(row["faces"] / row["seconds"] for row in rows),
    }
