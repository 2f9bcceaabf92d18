"""`facecli fuse` from the command line to the files: what is taken from each photo, and what is said of the others."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from typer.testing import CliRunner, Result

from facecli import cli
from facecli.blendshapes import SHAPES
from facecli.inputs import Input
from facecli.options import Options
from facecli.person import Sitter, choose
from facecli.weights import load_weights

MakePicture = Callable[..., bytes]
PHOTOS = Path(__file__).parent.parent / "examples" / "photos"
FRONT, SIDE = (PHOTOS / f"synthetic_{name}.jpg" for name in ("front", "side"))


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["fuse", *(str(argument) for argument in arguments)])


def test_the_largest_face_is_chosen_unless_one_is_named() -> None:
    assert choose([1.0, 3.0, 2.0], None) == 1
    assert choose([1.0, 3.0, 2.0], 2) == 2
    assert choose([1.0, 3.0, 2.0], 3) is None
    assert choose([], None) is None and choose([], 0) is None


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """Two photos of one face, one of several, one of none, one that is text, one that is not there."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "text.jpg").write_text("not a picture")
    Image.new("RGB", (90, 80), (40, 80, 120)).save(folder / "sky.png")
    with Image.open(FRONT) as one:
        pair = Image.new("RGB", (one.width * 2, one.height), (90, 90, 90))
        pair.paste(one, (0, 0))
        pair.paste(one.resize((one.width // 2, one.height // 2)), (one.width * 5 // 4, one.height // 4))
        pair.save(folder / "pair.png")
    names = [
        FRONT,
        SIDE,
        folder / "pair.png",
        folder / "sky.png",
        folder / "text.jpg",
        folder / "missing.jpg",
    ]
    return invoke(*names, "-o", folder / "out", "--format", "obj,ply,glb", "-v"), folder


def test_bad_photos_get_a_line_each_and_the_others_are_fused(fused: tuple[Result, Path]) -> None:
    done, folder = fused
    lines = done.stderr.splitlines()
    assert done.exit_code == 1 and done.stdout == ""
    assert lines[0] == f"{FRONT}: 1 face found" and lines[1] == f"{SIDE}: 1 face found"
    assert lines[2] == f"{folder}/pair.png: 2 faces found, the largest taken"
    assert lines[3] == f"{folder}/sky.png: no face found"
    assert lines[4].startswith(f"facecli: {folder}/text.jpg: not a picture that can be read")
    assert lines[5] == f"facecli: {folder}/missing.jpg: no such file or folder; check the name"
    assert lines[6] == f"3 photos fused -> {folder}/out/fused/face0" and len(lines) == 7


def test_the_files_are_one_face_with_the_usual_topology(fused: tuple[Result, Path]) -> None:
    face0 = fused[1] / "out/fused/face0"
    facts = json.loads((face0 / "result.json").read_text())
    assert sorted(path.name for path in face0.iterdir()) == facts["files"]
    assert {"face.obj", "face.mtl", "face.png", "face.ply", "face.glb", "texture_visibility.png"} < set(
        facts["files"]
    )
    meshes = [trimesh.load(face0 / f"face.{kind}", process=False, force="mesh") for kind in ("ply", "glb")]
    np.testing.assert_allclose(meshes[0].vertices, meshes[1].vertices, atol=1e-6)
    reconstructor = Sitter("cpu", load_weights(), None, None)
    np.testing.assert_array_equal(meshes[0].faces, reconstructor.model.faces)
    assert np.ptp(meshes[0].vertices, axis=0) == pytest.approx([0.15, 0.2, 0.12], abs=0.06)


def test_result_json_tells_of_every_photo(fused: tuple[Result, Path]) -> None:
    facts = json.loads((fused[1] / "out/fused/face0/result.json").read_text())
    photos = facts["photos"]
    assert [photo["status"] for photo in photos] == ["ok"] * 3 + ["no_face", "failed", "failed"]
    assert [photo["faces"] for photo in photos[:2]] == [1, 1] and photos[2]["faces"] == 2
    assert sum(photo["share"] for photo in photos[:3]) == pytest.approx(1, abs=1e-3)
    assert all(len(photo["blendshapes"]) == 52 for photo in photos[:3])
    assert photos[4]["error"].startswith("not a picture") and photos[3]["error"] is None
    assert abs(photos[1]["pose"]["yaw"]) > abs(photos[0]["pose"]["yaw"])
    assert np.shape(facts["landmarks"]["mesh"]) == (68, 3) and facts["versions"]["weights"]


def test_one_photo_is_fused_alone_and_said_so(tmp_path: Path) -> None:
    done = invoke(FRONT, "-o", tmp_path, "--format", "stl", "--no-preview")
    assert done.exit_code == 0
    assert done.stderr.splitlines()[0] == "only 1 photo to fuse: what it does not show is a guess"
    names = {path.name for path in (tmp_path / "fused/face0").iterdir()}
    assert names == {"face.stl", "texture_visibility.png", "result.json"}


def test_nothing_usable_writes_nothing(tmp_path: Path, make_picture: MakePicture) -> None:
    (tmp_path / "sky.png").write_bytes(make_picture("PNG", (90, 80)))
    done = invoke(tmp_path / "sky.png", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "facecli: no photo shows a face; nothing was written"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_face_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    done = invoke(FRONT, "-o", tmp_path / "out", "--face", "5", "-q")
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1
    done = invoke(FRONT, "-o", tmp_path / "out", "--face", "5")
    assert done.stderr.splitlines()[0] == f"{FRONT}: 1 face found; --face 5 is not there"


def test_a_bug_on_one_photo_is_that_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    sitter = Sitter("cpu", load_weights(), None, None)

    def fall(image: object) -> list[object]:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(sitter.reconstructor, "reconstruct", fall)
    sighting = sitter.sight(Input(FRONT, FRONT.name))
    assert sighting.face is None and sighting.error is not None and sighting.trace is not None
    assert "internal error (ZeroDivisionError: of all things)" in sighting.error
    assert "Traceback" in sighting.trace
    with pytest.raises(ValueError, match="needs faces"):
        sitter.files([sighting], Options())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.jpg", "-o", "out", "--format", "fbx"], "unknown mesh format 'fbx'"),
        (["a.jpg", "-o", "out", "--focal", "0"], "--focal must be a positive number"),
        (["", "-o", "out"], "an empty name"),
        ([".", "-o", "out"], "no photos found"),
        (["a.jpg", "-o", "a.jpg"], "'a.jpg' is not a folder"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_2(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "a.jpg" in arguments:
        (tmp_path / "a.jpg").write_bytes(b"x")
    monkeypatch.setattr(sys, "argv", ["facecli", "fuse", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert not (tmp_path / "out").exists()


def test_the_reason_is_on_stderr_as_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "facecli", "fuse", "a.jpg", "-o", str(tmp_path), "--format", "fbx"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("facecli: unknown mesh format 'fbx'")


def test_someone_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "fused").mkdir()
    (tmp_path / "fused/diary.txt").write_text("mine")
    done = invoke(FRONT, "-o", tmp_path, "--no-preview")
    assert done.exit_code == 1 and "something else" in str(done.exception)
    assert (tmp_path / "fused/diary.txt").read_text() == "mine"


def test_reconstruct_writes_blendshapes_and_neutral_when_asked(tmp_path: Path) -> None:
    run = CliRunner().invoke(
        cli.app,
        ["reconstruct", str(FRONT), "-o", str(tmp_path), "--blendshapes", "--neutral", "--no-preview"],
    )
    assert run.exit_code == 0, run.stderr
    folder = tmp_path / FRONT.name / "face0"
    told = json.loads((folder / "blendshapes.json").read_text())
    assert len(told["arkit"]) == 52 and tuple(told["shapes"]) == SHAPES
    assert all(0 <= weight <= 1 for weight in told["shapes"].values())
    whole, neutral = (trimesh.load(folder / f"{name}.ply", process=False) for name in ("face", "neutral"))
    np.testing.assert_array_equal(whole.faces, neutral.faces)
    moved = np.linalg.norm(whole.vertices - neutral.vertices, axis=1)
    assert (moved.max() > 1e-4) == (max(told["shapes"].values()) > 0.02) and moved.max() < 0.05
    assert "map_Kd face.png" in (folder / "neutral.mtl").read_text()
