import inspect

import pytest

from facecli import errors


def all_errors() -> list[type[errors.FaceError]]:
    return [
        member
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if issubclass(member, errors.FaceError)
    ]


@pytest.mark.parametrize("error", all_errors())
def test_every_error_is_drawn_in_the_tree_and_explained(error: type[errors.FaceError]) -> None:
    assert error.__name__ in (errors.__doc__ or "")
    assert error.__doc__


def test_errors_of_one_photo_exit_1_and_errors_of_the_run_exit_2() -> None:
    codes = {error.__name__: error.exit_code for error in all_errors()}
    assert codes == {
        "FaceError": 2,
        "ImageError": 1,
        "InputError": 1,
        "FolderTakenError": 1,
        "UsageError": 2,
        "DeviceError": 2,
        "WeightsError": 2,
        "WorkerError": 2,
        "OutputError": 2,
    }
