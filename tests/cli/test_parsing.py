"""What the command line refuses before any command runs."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import get_type_hints

import pytest

from topomap.cli import _kinds, main
from topomap.cli.commands import COMMANDS

WHOLE = [
    (command.__name__, f"--{name.replace('_', '-')}", kind)
    for command in COMMANDS
    for name in signature(command).parameters
    if int in _kinds(kind := get_type_hints(command)[name])
]


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    return told.err.removeprefix("topomap: error: ").rstrip("\n")


def test_options_that_are_whole_numbers() -> None:
    names = {f"{command} {option}" for command, option, _ in WHOLE}
    assert {"patterns --min-samples", "bias --n-permutations", "film --size", "record --batch-size"} <= names
    assert not names & {"plot --dpi", "plot --width", "bias --alpha", "film --fps"}


@pytest.mark.parametrize(("command", "option", "kind"), WHOLE)
def test_decimals_are_refused_where_a_whole_number_is_meant(
    command: str, option: str, kind: object, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [] if kind in (int, int | None) else ["4"]
    for value in ("2.5", "2.0", "ten"):
        told = refused(capsys, command.replace("_", "-"), option, value, *more)
        assert told == f"{option} must be a whole number; got {value!r}."


def test_decimals_in_a_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[patterns]\nmin_samples = 2.5\nseed = 3\n")
    assert "[patterns] min_samples" in refused(capsys, "--config", file, "patterns", "run")
    file.write_text("[patterns]\nmin_samples = 2\n")
    told = refused(capsys, "--config", file, "patterns", "run", "--seed", "2.5")
    assert told == "--seed must be a whole number; got '2.5'."


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["patterns", "run", "--by", "label", "camera", "--n", "3"],
            "'camera' belongs to no option. Columns are joined by commas: --by label,camera; or give the option again: "
            "--by label --by camera.",
        ),
        (
            ["bias", "run", "--by", "group", "--within", "label", "site", "age", "--seed", "1"],
            "'site', 'age' belong to no option. Columns are joined by commas: --within label,site,age.",
        ),
        (["patterns", "run", "--by", "label", "--stability", "yes"], "'yes' belongs to no option."),
        (["info", "run", "other"], "'other' belongs to no option."),
    ],
)
def test_words_that_are_left_over(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, *words) == expected
