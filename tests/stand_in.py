"""The whole `facecli` command with a stand-in for the network: run as a program by test_cli, test_runs and test_kill.

A photo has as many faces as it is rows higher than 40. Its width says what befalls its worker, see StandIn.
HANDFUL in the environment: so many photos at once, as for a GPU.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facecli import cli, machine
from facecli.errors import OutputError, WeightsError
from facecli.inputs import Input
from facecli.options import Settings
from facecli.outcome import Outcome
from facecli.store import Writer

if TYPE_CHECKING:
    from facecli.clock import Clock
    from facecli.handful import Result, Steps
    from facecli.images import Image

HANDFUL = int(os.environ.get("HANDFUL", "1"))


@dataclass(frozen=True)
class StandInFace:
    """There is nothing to it."""


class StandIn:
    gpu_seconds = 0.0

    def steps(self, image: "Image", clock: "Clock") -> "Steps[list[StandInFace]]":
        import numpy as np

        from facecli.handful import Ask

        if image.width not in range(73, 78):  # these fall over before their batch, a bug comes after it
            yield Ask(np.zeros((1, 512, 512, 3), np.uint8), image.width * image.height)
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

    def together(self, tasks: "Iterable[Steps[Result]]") -> "Iterator[Result]":
        from facecli.handful import in_step

        return in_step(tasks, self, 0 if HANDFUL == 1 else 1_000_000)

    def run(self, crops: Any) -> list[Any]:
        return [None] * len(crops)


def start(settings: Settings, threads: int, writer: Writer) -> Callable[[Sequence[Input]], Iterator[Outcome]]:
    match os.environ.get("START"):
        case "refuses":
            raise WeightsError("the weights are damaged: expected sha256 00, found 01")
        case "dies":
            os._exit(5)
    from facecli.worker import do_photos

    writer.hold()
    options = settings.options

    def files_of(face: StandInFace, index: int, image: "Image", name: str) -> dict[str, bytes]:
        said = f"{settings.device} {settings.focal} {settings.detail} {','.join(options.formats)} "
        return {"result.json": f"{said}{options.maps} {options.preview}".encode(), "big": bytes(100_000)}

    return partial(do_photos, reconstructor=StandIn(), files_of=files_of, writer=writer)


if __name__ == "__main__":
    machine.default_handful = lambda device, timeout: HANDFUL
    cli._prepare = lambda settings: (start, os.environ.get("WEIGHTS", "some weights"))
    cli.main()
