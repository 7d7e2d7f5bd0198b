"""Commands on transfer: `similarity`, `transfer`, `library list|show|add|remove`, `pretrain`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer import Argument, Option

from slicing_rllib.cli.console import (
    Json,
    Library,
    ProgressBar,
    Run,
    Version,
    explain_unwritable,
    format_number,
    make_table,
    name_folder,
    open_run,
    print_message,
    print_result,
    print_summary,
)
from slicing_rllib.cli.console import (
    show as show_text,
)
from slicing_rllib.storage import write_durably
from slicing_rllib.storage.errors import ConfigError

Bundle = Annotated[str, Argument(metavar="NAME", help="Name of a bundle.")]


def similarity(
    run: Run,
    measure: Annotated[
        str | None,
        Option(
            help="Name of a distance, or all. Default: the measure of the run's config.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, Option(help="Folder for the heat map. Default: the run's figures.")
    ] = None,
    json: Json = False,
) -> None:
    """Computes the distance between every two cells of a run, as a table and a heat map.

    Cells are compared by their states and rewards under the default action. Prints the distances
    and their AUC: the probability that two cells of the same SLA group are closer to each other
    than two cells of different groups.

    Examples:

      slicing-rllib similarity runs/seed7

      slicing-rllib similarity runs/seed7 --measure kl_paper --json

      slicing-rllib similarity runs/seed7 --measure all
    """
    from slicing_rllib.registry import get_part, list_names
    from slicing_rllib.runs.run_directory import explain_foreign_run
    from slicing_rllib.runs.run_report import compare_cells, draw_comparison
    from slicing_rllib.transfer.transfer_settings import WITHOUT_DISTANCE

    opened = open_run(run)
    own = opened.config().transfer.measure
    # A run may choose its sources by other rules, such as `random`, which define no distance.
    chosen = [measure or ("mean_shift" if own in WITHOUT_DISTANCE else own)]
    if chosen == ["all"]:
        chosen = list_names("measure")
    try:
        for name in chosen:
            get_part("measure", name)
    except ValueError as error:
        raise ConfigError(f"--measure: {error}") from error
    results, shown = [], []
    with explain_foreign_run(str(run)):
        found = compare_cells(opened, chosen)
        drawn = {name: draw_comparison(opened, each, out) for name, each in found.items()}
    for name, compared in found.items():
        figures = [str(path) for path in drawn[name]]
        cells = compared.distances.names
        result = {
            "measure": name,
            "cells": list(cells),
            "sla_groups": list(compared.groups),
            "distances": compared.distances.mean.tolist(),
            "nearest": compared.nearest,
            "auc": compared.auc,
            "figures": figures,
        }
        results.append(result)
        shown += [make_distances_table(result), *figures]
    print_result(results[0] if len(results) == 1 else {"measures": results}, json, *shown)


def transfer(
    run: Run,
    target: Annotated[str, Option(help="Cell that is warm-started.")],
    source: Annotated[
        str | None,
        Option(
            help="Cell or bundle whose policy is transferred. Default: the one that the measure "
            "finds most similar."
        ),
    ] = None,
    method: Annotated[
        str,
        Option(
            help="What is transferred, as in transfer.method: integrated (weights and experience), "
            "model, instance, feature, ..."
        ),
    ] = "integrated",
    measure: Annotated[
        str | None,
        Option(
            help="How the source is chosen. Default: the measure of the run's config.",
            show_default=False,
        ),
    ] = None,
    library: Annotated[
        str | None,
        Option(help="Policy library whose bundles are further candidates for the source."),
    ] = None,
    steps: Annotated[
        int, Option(min=1, help="Environment steps under the target's own policy.")
    ] = 4000,
    out: Annotated[
        Path | None, Option(help="Run directory of the transfer. Default: runs/NAME-DATE-TIME.")
    ] = None,
    json: Json = False,
) -> None:
    """Warm-starts one cell of a finished run from a source and fine-tunes it on new traffic.

    The target is first served under the default action and compared with the candidates; its own
    earlier policy is not one of them. The other cells keep acting with the run's policies, which
    are not changed. Prints the result table and the chosen source.

    Examples:

      slicing-rllib transfer runs/seed7 --target cell_5

      slicing-rllib transfer runs/seed7 --target cell_5 --source cell_11 --method model --steps 500
    """
    from slicing_rllib.runs.config_loading import make_transfer_config
    from slicing_rllib.runs.run_directory import RunDirectory
    from slicing_rllib.runs.training import train

    config = make_transfer_config(
        open_run(run).config(),
        run,
        target,
        source=source,
        method=method,
        measure=measure,
        library=library,
        steps=steps,
    )
    path = out or name_folder("runs", config.name)
    new = RunDirectory.create(path, config)
    with ProgressBar() as bar:
        bar.on_message(f"run: {path}")
        summary = train(config, new, bar)
    decisions = [f"{cell}: {made['message']}" for cell, made in summary["transfers"].items()]
    print_summary(summary, json, *decisions, f"figures, table and checkpoints: {path}")


library_app = typer.Typer(
    no_args_is_help=True,
    help="Manages a policy library: bundles of trained policies for other runs and networks.",
)


@library_app.command("list")
def list_bundles(library: Library, json: Json = False) -> None:
    """Prints a table of the bundles: versions, reward in their own network, slices and origin.

    Example: slicing-rllib library list policies
    """
    from slicing_rllib.transfer import PolicyLibrary

    opened = PolicyLibrary(library)
    rows = [
        opened.read_manifest(name, versions[-1]).model_dump(mode="json") | {"versions": versions}
        for name, versions in opened.list_versions().items()
    ]
    print_result({"bundles": rows}, json, make_library_table(rows))


@library_app.command()
def show(library: Library, name: Bundle, version: Version = None, json: Json = False) -> None:
    """Prints the manifest of a bundle, always as JSON.

    Example: slicing-rllib library show policies city-cell_3
    """
    from slicing_rllib.transfer import PolicyLibrary

    print_result(PolicyLibrary(library).read_manifest(name, version).model_dump(mode="json"), True)


@library_app.command()
def add(
    library: Library,
    run: Run,
    cell: Annotated[
        list[str] | None,
        Option(help="Cell whose policy is added. May be repeated. Default: all cells."),
    ] = None,
    name: Annotated[
        str | None,
        Option(help="First part of the bundles' names, NAME-CELL. Default: the run's name."),
    ] = None,
    json: Json = False,
) -> None:
    """Adds the policies of a finished run to a library, each as a new version of its bundle.

    A bundle also holds the cell's transitions, for replay buffers and for similarity measures.
    Prints the name and version of each bundle.

    Example: slicing-rllib library add policies runs/seed7 --cell cell_3 --name city
    """
    from slicing_rllib.runs.experience import add_run
    from slicing_rllib.transfer import PolicyLibrary

    added = add_run(PolicyLibrary(library), open_run(run), cell, name)
    found = [{"name": bundle, "version": number} for bundle, number in added]
    print_result(
        {"added": found}, json, *(f"{row['name']} version {row['version']}" for row in found)
    )


@library_app.command()
def remove(
    library: Library,
    name: Bundle,
    version: Annotated[
        int | None, Option("--version", min=1, help="Default: all versions.")
    ] = None,
    json: Json = False,
) -> None:
    """Deletes one version of a bundle, or all of them, and prints which.

    Example: slicing-rllib library remove policies city-cell_3 --version 1
    """
    from slicing_rllib.transfer import PolicyLibrary

    removed = PolicyLibrary(library).remove(name, version)
    versions = ", ".join(f"version {number}" for number in removed)
    print_result({"name": name, "removed": removed}, json, f"{name}: removed {versions}")


def pretrain(
    out: Annotated[Path, Option(help="Folder for the actor: weights and manifest.")] = Path(
        "pretrained"
    ),
    random: Annotated[
        int, Option(min=0, help="Random networks to train in: other SLAs, slices, traffic.")
    ] = 16,
    paper: Annotated[int, Option(min=0, help="Radio maps of `paper` to train on.")] = 4,
    rounds: Annotated[
        int, Option(min=1, help="Rounds of 25 steps in every network and 100 updates.")
    ] = 60,
    critic: Annotated[
        str, Option(help="joint: an actor by the closed form. per_slice: critics per slice.")
    ] = "joint",
    seed: Annotated[int, Option(min=0, help="Seed of networks, weights and batches.")] = 0,
    steps: Annotated[int, Option(min=1, help="Steps per seed of the evaluation.")] = 250,
    seeds: Annotated[int, Option(min=1, help="Seeds of the evaluation per network.")] = 4,
    json: Json = False,
) -> None:
    """Trains one policy for cells of networks that it has never seen, and evaluates it on such.

    It takes minutes, with many networks an hour. The manifest of a policy says how it was made.
    `--set learning.initial_actor=FOLDER` starts the cells of a run from an actor,
    `--set learning.critic=per_slice --set learning.initial_critic=FOLDER` from critics per slice.
    These learn from random networks of all kinds and from no map of `paper`; a round is 100 updates
    then, and every network is stepped 150 times.

    Example: slicing-rllib pretrain --out my_actor --random 12 --rounds 40
    """
    from slicing_rllib.policies import PretrainedActor, save_pretrained
    from slicing_rllib.runs.curve_pretraining import CurveSettings, train_curves
    from slicing_rllib.runs.pretraining import (
        PretrainingSettings,
        evaluate_actor,
        format_unseen_table,
        train_actor,
    )

    if random + paper < 1:
        raise ConfigError("pretrain: expected at least one network, got --random 0 --paper 0")
    if critic == "per_slice":
        settings = CurveSettings(networks=random, updates=100 * rounds, seed=seed)
        actor = train_curves(settings, print_message)
    elif critic == "joint":
        chosen = PretrainingSettings(rounds=rounds, seed=seed)
        actor = train_actor(random, paper, chosen, print_message)
    else:
        raise ConfigError(f"pretrain: --critic: expected joint or per_slice, got {critic!r}")
    rows = evaluate_actor(actor, steps, seeds, print_message)
    actor = PretrainedActor(actor.weights, {**actor.provenance, "unseen_networks": rows})
    with explain_unwritable(out, "the actor"):
        save_pretrained(out, actor)
        write_durably(out / "table.md", format_unseen_table(rows).encode())
    found = {"folder": str(out), "unseen_networks": rows}
    print_result(found, json, make_pretraining_table(rows), f"actor: {out}")


def make_distances_table(result: Mapping[str, Any]) -> Table:
    """Distances with one row per source and one column per target, the nearest source in bold."""
    auc = "" if result["auc"] is None else f", AUC of SLA groups {result['auc']:.2f}"
    cells, nearest = result["cells"], result["nearest"]
    return make_table(
        f"{result['measure']} distance of source (row) from target (column){auc}",
        ("", *(cell.removeprefix("cell_") for cell in cells)),
        (
            (
                source,
                *(
                    f"[bold]{distance:.2g}[/]" if nearest[target] == source else f"{distance:.2g}"
                    for target, distance in zip(cells, row, strict=True)
                ),
            )
            for source, row in zip(cells, result["distances"], strict=True)
        ),
        numbers=True,
    )


def make_library_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table of a policy library, one row per bundle."""
    return make_table(
        f"{len(rows)} bundles",
        ("bundle", "versions", "reward", "slices", "transitions", "run", "cell"),
        (
            (
                show_text(row["name"]),
                show_text(" ".join(map(str, row["versions"])), 40),
                format_number(row["returns"].get("evaluation_reward_mean")),
                str(len(row["slices"])),
                str(row["transitions"]),
                show_text(row["provenance"].get("run", ""), 64),
                show_text(row["provenance"].get("cell", ""), 64),
            )
            for row in rows
        ),
    )


def make_pretraining_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row per unseen network: rewards, and the share of (cell, step) below 0.95.

    The gain and the arrow are from `smoothed_persistence`, which learns nothing.
    """
    simple = "smoothed_persistence"
    names = ("traffic_aware", simple, "pretrained")
    return make_table(
        f"networks that no training has seen, {rows[0]['seeds']} seeds each",
        ("network", *names, "gain", "below 0.95"),
        (
            (
                row["network"],
                *(f"{row[name]['reward_mean']:.3f}" for name in names),
                f"{row['pretrained']['reward_mean'] - row[simple]['reward_mean']:+.3f}",
                f"{row[simple]['fail_rate_95']:.1%} → {row['pretrained']['fail_rate_95']:.1%}",
            )
            for row in rows
        ),
        numbers=True,
    )
