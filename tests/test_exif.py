"""The lens by what cameras note: an equivalent, or a length and a sensor that is built; never nonsense."""

import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as pillow
from PIL.TiffImagePlugin import IFDRational

from facecli.exif import focal_35mm
from facecli.images import read_image

# As a camera with an APS-C sensor of 22.3 x 14.9 mm notes it: 50 mm, inches, no equivalent.
NOTED: dict[int, Any] = {
    0x920A: IFDRational(50, 1),
    0xA002: 5184,
    0xA003: 3456,
    0xA20E: IFDRational(5184000, 878),
    0xA20F: IFDRational(3456000, 587),
    0xA210: 2,
}
EQUIVALENT = 50 * 43.267 / math.hypot(22.3, 14.9)


def test_a_noted_equivalent_goes_before_all_else() -> None:
    assert focal_35mm({0xA405: 28}) == 28.0
    assert focal_35mm(NOTED | {0xA405: 85}) == 85.0
    assert focal_35mm(NOTED | {0xA405: 0}) == pytest.approx(EQUIVALENT, rel=0.01), (
        "0: unknown, by the standard"
    )


def test_length_and_sensor_tell_the_equivalent() -> None:
    assert focal_35mm(NOTED) == pytest.approx(EQUIVALENT, rel=0.01)
    upright = NOTED | {0xA002: NOTED[0xA003], 0xA003: NOTED[0xA002]}
    assert focal_35mm(upright) == pytest.approx(EQUIVALENT, rel=0.02)


@pytest.mark.parametrize(("unit", "per_inch"), [(3, 2.54), (4, 25.4), (5, 25400.0)])
def test_other_units_of_density_are_told_apart(unit: int, per_inch: float) -> None:
    other = NOTED | {tag: float(NOTED[tag]) / per_inch for tag in (0xA20E, 0xA20F)} | {0xA210: unit}
    assert focal_35mm(other) == pytest.approx(focal_35mm(NOTED))


def test_inches_are_meant_where_no_unit_is_noted() -> None:
    silent = {tag: value for tag, value in NOTED.items() if tag != 0xA210}
    assert focal_35mm(silent) == pytest.approx(focal_35mm(NOTED))


@pytest.mark.parametrize("size", [(1024, 683), (2048, 1365), (640, 427)])
def test_a_photo_that_was_scaled_beside_its_old_density_does_not_tell(size: tuple[int, int]) -> None:
    assert focal_35mm(NOTED | {0xA002: size[0], 0xA003: size[1]}) is None


@pytest.mark.parametrize("tag", [0x920A, 0xA002, 0xA003, 0xA20E, 0xA20F])
@pytest.mark.parametrize(
    "value", [None, 0, -1, float("nan"), float("inf"), "x", b"", (1, 2), IFDRational(1, 0)]
)
def test_nonsense_is_nothing(tag: int, value: object) -> None:
    assert focal_35mm(NOTED | {tag: value}) is None
    assert focal_35mm({key: each for key, each in NOTED.items() if key != tag}) is None


def test_uneven_densities_and_strange_units_are_nothing() -> None:
    assert focal_35mm(NOTED | {0xA20F: float(NOTED[0xA20F]) * 1.2}) is None
    assert focal_35mm(NOTED | {0xA210: 9}) is None
    assert focal_35mm({}) is None


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_file_tells_it(format: str, tmp_path: Path) -> None:
    exif = pillow.Exif()
    exif[0x010F] = "a maker"
    exif.get_ifd(0x8769).update(NOTED)
    pillow.new("RGB", (60, 40)).save(tmp_path / "photo", format, exif=exif)
    found = read_image((tmp_path / "photo").read_bytes()).focal_35mm
    assert found == pytest.approx(EQUIVALENT, rel=0.01)
