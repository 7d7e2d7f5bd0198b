"""`slicing-rllib traffic check`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slicing_rllib.service.commands.options import Json

if TYPE_CHECKING:
    from slicing_rllib.radio import MaskTarget, TraceMask

app = typer.Typer(no_args_is_help=True, help="Checks files of measured traffic.")


@app.callback()
def _root() -> None:
    """Keeps `check` a subcommand although it is the only one."""


@app.command()
def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file of measured traffic.")
    ],
    config: Annotated[
        str,
        typer.Option(
            help="Config of the network that the traffic is for: a YAML file, paper or quick."
        ),
    ] = "paper",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="How to read the file: a setting of scenario.mask, such as unit=percent or "
            "columns.slice_1=voice. May be repeated.",
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Picture to write. Default: FILE with .png at its end.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="YAML file to write the settings to, for `evaluate --traffic` and `scenario "
            "from-sites --traffic`. An existing one is replaced."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Prints what was understood of a traffic file, and draws it.

    Recognised are separator, decimal comma, byte-order mark and the usual forms of times. The
    settings at the end can be pasted into a config. The exit code is 2, with one line that says
    where and why, if the file cannot be used.

    Examples:

      slicing-rllib traffic check week.csv --config mine.yaml

      slicing-rllib traffic check week.csv --set unit=mbps --set columns.slice_1=voice
        --set timezone=Europe/Berlin --set gaps=linear --set speed=600 --out traffic.yaml
    """
    from slicing_rllib.service.config import load_config
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.console import print_json
    from slicing_rllib.service.errors import ConfigError
    from slicing_rllib.service.traffic_files.check import describe_traffic_file, format_lines
    from slicing_rllib.service.traffic_files.settings import format_mask_yaml, make_trace_mask

    loaded = load_config(config)
    target = loaded.scenario.mask_target
    mask = make_trace_mask(file, loaded.scenario.mask, settings or [])
    try:
        found = describe_traffic_file(mask, target, loaded.total_steps)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    found["picture"] = str(_draw(mask, target, picture or file.with_name(f"{file.name}.png")))
    if out is not None:
        _write_settings(out, format_mask_yaml(mask, out.parent), file.name)
    if json:
        print_json(found)
        return
    for line in format_lines(found):
        stdout.print(line, highlight=False, markup=False, soft_wrap=True)
    stdout.print(_make_slices_table(found))
    stdout.print(format_mask_yaml(mask), highlight=False, markup=False, soft_wrap=True)
    if out is not None:
        stdout.print(f"settings: {out}", highlight=False, markup=False, soft_wrap=True)
    stdout.print(f"picture: {found['picture']}", highlight=False, markup=False, soft_wrap=True)


def _write_settings(path: Path, text: str, source: str) -> None:
    from slicing_rllib.service.errors import RunError

    heading = f"# Made by `slicing-rllib traffic check` from {source}."
    try:
        path.write_text(f"{heading}\n{text}\n", encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path}: cannot write the settings ({error.strerror})") from error


def _make_slices_table(found: dict[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="share of UEs that are active")
    table.add_column("slice", no_wrap=True)
    table.add_column("in the file", overflow="fold")
    for heading in ("mean", "lowest", "highest", "busy hour"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found["slices"]:
        columns = ", ".join(row["columns"][:3]) + (" ..." if len(row["columns"]) > 3 else "")
        hour = "" if row["busy_hour"] is None else f"{row['busy_hour']:02}:00"
        levels = (f"{row[key]:.3f}" for key in ("mean", "lowest", "highest"))
        table.add_row(escape(row["slice"]), escape(columns), *levels, hour)
    return table


def _draw(mask: "TraceMask", target: "MaskTarget", path: Path) -> Path:
    """Writes the picture of the file."""
    import numpy as np

    from slicing_rllib.evaluation.traffic_figures import draw_traffic
    from slicing_rllib.service.errors import RunError
    from slicing_rllib.service.traffic_files.check import compute_hourly_profile

    trace = mask.read(target)
    rows = np.arange(len(trace.shares), dtype=float)
    if trace.start_s is not None and trace.row_s:
        at, label = rows * trace.row_s / 86_400, f"days after {trace.describe_time(0)}"
    else:
        at, label = rows, "row of the file"
    names = [spec.name for spec in target.slices]
    figure = draw_traffic(names, trace.shares, at, label, compute_hourly_profile(trace))
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot write the picture ({error})") from error
    return path
