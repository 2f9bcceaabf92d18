"""The report's page: rows in, one HTML file out. Everything a user named is data to it, never markup."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from facecli import __version__
from facecli.console import shown
from facecli.parcel import FORMAT

FOLDER = "report_files"  # beside report.html: pictures, faces, scripts


@dataclass(frozen=True)
class Row:
    """A face of a photo, or a photo without one. Angles in degrees, lengths in pixels of the photo."""

    name: str  # the photo's, as shown
    status: str  # ok, no_face, failed
    id: str = ""  # names the pictures and the parcel in FOLDER
    face: int = 0
    of: int = 0  # faces of this photo
    link: str = ""  # to the face's folder, percent-encoded, relative to the page; ends with a slash
    files: tuple[str, ...] = ()
    error: str = ""
    score: float | None = None
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    size: float | None = None  # of the face: longer side of its box
    width: int | None = None
    height: int | None = None
    camera: str = ""
    seconds: float | None = None  # of the whole photo


def face_row(
    folder: str, facts: Mapping[str, Any], of: int, identity: str, seconds: float | None = None
) -> Row:
    """What result.json says of one face. folder: its place below the output folder, with / between names.

    seconds: the photo's, from the manifest.
    """
    pose, camera, source = (facts.get(key) or {} for key in ("pose", "camera", "input"))
    box = facts.get("box") or [0, 0, 0, 0]
    view = (camera.get("field_of_view") or {}).get("diagonal")
    return Row(
        name=shown(str(source.get("name") or folder.rpartition("/")[0])),
        status="ok",
        id=identity,
        face=int(facts.get("face", 0)),
        of=of,
        link=quote(os.fsencode(folder)) + "/",
        files=tuple(str(name) for name in facts.get("files") or ()),
        score=facts.get("score"),
        yaw=pose.get("yaw"),
        pitch=pose.get("pitch"),
        roll=pose.get("roll"),
        size=round(max(box[2] - box[0], box[3] - box[1]), 1),
        width=source.get("width"),
        height=source.get("height"),
        camera="" if view is None else f"{view:.0f}° field of view ({camera.get('source', 'unknown')})",
        seconds=seconds,
    )


def photo_row(name: str, status: str, error: str | None, identity: str = "") -> Row:
    """A photo without a face to show."""
    return Row(name=shown(name), status=status, error=shown(error or ""), id=identity)


def identity(folder: str) -> str:
    """A short name for a folder's pictures, the same in every run."""
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]


def page(rows: Sequence[Row], title: str, versions: Mapping[str, str]) -> bytes:
    """report.html. title: as shown in the page's head."""
    data = {
        "title": title,
        "folder": FOLDER,
        "format": FORMAT,
        "versions": {"facecli": __version__, **versions},
        "rows": [_lean(row) for row in rows],
    }
    parts = {
        "/*STYLE*/": asset("gallery.css"),
        "/*SCRIPT*/": asset("gallery.js"),
        "/*DATA*/": _script_safe(json.dumps(data, separators=(",", ":"))),
    }
    text = asset("gallery.html")
    for mark, content in parts.items():
        before, _, after = text.partition(mark)
        text = before + content + after
    return text.encode("utf-8")


def scripts() -> dict[str, bytes]:
    """The viewer's scripts for FOLDER, loaded by the page when the first face is opened."""
    return {
        "three.min.js": asset("three/three.min.js").encode("utf-8"),
        "viewer.js": asset("viewer.js").encode("utf-8"),
        "LICENSE-three": asset("three/LICENSE").encode("utf-8"),
    }


def asset(name: str) -> str:
    """A file of the page's own, from the package."""
    return (files("facecli") / "page" / name).read_text("utf-8")


def _lean(row: Row) -> dict[str, Any]:
    """Without what is not known: ten thousand rows are one page."""
    rounded = replace(row, seconds=None if row.seconds is None else round(row.seconds, 3))
    return {key: value for key, value in asdict(rounded).items() if value not in (None, "", ())}


def _script_safe(text: str) -> str:
    """JSON that cannot end the script element that holds it, nor open a comment in it."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
