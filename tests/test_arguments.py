"""What several commands have in common on the command line."""

import pytest
from typer.main import get_command

from facecli.arguments import words
from facecli.cli import app

COMMANDS = get_command(app).commands


@pytest.mark.parametrize(
    ("text", "told"),
    [("obj,ply", ("obj", "ply")), (" GLB, ", ("glb",)), ("", ()), (" , ,", ()), ("a b", ("a b",))],
)
def test_words_are_parted_by_commas_in_any_case(text: str, told: tuple[str, ...]) -> None:
    assert words(text) == told


@pytest.mark.parametrize("option", ["--format", "--device", "--focal", "--quiet", "--verbose", "--preview"])
def test_an_option_means_the_same_in_every_command(option: str) -> None:
    ways = {
        (tuple(parameter.opts), parameter.help, parameter.metavar, parameter.envvar)
        for command in COMMANDS.values()
        for parameter in command.params
        if option in parameter.opts
    }
    assert len(ways) == 1
