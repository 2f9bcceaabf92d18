"""Every error that facecli raises on purpose.

    FaceError
    ├── ImageError          one input is not a picture that can be decoded            exit 1
    ├── InputError          one input is missing, unreadable or not a file            exit 1
    ├── UsageError          the command was asked for something that makes no sense   exit 2
    ├── DeviceError         the device asked for is not there                         exit 2
    ├── WeightsError        the weights are missing, damaged or of another version    exit 2
    ├── WorkerError         worker processes cannot be started                        exit 2
    └── OutputError         results cannot be written                                 exit 2
        └── FolderTakenError    one result's folder holds something else's files      exit 1

`exit_code` says what the error means for a batch: 1 spoils one input and the rest go on, 2 ends the run.
Messages say what went wrong, with which file, and what to do about it.
"""

from typing import ClassVar


class FaceError(Exception):
    """Base of all errors raised on purpose; `except FaceError` catches exactly those."""

    exit_code: ClassVar[int] = 2


class ImageError(FaceError):
    """The bytes of one input cannot be decoded into a picture."""

    exit_code = 1


class InputError(FaceError):
    """One named input is missing, unreadable or not a regular file."""

    exit_code = 1


class UsageError(FaceError):
    """The request contradicts itself or names something unknown."""


class DeviceError(FaceError):
    """The compute device asked for cannot be used."""


class WeightsError(FaceError):
    """The weights are missing, fail their hash, or belong to another version."""


class WorkerError(FaceError):
    """Worker processes die before they can take a photo."""


class OutputError(FaceError):
    """A result cannot be written: no space, no permission, not a folder."""


class FolderTakenError(OutputError):
    """The folder of one result holds files that facecli did not write; they are left alone."""

    exit_code = 1
