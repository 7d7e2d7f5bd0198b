"""`slicing-rllib rollout`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def rollout(
    library: Annotated[
        str,
        typer.Argument(metavar="LIBRARY", help="The policy library: a folder or a URI."),
    ],
    version: Annotated[
        int | None,
        typer.Option("--version", min=1, help="Version of every bundle. Default: the newest."),
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME@VERSION", help="Version of one bundle. May be repeated."),
    ] = None,
    canary: Annotated[
        int | None,
        typer.Option(min=1, help="Version for a share of the bundles; others stay."),
    ] = None,
    share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the bundles for --canary.")
    ] = 0.1,
    shadow: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Version that answers for comparison only; the live versions stay as they are.",
        ),
    ] = None,
    back: Annotated[bool, typer.Option(help="Goes back to the release before.")] = False,
    run: Annotated[
        Path | None,
        typer.Option(help="Run whose policies are added to the library first, as a new version."),
    ] = None,
    name: Annotated[
        str,
        typer.Option(help="First part of the bundles' names, NAME-CELL. Default: all bundles."),
    ] = "",
    url: Annotated[
        str | None,
        typer.Option(help="Service that follows the library: waits until it serves the release."),
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=0.0, help="Longest time to wait.")] = 120.0,
    json: Json = False,
) -> None:
    """Changes which versions of a library's policies are served, without a restart.

    Services that were started as `slicing-rllib serve LIBRARY` follow within a second or two. All
    policies of the release are loaded and checked before anything changes. With --url, waits until
    all replicas serve the release, and restores the one before if they do not (exit code 1).

    Examples:

      slicing-rllib rollout policies --run runs/nightly --name city --url http://127.0.0.1:8000

      slicing-rllib rollout policies --canary 4 --share 0.25

      slicing-rllib rollout policies --back
    """
    from slicing_rllib.service.console import out, print_json
    from slicing_rllib.service.errors import ConfigError, RunError
    from slicing_rllib.service.runs.policy_bundles import add_run
    from slicing_rllib.service.runs.run_directory import RunDirectory
    from slicing_rllib.transfer import PolicyLibrary

    try:
        from slicing_rllib.service.serving.versions.release import make_change
        from slicing_rllib.service.serving.versions.rollout import roll_out
    except ModuleNotFoundError as error:
        raise RunError(
            f'rollout: the package {error.name} is missing; pip install "slicing-rllib[serve]"'
        ) from error

    if back and (version or pin or canary or shadow or run):
        raise ConfigError("rollout: --back goes with no other change")
    if run is not None:
        add_run(PolicyLibrary(library), RunDirectory.open(run), None, name or None)
    change = make_change(
        version=version, pins=pin or (), canary=canary, share=share, shadow=shadow, back=back
    )
    result = roll_out(library, change, url, timeout_s, name)
    if json:
        release = result.release.model_dump()
        print_json({"revision": result.revision, "release": release, "policies": result.policies})
        return
    out.print(f"revision {result.revision}")
    for policy, number in result.policies.items():
        out.print(f"{policy}@{number}")
