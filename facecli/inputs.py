"""What the user named -> an ordered list of photos, and their bytes.

A file keeps its own name; what lies in a folder is named relative to that folder; the files of a list are
named relative to their deepest common folder. The name, extension included, is the result's folder, so
`a.jpg` and `a.png` never meet. Something missing becomes an Input too: reading it fails, the others go on.
"""

import os
import stat
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from facecli.errors import InputError, UsageError

# What counts as a photo inside a folder; a file that is named is tried whatever it is called. HEIC is listed
# so that a folder from a phone fails loudly rather than coming out empty.
EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .tif .tiff .bmp .gif .avif .jp2 .j2k .heic .heif".split()
)
MAX_BYTES = 1 << 30
_SKIPPED_FOLDERS = frozenset({"__MACOSX", "@eaDir"})


@dataclass(frozen=True)
class Input:
    """One photo to do. name: its path relative to its root, `/` between parts; the result's folder in OUT."""

    path: Path
    name: str


def find_inputs(named: Sequence[str], listed: Sequence[str] = (), output: Path | None = None) -> list[Input]:
    """Files and folders, named on the command line and in a list -> photos, each once, sorted in a folder.

    Folders are searched to any depth; hidden entries and the output folder are skipped, links to folders not
    followed. Raises UsageError when two photos would share a result folder, or OUT is an input folder itself.
    """
    skip = os.path.realpath(output) if output is not None else None
    found: list[Input] = []
    list_root = _common_folder([entry for entry in listed if not _is_folder(entry)])
    for entry in [*named, *listed]:
        if not entry:
            raise UsageError("an empty name is not an input; remove it")
        if entry == "-":
            raise UsageError(
                "- is not an input; --files-from - reads the names of photos from standard input"
            )
    for entry in named:
        found += _expand(entry, Path(entry).name, skip)
    for entry in listed:
        found += _expand(entry, os.path.relpath(_absolute(entry), list_root), skip)
    return _without_collisions(found, _confuses_names(output))


def read_list(data: bytes, null: bool = False) -> list[str]:
    """Paths out of a list, one a line (or NUL separated); empty lines are dropped, odd bytes survive.

    Raises UsageError for a list of lines that holds NUL: it is NUL separated, UTF-16, or no list at all.
    """
    if not null and b"\0" in data:
        raise UsageError(
            "the list of inputs holds NUL bytes; add -0 if they end the names, else save it as UTF-8"
        )
    lines = data.split(b"\0") if null else data.removeprefix(b"\xef\xbb\xbf").splitlines()
    return [os.fsdecode(line) for line in lines if line.strip()]


def read_bytes(path: Path) -> bytes:
    """The whole file. Raises InputError for what is missing, unreadable, not a regular file or over 1 GiB."""
    try:
        # Non-blocking, because opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if stat.S_ISDIR(facts.st_mode):
                raise InputError("a folder that cannot be searched; check its permissions")
            if not stat.S_ISREG(facts.st_mode):
                raise InputError("not a regular file; give photos or folders of photos")
            if facts.st_size > MAX_BYTES:
                raise InputError(f"larger than {MAX_BYTES >> 30} GiB; give a photo")
            return file.read(facts.st_size)  # Python sets aside memory for all that it is told to read
    except FileNotFoundError as exc:
        raise InputError("no such file or folder; check the name") from exc
    except IsADirectoryError as exc:
        raise InputError("a folder that cannot be searched; check its permissions") from exc
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise InputError(f"cannot be read: {reason}") from exc


def _is_folder(entry: str | Path) -> bool:
    """Never raises, as Path.is_dir does for names that are too long or lie in a closed folder."""
    return os.path.isdir(entry)  # noqa: PTH112


def _expand(entry: str, name: str, skip: str | None) -> Iterator[Input]:
    path = Path(entry)
    if not _is_folder(path):
        yield Input(path, name.replace(os.sep, "/"))
        return
    root = os.path.realpath(path)
    if root == skip:
        raise UsageError(f"the output folder is the input folder {_shown(entry)}; choose another with -o")
    yield from _walk(path, root, skip)


def _walk(root: Path, real: str, skip: str | None) -> Iterator[Input]:
    """Photos below a folder, files and folders together in byte order. `real` is the folder without links."""
    waiting = [("", True)]  # names below the root with whether they are folders, the next one last
    while waiting:
        name, is_folder = waiting.pop()
        if not is_folder:
            yield Input(root / name, name)
            continue
        try:
            with os.scandir(root / name) as entries:
                ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name), reverse=True)
        except OSError:
            yield Input(root / name, name or root.name)  # reading it tells why
            continue
        prefix = f"{name}/" if name else ""
        for entry in ordered:
            if entry.name.startswith(".") or entry.name in _SKIPPED_FOLDERS:
                continue
            inner = prefix + entry.name
            if _is_real_folder(entry):
                if os.path.join(real, inner) != skip:  # noqa: PTH118  strings: half the time of Path
                    waiting.append((inner, True))
            elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS and _is_photo(entry):  # noqa: PTH122
                waiting.append((inner, False))


def _is_real_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _is_photo(entry: "os.DirEntry[str]") -> bool:
    """Regular files, links to them, and links that lead nowhere, which the user should know; no pipes."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))  # noqa: PTH110
    except OSError:  # a link to itself, or into a closed folder
        return True


def _common_folder(entries: Sequence[str]) -> str:
    parents = [str(Path(_absolute(entry)).parent) for entry in entries if entry]
    return os.path.commonpath(parents) if parents else os.sep


def _absolute(entry: str) -> str:
    """The path without `.` and `..`, its folder without links; the last part may itself be a link."""
    path = Path(os.path.abspath(entry))  # noqa: PTH100  Path.absolute() keeps `..`
    return str(Path(os.path.realpath(path.parent)) / path.name)


def _confuses_names(output: Path | None) -> bool:
    """Whether the disk of OUT takes `A.jpg` and `a.jpg` for one name: it then knows its folders by either."""
    if sys.platform in ("win32", "darwin") or output is None:
        return output is not None
    place = Path(os.path.realpath(output))
    for folder in (place, *place.parents):
        if folder.name.swapcase() != folder.name and folder.exists():
            try:
                return folder.samefile(folder.with_name(folder.name.swapcase()))
            except OSError:
                return False
    return False


def _without_collisions(found: Sequence[Input], confused: bool) -> list[Input]:
    """Each photo once, however often it was named; two photos under one name are refused before any work.

    confused: also names that differ in case or Unicode form only, which OUT cannot hold side by side.
    """
    seen: set[str] = set()
    owners: dict[str, Input] = {}
    kept: list[Input] = []
    folders: dict[Path, str] = {}
    for item in found:
        parent = item.path.parent
        if parent not in folders:
            folders[parent] = os.path.realpath(parent)
        identity = os.path.join(folders[parent], item.path.name)  # noqa: PTH118
        if identity in seen:
            continue
        seen.add(identity)
        key = unicodedata.normalize("NFC", item.name).casefold() if confused else item.name
        if key in owners:
            raise UsageError(
                f"{_shown(owners[key].path)} and {_shown(item.path)} would both be written to "
                f"{_shown(item.name)}; give the folder that holds both, or run twice with two -o"
            )
        owners[key] = item
        kept.append(item)
    return kept


def _shown(path: Path | str) -> str:
    return repr(str(path))
