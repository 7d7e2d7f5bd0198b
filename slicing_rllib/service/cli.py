"""The command line: finds the command, and turns failures into one line and an exit code."""

import os
import sys
from typing import Annotated, Any

import typer

from slicing_rllib.service.commands import (
    cluster,
    config,
    evaluate,
    experiment,
    library,
    monitor,
    report,
    serve,
    similarity,
    submit,
    sweep,
    train,
    transfer,
)

# Typer brings its own Click, under a private name.
UsageError: Any = typer.BadParameter.__mro__[1]
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="slicing-rllib",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="One TD3 policy per cell for network slicing, on Ray RLlib, with transfer between cells.",
)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(similarity.similarity)
app.command()(transfer.transfer)
app.command()(experiment.experiment)
app.command()(report.report)
app.command()(sweep.sweep)
app.command()(submit.submit)
app.command()(monitor.monitor)
app.command()(serve.serve)
app.add_typer(library.app, name="library")
app.add_typer(config.app, name="config")
app.add_typer(cluster.app, name="cluster")


def _version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"slicing-rllib {version('slicing-rllib')}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Prints it, ends.")
    ] = False,
) -> None:
    """Common to all commands."""


def run(arguments: list[str]) -> int:
    """The exit code: 0 done, 1 failed, 2 wrong usage or config, 130 interrupted."""
    try:
        code = typer.main.get_command(app).main(arguments, standalone_mode=False)
    except UsageError as error:
        where = f" ({error.ctx.command_path} --help says more)" if error.ctx else ""
        return _failed(f"{error.format_message()}{where}", USAGE)
    except (typer.Abort, KeyboardInterrupt):
        return _failed("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        return _failed(*_line_of(error))
    return code if isinstance(code, int) else DONE


def _line_of(error: Exception) -> tuple[str, int]:
    """What a user reads, and the exit code."""
    from slicing_rllib.service.errors import ConfigError, Interrupted, RunError
    from slicing_rllib.transfer import LibraryError

    if isinstance(error, ConfigError):
        return str(error), USAGE
    if isinstance(error, LibraryError):
        return str(error), FAILED
    if isinstance(error, RunError):
        return str(error), INTERRUPTED if isinstance(error, Interrupted) else FAILED
    if os.environ.get("SLICING_RLLIB_DEBUG"):
        raise error
    kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
    return f"{kind}{error} (SLICING_RLLIB_DEBUG=1 shows where)", FAILED


def _failed(message: str, code: int) -> int:
    typer.echo(f"slicing-rllib: {' '.join(message.split())}", err=True)
    return code
