"""facecli: detailed 3D faces from ordinary photos, offline.

>>> from facecli import Reconstructor, read_image
>>> faces = Reconstructor().reconstruct(read_image(data))
"""

from importlib import import_module
from typing import TYPE_CHECKING

from facecli.errors import FaceError

if TYPE_CHECKING:
    from facecli.images import Image, read_image
    from facecli.mesh import Mesh
    from facecli.pipeline import Face, Reconstructor

__version__ = "0.1.0"

__all__ = ["Face", "FaceError", "Image", "Mesh", "Reconstructor", "__version__", "read_image"]

# Imported on first use (PEP 562): `import facecli` and `facecli --help` stay fast.
_HOME = {
    "Face": "facecli.pipeline",
    "Image": "facecli.images",
    "Mesh": "facecli.mesh",
    "Reconstructor": "facecli.pipeline",
    "read_image": "facecli.images",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'facecli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
