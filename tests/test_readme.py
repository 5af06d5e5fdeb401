"""What the README shows is run."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

import topomap
from topomap.cli import commands, make_app
from topomap.cli.config import read_config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = blocks("python")
    assert code
    exec(compile("\n".join(code), "README.md", "exec"), {})
    saved = re.findall(r'save_figure\(\w+, "(.+?)"\)', "\n".join(code))
    assert saved
    for name in saved:
        written = (tmp_path / name).read_bytes()
        assert len(written) > 10_000
        assert b"/Type3" not in written  # text that can be searched and edited


def test_commands_parse(tmp_path: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("topomap ")]
    assert {line.split()[1] for line in lines} == {
        *("layers", "record", "embed", "plot", "compare", "patterns", "bias", "errors", "film", "info")
    }
    for line in lines:
        words = shlex.split(line)[1:]
        if "--config" not in words:
            make_app().parse_args(words, exit_on_error=False, print_error=False)


def test_toml_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "topomap.toml").write_text(text)
    tables = read_config(tmp_path / "topomap.toml", {command.__name__: command for command in commands.COMMANDS})
    assert tables.keys() == tomllib.loads(text).keys()


def test_two_commands() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if "venv" in line]
    assert len(lines) == 2
    demo, test = (line.split(" && ") for line in lines)
    assert demo[-1] == ".venv/bin/topomap demo"
    assert test[-1] == ".venv/bin/pytest"
    for words in (demo, test):
        assert words[0] == "python3 -m venv .venv"
        assert words[1].startswith(".venv/bin/pip install -c constraints.txt ")


def test_every_named_type_exists() -> None:
    names = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert len(names) > 6
    assert [name for name in names if name not in topomap.__all__] == []


def test_links_to_files_exist() -> None:
    for name in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / name).is_file(), name


def test_constraints_pin_every_requirement() -> None:
    from importlib.metadata import requires

    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    names = [re.split(r"[^\w.-]", text)[0] for text in requires("topomap") or ()]
    missing = [name for name in names if re.sub(r"[-_.]+", "-", name).lower() not in pinned]
    assert missing == []
    assert pinned["torch"] == "2.13.0"
