"""`slicing-rllib library list|show|add|remove`"""

from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json, Run

app = typer.Typer(
    no_args_is_help=True,
    help="Manages a policy library: bundles of trained policies for other runs and networks.",
)
Library = Annotated[
    str,
    typer.Argument(
        metavar="LIBRARY", help="The library: a folder, or a URI such as s3://bucket/path."
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a bundle.")]


@app.command("list")
def list_bundles(library: Library, json: Json = False) -> None:
    """Prints a table of the bundles: versions, reward in their own network, slices and origin.

    Example: slicing-rllib library list policies
    """
    from slicing_rllib.service.console import make_library_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.transfer import PolicyLibrary

    opened = PolicyLibrary(library)
    rows = [
        opened.read_manifest(name, versions[-1]) | {"versions": versions}
        for name, versions in opened.list_versions().items()
    ]
    if json:
        print_json({"bundles": rows})
    else:
        stdout.print(make_library_table(rows))


@app.command()
def show(
    library: Library,
    name: Name,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Default: the newest version.")
    ] = None,
    json: Json = False,
) -> None:
    """Prints the manifest of a bundle, always as JSON.

    Example: slicing-rllib library show policies city-cell_3
    """
    from slicing_rllib.service.console import print_json
    from slicing_rllib.transfer import PolicyLibrary

    print_json(PolicyLibrary(library).read_manifest(name, version))


@app.command()
def add(
    library: Library,
    run: Run,
    cell: Annotated[
        list[str] | None,
        typer.Option(help="Cell whose policy is added. May be repeated. Default: all cells."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="First part of the bundles' names, NAME-CELL. Default: the run's name."),
    ] = None,
    json: Json = False,
) -> None:
    """Adds the policies of a finished run to a library, each as a new version of its bundle.

    A bundle also holds the cell's transitions, for replay buffers and for similarity measures.
    Prints the name and version of each bundle.

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
def remove(
    library: Library,
    name: Name,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Default: all versions.")
    ] = None,
    json: Json = False,
) -> None:
    """Deletes one version of a bundle, or all of them, and prints which.

    Example: slicing-rllib library remove policies city-cell_3 --version 1
    """
    from slicing_rllib.service.console import print_json
    from slicing_rllib.transfer import PolicyLibrary

    removed = PolicyLibrary(library).remove(name, version)
    if json:
        print_json({"name": name, "removed": removed})
    else:
        typer.echo(f"{name}: removed {', '.join(f'version {number}' for number in removed)}")
