"""The whole `facecli` command with a stand-in for the network: run as a program by test_cli, test_runs and test_kill.

A photo has as many faces as it is rows higher than 40. Its width says what befalls its worker, see StandIn.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from facecli import cli
from facecli.errors import OutputError, WeightsError
from facecli.inputs import Input
from facecli.options import Settings
from facecli.outcome import Outcome
from facecli.store import Writer

if TYPE_CHECKING:
    from facecli.images import Image


@dataclass(frozen=True)
class StandInFace:
    seconds: Mapping[str, float] = field(default_factory=dict)


class StandIn:
    def reconstruct(self, image: "Image") -> list[StandInFace]:
        if "SEEN" in os.environ:
            with open(os.environ["SEEN"], "a") as file:  # noqa: PTH123  appends a line in one write
                file.write(f"{image.width}\n")
        match image.width:
            case 70:
                Path(os.environ["STARTED"]).touch()
                time.sleep(float(os.environ.get("MINUTE", "60")))
            case 71:
                os.write(1, b"EP Error: Falling back\n")
            case 72:
                raise ZeroDivisionError("of all things")
            case 73:
                os.kill(os.getpid(), signal.SIGSEGV)
            case 74:
                os._exit(3)
            case 75:
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                while True:
                    time.sleep(1)
            case 76:
                hoard = []
                while True:
                    hoard.append(bytes(1 << 26))
            case 77:
                raise OutputError("cannot write: No space left on device")
            case 78:
                time.sleep(0.02)
            case 79:  # once: whoever started the worker dies
                if not Path(os.environ["KILLED"]).exists():
                    Path(os.environ["KILLED"]).touch()
                    os.kill(os.getppid(), signal.SIGKILL)
                    time.sleep(60)
        return [StandInFace()] * (image.height - 40)


def start(settings: Settings, threads: int, writer: Writer) -> Callable[[Input], Outcome]:
    match os.environ.get("START"):
        case "refuses":
            raise WeightsError("the weights are damaged: expected sha256 00, found 01")
        case "dies":
            os._exit(5)
    from facecli.worker import do_photo

    writer.hold()
    options = settings.options

    def files_of(face: StandInFace, index: int, image: "Image", name: str) -> dict[str, bytes]:
        said = f"{settings.device} {settings.focal} {settings.detail} {','.join(options.formats)} "
        return {"result.json": f"{said}{options.maps} {options.preview}".encode(), "big": bytes(100_000)}

    return partial(do_photo, reconstructor=StandIn(), files_of=files_of, writer=writer)


if __name__ == "__main__":
    cli._prepare = lambda settings: (start, os.environ.get("WEIGHTS", "some weights"))
    cli.main()
