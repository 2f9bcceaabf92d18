"""A results folder -> report.html beside it: every photo as a card, every face in 3D, offline, from any disk.

    OUT/report.html                     the gallery, with all rows inside
    OUT/report_files/three.min.js       the viewer, and one script and one picture per face:
    OUT/report_files/faces/<id>.jpg     photo and three-quarter view
    OUT/report_files/faces/<id>.<n>.js  the face in 3D (parcel.py)

The page is written first; what it shows later comes face by face, so an interrupted report still works and the
next run goes on where it stopped. Everything is replaced whole.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from facecli.errors import FaceError, OutputError, UsageError
from facecli.gallery import FOLDER, Row, face_row, identity, page, photo_row, scripts
from facecli.images import encode_jpeg, read_image
from facecli.inputs import read_bytes
from facecli.manifest import read_rows
from facecli.meshfile import Model, best_file, read_model
from facecli.parcel import FORMAT, to_parcel
from facecli.wholefile import write_whole

PAGE = "report.html"
_THUMB, _QUALITY = 224, 80  # pixels a side
_NAME = re.compile(r"[0-9a-f]{16}\.(jpg|\d+\.js)")
_MESHES = ("face", "mesh")  # the whole face first


@dataclass(frozen=True)
class Report:
    """A report while it is made. `rows` are in the page already; `finish` adds the pictures, face by face."""

    out: Path
    rows: list[Row]
    sources: dict[str, Path]  # by a row's id: the face's folder, or the photo that has no face

    def finish(self, in_3d: bool = True) -> Iterator[str | None]:
        """Make what is missing or older than its result; yields after each row, with what went wrong if so.

        in_3d: also the faces for the viewer. Raises OutputError.
        """
        folder = self.out / FOLDER / "faces"
        wanted = set()
        for row in self.rows:
            problem = None
            if row.id:
                source = self.sources[row.id]
                thumb = folder / f"{row.id}.jpg"
                parcel = folder / f"{row.id}.{FORMAT}.js" if in_3d and row.status == "ok" else None
                wanted |= {path.name for path in (thumb, parcel) if path is not None}
                problem = _show(row, source, thumb, parcel)
            yield problem
        for path in folder.iterdir() if folder.is_dir() else ():
            if _NAME.fullmatch(path.name) and path.name not in wanted and in_3d:
                path.unlink(missing_ok=True)


def start_report(out: Path) -> Report:
    """Write OUT/report.html and its scripts. Raises UsageError where there are no results, OutputError."""
    if not out.is_dir():
        raise UsageError(f"{str(out)!r} is no folder; name the output folder of facecli reconstruct")
    rows, sources, versions = _read_results(out)
    if not rows:
        raise UsageError(f"no results in {str(out)!r}; run facecli reconstruct PHOTOS -o {str(out)!r} first")
    try:
        (out / FOLDER / "faces").mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        reason = exc.strerror or exc
        raise OutputError(f"cannot make {str(out / FOLDER)!r}: {reason}; check permissions") from exc
    for name, data in scripts().items():
        write_whole(out / FOLDER / name, data)
    write_whole(out / PAGE, page(rows, out.resolve().name, versions))
    return Report(out, rows, sources)


def _read_results(out: Path) -> tuple[list[Row], dict[str, Path], dict[str, str]]:
    """Rows in the order of names, and where each row's pictures come from."""
    rows: list[Row] = []
    sources: dict[str, Path] = {}
    versions: dict[str, str] = {}
    photos, lines = _results(out), read_rows(out)
    for name, faces in photos.items():
        seconds = lines.get(name, {}).get("seconds")
        for folder, facts in faces:
            place = folder.relative_to(out).as_posix()
            rows.append(face_row(place, facts, len(faces), identity(place), seconds))
            sources[rows[-1].id] = folder
            versions = versions or {str(k): str(v) for k, v in (facts.get("versions") or {}).items()}
    for name, line in lines.items():
        if line.get("status") in ("no_face", "failed") and name not in photos:
            path = Path(str(line.get("input")))
            mark = identity(name) if line["status"] == "no_face" and path.is_file() else ""
            rows.append(photo_row(name, line["status"], line.get("error"), mark))
            if mark:
                sources[mark] = path
    rows.sort(key=lambda row: (row.name, row.face))
    return rows, sources, versions


