"""What became of a photo, and the tally of a run. Light to import: the command line speaks of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from facecli.inputs import Input

Status = Literal["ok", "no_face", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of one photo."""

    input: Input
    status: Status
    faces: Mapping[
        str, Mapping[str, int]
    ]  # each face's folder below OUT -> its files and their sizes in bytes
    error: str | None = None
    trace: str | None = None  # of an internal error
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)  # where the seconds went
    skipped: bool = False  # done by an earlier run, whose words these are

    def to_json(self) -> dict[str, Any]:
        """One line of `--json`, and what the manifest keeps."""
        row: dict[str, Any] = {
            "input": str(self.input.path),
            "name": self.input.name,
            "status": self.status,
            "faces": [{"folder": folder, "files": dict(files)} for folder, files in self.faces.items()],
            "error": self.error,
            "seconds": round(self.seconds, 3),
            "stages": {stage: round(seconds, 4) for stage, seconds in self.stages.items()},
        }
        return row | ({"skipped": True} if self.skipped else {})

    @classmethod
    def from_json(cls, row: Mapping[str, Any], item: Input) -> "Outcome":
        """Out of a row of the manifest: what an earlier run made of the photo."""
        faces = {face["folder"]: face["files"] for face in row["faces"]}
        return cls(
            item,
            row["status"],
            faces,
            row["error"],
            seconds=row["seconds"],
            stages=row["stages"],
            skipped=True,
        )


@dataclass
class Counts:
    """How many photos ended how."""

    ok: int = 0
    no_face: int = 0
    failed: int = 0
    faces: int = 0
    skipped: int = 0  # done by an earlier run
    failed_before: int = 0  # failed in an earlier run and not tried again

    def add(self, outcome: Outcome) -> None:
        if outcome.skipped:
            self.skipped += outcome.status != "failed"
            self.failed_before += outcome.status == "failed"
            return
        self.ok += outcome.status == "ok"
        self.no_face += outcome.status == "no_face"
        self.failed += outcome.status == "failed"
        self.faces += len(outcome.faces)

    @property
    def exit_code(self) -> int:
        """0 when every photo was done, a photo without a face included; 1 when some failed, now or earlier."""
        return 1 if self.failed or self.failed_before else 0

    def __str__(self) -> str:
        parts = [f"{self.ok:,} done ({self.faces:,} {'face' if self.faces == 1 else 'faces'})"]
        parts += [f"{self.no_face:,} without a face"] if self.no_face else []
        parts += [f"{self.failed:,} failed"] if self.failed else []
        parts += [f"{self.skipped:,} done earlier"] if self.skipped else []
        parts += [f"{self.failed_before:,} failed earlier"] if self.failed_before else []
        return ", ".join(parts)
