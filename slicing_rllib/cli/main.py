"""The command line: runs a command and turns errors into one line and a code."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer import Option

from slicing_rllib.cli import (
    cluster_commands,
    input_commands,
    run_commands,
    serving_commands,
    study_commands,
    transfer_commands,
)
from slicing_rllib.runs.interruption import INTERRUPTED

DONE, FAILED, USAGE = 0, 1, 2
PROGRAM = "slicing-rllib"
ALLOW_PARTS = "--allow-parts"

app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Trains one TD3 policy per cell for network slicing, on Ray RLlib, with transfer between "
    "cells. Exit codes: 0 done, 1 failed, 2 wrong usage or config, 130 interrupted. "
    "Example: slicing-rllib train quick",
)
app.command()(run_commands.train)
app.command()(run_commands.evaluate)
app.command()(transfer_commands.similarity)
app.command()(transfer_commands.transfer)
app.command()(study_commands.experiment)
app.command()(transfer_commands.pretrain)
app.command()(run_commands.report)
app.command()(run_commands.export_kpis)
app.command()(study_commands.sweep)
app.command()(cluster_commands.submit)
app.command()(cluster_commands.monitor)
app.command()(serving_commands.export)
app.command()(serving_commands.serve)
app.command()(serving_commands.release)
app.command("closed-loop")(serving_commands.closed_loop)
app.add_typer(transfer_commands.library_app, name="library")
app.add_typer(run_commands.checkpoint_app, name="checkpoint")
app.add_typer(run_commands.config_app, name="config")
app.add_typer(input_commands.traffic_app, name="traffic")
app.add_typer(input_commands.scenario_app, name="scenario")
app.add_typer(cluster_commands.cluster_app, name="cluster")
app.add_typer(study_commands.bench_app, name="bench")


def _print_version(is_requested: bool) -> bool:
    if is_requested:
        from importlib.metadata import version

        typer.echo(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit
    return is_requested


@app.callback()
def _root(
    version: Annotated[
        bool,
        Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Prints the version and exits.",
        ),
    ] = False,
    allowed: Annotated[
        list[str] | None,
        Option(
            ALLOW_PARTS,
            metavar="MODULE",
            help="Module of own parts that run directories and bundles may import. May stand "
            "anywhere, and more than once.",
        ),
    ] = None,
) -> None:
    """The options of all commands."""
    from slicing_rllib.registry import allow_parts

    if allowed:
        allow_parts(allowed)
    # Own parts mostly lie beside the config, in the working directory.
    if (folder := os.getcwd()) not in sys.path:
        sys.path.append(folder)


def _put_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with ALLOW_PARTS, wherever it stands before `--`, at the beginning."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    first, others = list[str](), list[str]()
    before = iter(arguments[:end])
    for argument in before:
        if argument == ALLOW_PARTS:
            first += [argument, *(value for value in [next(before, None)] if value is not None)]
        else:
            (first if argument.startswith(f"{ALLOW_PARTS}=") else others).append(argument)
    return [*first, *others, *arguments[end:]]


def run(arguments: list[str]) -> int:
    """Runs a command, without the program's name, and returns its exit code.

    0 done, 1 failed, 2 wrong usage or config, 130 interrupted. An error is one line on stderr.
    """
    try:
        command = typer.main.get_command(app)
        code = command.main(_put_first(arguments), prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        # Usage errors know their command, but Typer exports no name of their class.
        context: typer.Context | None = getattr(error, "ctx", None)
        hint = f" ({context.command_path} --help explains the usage)" if context else ""
        message = error.format_message()
        # A group without a command has printed its help.
        return _fail(f"{message}{hint}", error.exit_code) if message else error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Python flushes stdout at exit, which would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        # The outermost caller: whatever went wrong, the user gets one line and not a traceback.
        from slicing_rllib.policies import PolicyError
        from slicing_rllib.storage.errors import ConfigError, Interrupted, RunError
        from slicing_rllib.transfer import LibraryError

        codes = {ConfigError: USAGE, Interrupted: INTERRUPTED}
        if isinstance(error, (ConfigError, RunError, LibraryError, PolicyError)):
            return _fail(str(error), codes.get(type(error), FAILED))
        if os.environ.get("SLICING_RLLIB_DEBUG"):
            raise
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        return _fail(f"{kind}{error} (SLICING_RLLIB_DEBUG=1 shows the traceback)", FAILED)
    if code == INTERRUPTED:  # Typer's code for a KeyboardInterrupt inside of a command.
        return _fail("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else DONE


def _fail(message: str, code: int) -> int:
    from slicing_rllib.storage import make_printable

    typer.echo(f"{PROGRAM}: {make_printable(message)}", err=True)
    return code
