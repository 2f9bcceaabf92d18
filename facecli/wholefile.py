"""One file, written whole or not at all."""

import secrets
from pathlib import Path

from facecli.errors import OutputError


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the final name, then rename: what stands there is complete. Raises OutputError."""
    beside = path.with_name(
        f".{secrets.token_hex(4)}.part"
    )  # short: the name itself may be as long as can be
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as exc:
        beside.unlink(missing_ok=True)
        raise OutputError(
            f"cannot write {str(path)!r}: {exc.strerror or exc}; free space or choose another place"
        ) from exc
