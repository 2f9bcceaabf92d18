"""Print where each face looks and how far away it is: `python examples/points.py FOLDER`."""

import sys
from pathlib import Path

from facecli import FaceError, Reconstructor, read_image


def main(folder: Path) -> None:
    reconstructor = Reconstructor()
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png"}):
        try:
            faces = reconstructor.reconstruct(read_image(path.read_bytes()))
        except FaceError as error:
            sys.stderr.write(f"{path}: {error}\n")
            continue
        for face in faces:
            yaw, pitch, roll = face.pose.yaw_pitch_roll
            distance = face.pose.translation[2] / 1000
            sys.stdout.write(
                f"{path.name}: {len(face.mesh.vertices)} vertices, {distance:.2f} m away, "
                f"yaw {yaw:.0f}, pitch {pitch:.0f}, roll {roll:.0f} degrees\n"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
