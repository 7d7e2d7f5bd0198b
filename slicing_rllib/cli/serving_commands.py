"""The commands that export and serve policies, release their versions, and close the loop."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from slicing_rllib.cli.console import (
    Json,
    Library,
    ProgressBar,
    Run,
    explain_missing_packages,
    open_run,
    print_result,
    print_url,
)
from slicing_rllib.storage.errors import ConfigError

Version = Annotated[
    int | None,
    Option(min=1, help="Version of every bundle. Default: newest; serve follows a release."),
]
Pin = Annotated[
    list[str] | None, Option(metavar="NAME@VERSION", help="Version of one bundle. May be repeated.")
]
CanaryVersion = Annotated[
    int | None, Option(min=1, help="Version for a share of the bundles; others stay.")
]
CanaryShare = Annotated[
    float, Option(min=0.001, max=1.0, help="Share of the bundles for --canary.")
]
Shadow = Annotated[
    int | None, Option(min=1, help="Version that answers beside the live one, for comparison only.")
]
TokenFile = Annotated[
    Path | None,
    Option(
        help="File with the bearer token that callers must present. Default: the environment "
        "variable SLICING_RLLIB_SERVE_TOKEN."
    ),
]


def export(
    source: Annotated[
        str,
        Argument(
            metavar="RUN_OR_LIBRARY",
            help="A run directory, or a policy library: a folder or a URI.",
        ),
    ],
    cell: Annotated[
        list[str] | None, Option(help="Cell whose policy is exported. May be repeated.")
    ] = None,
    all_cells: Annotated[bool, Option("--all", help="Exports the policies of all cells.")] = False,
    out: Annotated[Path, Option(help="Folder to write to.")] = Path("export"),
    version: Version = None,
    json: Json = False,
) -> None:
    """Exports policies from measured KPIs to shares: safetensors, ONNX and a manifest per cell.

    The ONNX graph takes KPIs in physical units and contains encoder, base policy and actor. It is
    compared with NumPy on recorded and random KPIs before it is written. Equal policies give equal
    bytes. Without --cell, --all is required.

    Examples:

      slicing-rllib export runs/quick-20260101-120000 --cell cell_1

      slicing-rllib export policies --all --version 3 --out /srv/policies
    """
    with explain_missing_packages("export", "export"):
        from slicing_rllib.serving.export import export_policies

    if bool(cell) == all_cells:
        raise ConfigError("export: expected either --cell or --all")
    exported = export_policies(source, out, cell, version)
    lines: list[str] = []
    for row in exported:
        differences = [value for key, value in row.parity.items() if key.endswith("difference")]
        graph = (
            f"ONNX − NumPy at most {max(differences):.1e}"
            if differences
            else f"no ONNX graph: {row.no_graph}; NumPy computes it"
        )
        lines.append(f"{row.folder}  {row.policy}  {graph}")
    print_result({"exported": [row._asdict() for row in exported]}, json, *lines)


def serve(
    source: Annotated[
        str,
        Argument(
            metavar="SOURCE",
            help="A run directory, a policy library (a folder or a URI), or an export.",
        ),
    ],
    port: Annotated[int, Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    host: Annotated[
        str, Option(help="Address to listen on. Beyond loopback, a token is required.")
    ] = "127.0.0.1",
    token_file: TokenFile = None,
    name: Annotated[str, Option(help="Serves the bundles whose names begin with this.")] = "",
    version: Version = None,
    pin: Pin = None,
    canary: CanaryVersion = None,
    share: CanaryShare = 0.1,
    shadow: Shadow = None,
    shadow_log: Annotated[
        Path | None, Option(help="File for the shares of both versions, as JSON lines.")
    ] = None,
    replicas: Annotated[int, Option(min=1, help="Processes that answer.")] = 1,
    max_replicas: Annotated[
        int | None, Option(min=1, help="Processes under full load. Default: --replicas.")
    ] = None,
    direct: Annotated[
        bool, Option("--direct", help="Answers in this process, without Ray Serve: less latency.")
    ] = False,
    max_age_s: Annotated[float, Option(min=0.001, help="Age above which KPIs are stale.")] = 10.0,
    json: Json = False,
) -> None:
    """Serves trained policies over HTTP until Ctrl-C, with Ray Serve unless --direct.

    Prints the URL of the service. POST /v1/decisions answers the KPIs of cells with shares of
    their carriers; /openapi.json describes all resources.

    Examples:

      slicing-rllib serve runs/quick-20260101-120000 --port 8000

      slicing-rllib serve policies --direct

      slicing-rllib serve policies --host 0.0.0.0 --token-file token --replicas 2
    """
    from slicing_rllib.runs.interruption import catch_signals

    with explain_missing_packages("serve"):
        from slicing_rllib.serving.admission import require_token_beyond_loopback
        from slicing_rllib.serving.release import Canary, ServiceArguments, parse_pins
        from slicing_rllib.serving.served_release import load_first

    most = max_replicas or replicas
    if most < replicas:
        raise ConfigError(f"--max-replicas {most}: expected at least --replicas {replicas}")
    if direct and most > 1:
        raise ConfigError(f"--direct: expected one replica, got {most}")
    arguments = ServiceArguments(
        run=str(Path(source).resolve()) if Path(source).exists() else source,
        name=name,
        version=version,
        pins=parse_pins(pin or ()),
        canary=Canary(version=canary, share=share) if canary else None,
        shadow=shadow,
        shadow_log=shadow_log and str(shadow_log.resolve()),
        token_file=token_file and str(token_file.resolve()),
        min_replicas=replicas,
        max_replicas=most,
        max_age_s=max_age_s,
    )
    arguments = require_token_beyond_loopback(arguments, host)
    load_first(arguments)
    with explain_missing_packages("serve"):
        # After the checks, because Ray Serve takes seconds to import.
        from slicing_rllib.serving.application import serve_directly, serve_policies

    with (
        catch_signals() as interruption,
        (serve_directly if direct else serve_policies)(arguments, host, port) as check,
    ):
        print_url(f"http://{host}:{port}/v1/", json)
        while not interruption.is_requested:
            check()
            time.sleep(0.1)


def release(
    library: Library,
    version: Version = None,
    pin: Pin = None,
    canary: CanaryVersion = None,
    share: CanaryShare = 0.1,
    shadow: Shadow = None,
    back: Annotated[bool, Option(help="Goes back to the release before.")] = False,
    run: Annotated[
        Path | None,
        Option(
            help="Run whose policies are added to the library first, as a new version, and on "
            "whose network the release is compared with the live one and with simple rules."
        ),
    ] = None,
    compare_on: Annotated[
        Path | None,
        Option(help="Run on whose network a release of existing versions is compared."),
    ] = None,
    force: Annotated[
        bool, Option("--force", help="Releases whatever the comparison says, or without one.")
    ] = False,
    name: Annotated[
        str, Option(help="First part of the bundles' names, NAME-CELL. Default: all bundles.")
    ] = "",
    url: Annotated[
        str | None,
        Option(help="Service that follows the library: waits until it serves the release."),
    ] = None,
    timeout_s: Annotated[float, Option(min=0.0, help="Longest time to wait.")] = 120.0,
    json: Json = False,
) -> None:
    """Changes which versions of a library's policies are served, without a restart.

    Services that were started as `slicing-rllib serve LIBRARY` follow within a second or two. All
    policies of the release are loaded and checked before anything changes: other cells, slices,
    KPIs or SLAs than those of the live release are refused, and what has significantly less
    satisfaction than the live release or a simple rule on the same traffic. With --url, waits until
    all replicas serve the release, and restores the one before if they do not (exit code 1).

    Examples:

      slicing-rllib release policies --run runs/nightly --name city --url http://127.0.0.1:8000

      slicing-rllib release policies --canary 4 --share 0.25 --compare-on runs/nightly

      slicing-rllib release policies --back
    """
    with explain_missing_packages("release"):
        from slicing_rllib.serving.release import Canary, Release, parse_pins
        from slicing_rllib.serving.served_release import change_release

    if run is not None and compare_on is not None:
        raise ConfigError("release: expected either --run or --compare-on")
    if back and (version or pin or canary or shadow or run):
        raise ConfigError("release: --back goes with no other change")
    wanted = Release(
        version=version,
        pins=parse_pins(pin or ()),
        canary=Canary(version=canary, share=share) if canary else None,
        shadow=shadow,
    )
    network = run or compare_on
    served = change_release(
        library,
        None if back else wanted,
        url,
        timeout_s,
        name,
        run=network and open_run(network),
        adds_run=run is not None,
        is_forced=force,
    )
    release, chosen = served.release.model_dump(), dict(served.chosen)
    result = {"revision": served.revision, "release": release, "policies": chosen}
    lines = [f"{policy}@{number}" for policy, number in chosen.items()]
    print_result(result, json, f"revision {served.revision}", *lines)


def closed_loop(
    run: Run,
    url: Annotated[
        str | None, Option(help="Service of the run's policies. Default: one is started.")
    ] = None,
    steps: Annotated[int, Option(min=1, help="Environment steps.")] = 250,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Controls the simulated network over HTTP, and compares with evaluation in process.

    The simulator is the network: after every step, the KPIs of all cells go to the service, and
    its shares are applied. The same steps run in process with the same policies. The exit code is
    1 if a KPI differs by more than 1e-6, or if a fallback answered.

    Examples:

      slicing-rllib closed-loop runs/quick-20260101-120000

      slicing-rllib closed-loop runs/quick-20260101-120000 --url http://127.0.0.1:8000 --steps 50
    """
    with explain_missing_packages("closed-loop"):
        from slicing_rllib.serving.admission import read_token
        from slicing_rllib.serving.application import serve_for_command
        from slicing_rllib.serving.closed_loop import run_closed_loop
        from slicing_rllib.serving.release import ServiceArguments

    opened = open_run(run)
    arguments = ServiceArguments(
        run=str(run.resolve()), token_file=token_file and str(token_file.resolve())
    )
    service = serve_for_command(arguments) if url is None else nullcontext(url)
    with service as address, ProgressBar() as bar:
        token = read_token(arguments.token_file)
        result = run_closed_loop(opened, address, steps, token, bar.on_rollout)
    kpi, difference = max(result.largest_difference.items(), key=lambda row: row[1])
    print_result(
        {**result._asdict(), "equal": result.is_equal},
        json,
        f"{result.steps} steps over HTTP: reward {result.reward_mean:.4f} (in process "
        f"{result.in_process_reward_mean:.4f}), satisfaction {result.satisfaction_mean:.4f}",
        f"largest difference of a KPI: {difference:.1e} ({kpi})",
        f"fallbacks: {result.fallbacks or 'none'}",
    )
    if not result.is_equal:
        raise typer.Exit(1)
