"""What became of a photo, and the tally of a run. Light to import: the command line speaks of these."""

from dataclasses import dataclass
from typing import Any, Literal

from facecli.inputs import Input

Status = Literal["ok", "no_face", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of one photo. faces: the names of each face's files, by the face's folder below OUT."""

    input: Input
    status: Status
    faces: dict[str, list[str]]
    error: str | None
    trace: str | None  # of an internal error
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """One line of `--json`."""
        return {
            "input": str(self.input.path),
            "name": self.input.name,
            "status": self.status,
            "faces": [{"folder": folder, "files": files} for folder, files in self.faces.items()],
            "error": self.error,
            "seconds": round(self.seconds, 3),
        }


@dataclass
class Counts:
    """How many photos ended how."""

    ok: int = 0
    no_face: int = 0
    failed: int = 0
    faces: int = 0

    def add(self, outcome: Outcome) -> None:
        self.ok += outcome.status == "ok"
        self.no_face += outcome.status == "no_face"
        self.failed += outcome.status == "failed"
        self.faces += len(outcome.faces)

    @property
    def exit_code(self) -> int:
        """0 when every photo was done, a photo without a face included; 1 when some failed."""
        return 1 if self.failed else 0

    def __str__(self) -> str:
        parts = [f"{self.ok:,} done ({self.faces:,} {'face' if self.faces == 1 else 'faces'})"]
        parts += [f"{self.no_face:,} without a face"] if self.no_face else []
        parts += [f"{self.failed:,} failed"] if self.failed else []
        return ", ".join(parts)
