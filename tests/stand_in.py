"""The whole `facecli` command with a stand-in for the network: run as a program by test_cli.

A photo has as many faces as it is rows higher than 40. Width 70 takes a minute, width 71 makes a native
library talk on stdout, width 72 is a bug in the code.
"""

import os
import time
from pathlib import Path

from facecli import cli
from facecli.images import Image
from facecli.options import Options


class StandIn:
    def reconstruct(self, image: Image) -> list[str]:
        if image.width == 70:
            Path(os.environ["STARTED"]).touch()
            time.sleep(60)
        if image.width == 71:
            os.write(1, b"EP Error: Falling back\n")
        if image.width == 72:
            raise ZeroDivisionError("of all things")
        return ["face"] * (image.height - 40)


def prepare(device: str, focal: float | None, detail: bool, options: Options) -> tuple[object, object]:
    def files_of(face: str, index: int, image: Image, name: str) -> dict[str, bytes]:
        said = f"{device} {focal} {detail} {','.join(options.formats)} {options.maps} {options.preview}"
        return {"result.json": said.encode()}

    return StandIn(), files_of


if __name__ == "__main__":
    cli._prepare = prepare
    cli.main()
