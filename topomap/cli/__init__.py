"""The command line: ``topomap record``, ``embed``, ``plot``, ``patterns`` and the other verbs.

One function per command, in `topomap.cli.commands`, with the parameters of the Python verbs. ``--config FILE`` reads
parameters from the tables of a TOML file; what stands on the command line goes before what stands in the file.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from cyclopts import App, ArgumentCollection, CycloptsError, Group, Parameter, UnusedCliTokensError
from cyclopts.config import Dict

from topomap import __version__
from topomap._check import TopomapWarning, listing
from topomap.cli import commands

#: Exit codes: what the user can mend, and Ctrl-C (128 + SIGINT, as shells count).
MISTAKE, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; errors that a user can mend take one line on stderr.

    Parameters
    ----------
    argv
        What follows ``topomap``; by default that of the process.

    Returns
    -------
    int
        0, or 2 for a mistake, or 130 after Ctrl-C.

    Examples
    --------
    >>> main(["--version"])
    0.1.0
    0
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, TopomapWarning):
                print(f"topomap: warning: {message}", file=sys.stderr)
            else:
                shown(message, category, *rest, **more)

        warnings.showwarning = show
        try:
            make_app().meta(tokens, result_action="return_value", exit_on_error=False, print_error=False)
        except KeyboardInterrupt as stop:
            kept = f": {stop}" if stop.args else "; nothing was kept"  # record says what it kept
            print(f"topomap: interrupted{kept}", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            # the reader (head, less) has gone; keep Python from complaining again when it flushes at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (CycloptsError, ValueError, OSError) as error:
            if "--debug" in tokens:
                raise
            print(f"topomap: error: {_one_line(error, tokens)}", file=sys.stderr)
            return MISTAKE
    return 0


def make_app() -> App:
    """Return the application, with nothing read and nothing run.

    Returns
    -------
    cyclopts.App
        With one command per verb.

    Examples
    --------
    >>> "record" in make_app()
    True
    """
    app = App(
        name="topomap",
        help="Topographic maps of neural network activations.",
        help_epilogue=_as_is(commands.EXAMPLES["topomap"]),
        help_format="markdown",
        version=__version__,
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,
        config=_check_whole,
    )
    for place, command in enumerate(commands.COMMANDS):
        app.command(command, help_epilogue=_as_is(commands.EXAMPLES[command.__name__]), sort_key=place)
    app.meta.suppress_keyboard_interrupt = False  # main says what was kept
    app.meta.group_parameters = Group("Common parameters", sort_key=99)

    @app.meta.default
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Path | None = None,
        debug: bool = False,
    ) -> Any:
        """Run a command.

        Parameters
        ----------
        config
            A TOML file with one table per command, e.g. [record]; its keys are the command's parameters, written
            with underscores. The command line goes before it.
        debug
            Show where an error came from.
        """
        del debug  # read by main, so that it also covers errors of parsing
        if config is not None:
            from topomap.cli.config import read_config

            tables = read_config(config, {command.__name__: command for command in commands.COMMANDS})
            app.config = (_check_whole, Dict(tables, source=str(config)))
        return app(tokens, result_action="return_value", exit_on_error=False, print_error=False)

    return app


def _check_whole(app: App, command: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse decimals where a whole number is meant: cyclopts rounds them without a word."""
    for argument in arguments:
        if int in _kinds(argument.hint):
            for token in argument.tokens:
                if not re.fullmatch(r"[+-]?\d+", token.value):
                    raise ValueError(f"{token.keyword} must be a whole number; got {token.value!r}.")


def _kinds(hint: Any) -> set[Any]:
    """Return the types inside a type: of ``tuple[int, int] | None`` int and NoneType."""
    inside = get_args(hint)
    return set().union(*map(_kinds, inside)) if inside else {hint}


#: What is written to before a run folder or a figure gets its name, with all inside.
_HIDDEN = re.compile(r"/\.(?:(?P<run>[^/]+)\.topomap-(?:partial|old)|(?P<file>[^/]+)-[0-9a-f]{8}\.\w+)(?:/.*)?$")


def _named(found: re.Match[str]) -> str:
    return f"/{found['run'] or found['file']}"


def _as_is(text: str) -> str:
    """Keep the lines of a text where markdown would join them."""
    return f"```text\n{text}\n```"


def _left_over(error: UnusedCliTokensError, tokens: Sequence[str]) -> str:
    """Say which words belong to no option, and how several columns are given."""
    left = error.unused_tokens or []
    text = f"{listing(left)} belong{'s' * (len(left) == 1)} to no option."
    at = max((i for i, token in enumerate(tokens) if token in ("--by", "--within")), default=-1)
    columns = list(takewhile(lambda token: not token.startswith("-"), tokens[at + 1 :]))
    if at < 0 or not set(left) & set(columns):
        return text
    option = tokens[at]
    hint = f"Columns are joined by commas: {option} {','.join(columns)}"
    several = get_args(get_type_hints(error.target).get(option[2:]))
    again = f"; or give the option again: {' '.join(f'{option} {each}' for each in columns)}"
    return f"{text} {hint}{again if list[str] in several else ''}."


def _one_line(error: BaseException, tokens: Sequence[str]) -> str:
    if isinstance(error, UnusedCliTokensError):
        return _left_over(error, tokens)
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return f"{_HIDDEN.sub(_named, str(error.filename))}: {error.strerror}"
    return " ".join(str(error).split())