def _results(out: Path) -> dict[str, list[tuple[Path, dict[str, Any]]]]:
    """The faces of each photo below OUT, in order: folder and result.json. What cannot be read is left out."""
    found: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for folder, inside, names in os.walk(out):
        inside[:] = [name for name in inside if not name.startswith(".") and name != FOLDER]
        if "result.json" not in names:
            continue
        try:
            facts = json.loads((Path(folder) / "result.json").read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(facts, dict) and str(facts.get("schema", "")).startswith("facecli.result/"):
            photo = Path(folder).parent.relative_to(out).as_posix()
            found.setdefault(photo, []).append((Path(folder), facts))
    for faces in found.values():
        faces.sort(key=lambda face: (len(face[0].name), face[0].name))  # face10 after face9
    return dict(sorted(found.items()))


def _show(row: Row, source: Path, thumb: Path, parcel: Path | None) -> str | None:
    """Write the row's pictures where they are missing or old -> what went wrong, in words."""
    try:
        made_from = source / "result.json" if row.status == "ok" else source
        new = made_from.stat().st_mtime_ns
        old = [
            path
            for path in (thumb, parcel)
            if path is not None and not (path.is_file() and path.stat().st_mtime_ns >= new)
        ]
        if not old:
            return None
        if row.status != "ok":
            write_whole(thumb, encode_jpeg(_square(read_image(read_bytes(source)).pixels), _QUALITY))
            return None
        files = {path.name: path for path in source.iterdir() if path.is_file()}
        models = _models(files)
        strip = read_image(read_bytes(files["preview.png"])).pixels if "preview.png" in files else None
        write_whole(thumb, encode_jpeg(_thumb(strip, models), _QUALITY))
        if parcel is not None:
            facts = json.loads(read_bytes(files["result.json"]))
            photo = None if strip is None else strip[:, : strip.shape[0]]
            write_whole(parcel, to_parcel(row.id, models, facts, photo))
    except OutputError:
        raise
    except (FaceError, KeyError, ValueError, OSError) as exc:
        return f"{source}: {exc}"
    return None


def _models(files: dict[str, Path]) -> dict[str, Model]:
    """The whole face and the photo's mesh, each from the best of its files."""
    models = {}
    for mesh in _MESHES:
        name = best_file(files, mesh)
        if name is not None:
            needed = [name, *(n for n in files if name.endswith(".obj") and n.endswith((".mtl", ".png")))]
            models[mesh] = read_model({n: read_bytes(files[n]) for n in needed}, name)
    return models


def _thumb(strip: UInt8[np.ndarray, "h w 3"] | None, models: dict[str, Model]) -> UInt8[np.ndarray, "t t2 3"]:
    """Photo and three-quarter view side by side; without a preview the view alone, twice as clay and in colour."""
    import cv2

    from facecli.render import THREE_QUARTER, shade

    if strip is not None and strip.shape[1] >= 4 * strip.shape[0]:
        side = strip.shape[0]
        panels = [strip[:, :side], strip[:, 3 * side : 4 * side]]
    elif models:
        mesh = next(iter(models.values())).mesh
        panels = [shade(mesh, THREE_QUARTER, _THUMB, colors=colors) for colors in (True, False)]
    else:
        raise FaceError("no preview and no mesh to show")
    small = [cv2.resize(panel, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA) for panel in panels]
    return np.concatenate(small, axis=1).astype(np.uint8)


def _square(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "t t2 3"]:
    """The whole photo, scaled to fit the thumb's frame, dark around it."""
    import cv2

    frame = np.full((_THUMB, 2 * _THUMB, 3), 28, np.uint8)
    scale = min(_THUMB / pixels.shape[0], 2 * _THUMB / pixels.shape[1])
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    top, left = (_THUMB - height) // 2, (2 * _THUMB - width) // 2
    frame[top : top + height, left : left + width] = cv2.resize(
        pixels, (width, height), interpolation=cv2.INTER_AREA
    )
    return frame
