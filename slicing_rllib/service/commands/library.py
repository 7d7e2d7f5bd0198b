"""`slicing-rllib library list|show|add|remove`"""

from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Run

app = typer.Typer(
    no_args_is_help=True,
    help="Policies kept for other runs and networks: a folder, or a URI such as s3://bucket/path.",
)
Library = Annotated[str, typer.Argument(metavar="LIBRARY", help="A folder, or a URI.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of a bundle.")]
Version = Annotated[int | None, typer.Option("--version", min=1, help="Default: the newest.")]


@app.command("list")
def list_bundles(library: Library, json: Json = False) -> None:
    """Bundles, their versions, and what each was worth where it learned.

    Example: slicing-rllib library list policies
    """
    from slicing_rllib.service.console import library_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.transfer import PolicyLibrary

    there = PolicyLibrary(library)
    rows = [
        there.manifest(name, versions[-1]) | {"versions": versions}
        for name, versions in there.names().items()
    ]
    if json:
        print_json({"bundles": rows})
    else:
        stdout.print(library_table(rows))


@app.command()
def show(library: Library, name: Name, version: Version = None) -> None:
    """All that is known of a bundle, as JSON.

    Example: slicing-rllib library show policies city-cell_3
    """
    from slicing_rllib.service.console import print_json
    from slicing_rllib.transfer import PolicyLibrary

    print_json(PolicyLibrary(library).manifest(name, version))


@app.command()
def add(
    library: Library,
    run: Run,
    cell: Annotated[
        list[str] | None, typer.Option(help="May be repeated. Default: all cells.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Bundles are NAME-CELL. Default: the run's name.")
    ] = None,
    json: Json = False,
) -> None:
    """Adds the policies of a finished run, with experience to learn from and to be compared by.

    Example: slicing-rllib library add policies runs/seed7 --cell cell_3 --name city
    """
    from slicing_rllib.service.console import print_json
    from slicing_rllib.service.runs.policy_bundles import add_run
    from slicing_rllib.service.runs.run_directory import RunDirectory
    from slicing_rllib.transfer import PolicyLibrary

    added = add_run(PolicyLibrary(library), RunDirectory.open(run), cell, name)
    if json:
        print_json({"added": [{"name": bundle, "version": number} for bundle, number in added]})
        return
    for bundle, number in added:
        typer.echo(f"{bundle} version {number}")


@app.command()
def remove(library: Library, name: Name, version: Version = None, json: Json = False) -> None:
    """Deletes a version of a bundle, or all of them.

    Example: slicing-rllib library remove policies city-cell_3 --version 1
    """
    from slicing_rllib.service.console import print_json
    from slicing_rllib.transfer import PolicyLibrary

    removed = PolicyLibrary(library).remove(name, version)
    if json:
        print_json({"name": name, "removed": removed})
    else:
        typer.echo(f"{name}: removed {', '.join(f'version {number}' for number in removed)}")
