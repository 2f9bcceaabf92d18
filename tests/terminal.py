"""The `facecli` command as a process, whole or with a stand-in for the network."""

import os
import subprocess
import sys
from pathlib import Path

STAND_IN = [sys.executable, str(Path(__file__).parent / "stand_in.py")]
FACECLI = [sys.executable, "-m", "facecli"]


def run(
    *arguments: str | Path | bytes, command: list[str] = STAND_IN, stdin: bytes = b"", **environment: str
) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a real process; with one worker, photos are done in order."""
    surroundings = {**os.environ, "FACECLI_WORKERS": "1", **environment}
    done = subprocess.run(
        [*command, *arguments], input=stdin, capture_output=True, timeout=60, env=surroundings
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def results(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("result.json")}
