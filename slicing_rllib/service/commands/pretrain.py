"""`slicing-rllib pretrain`"""

from pathlib import Path
from typing import Annotated

import typer

from slicing_rllib.service.commands.options import Json


def pretrain(
    out: Annotated[Path, typer.Option(help="Folder for the actor: weights and manifest.")] = Path(
        "pretrained"
    ),
    random: Annotated[
        int, typer.Option(min=0, help="Random networks to train in: other SLAs, slices, traffic.")
    ] = 16,
    paper: Annotated[int, typer.Option(min=0, help="Radio maps of `paper` to train on.")] = 4,
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds of 25 steps in every network and 100 updates.")
    ] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of networks, weights and batches.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Steps per seed of the evaluation.")] = 250,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of the evaluation per network.")] = 4,
    json: Json = False,
) -> None:
    """Trains one policy for cells of networks that it has never seen, and evaluates it on such.

    It takes a few minutes. The policy that comes with the package was made so.
    `--set learning.initial_actor=FOLDER` starts the cells of a run from it.

    Example: slicing-rllib pretrain --out my_actor --random 12 --rounds 40
    """
    from slicing_rllib.learning.pretraining import PretrainingSettings
    from slicing_rllib.policies import PretrainedActor, save_pretrained
    from slicing_rllib.service.console import err, pretraining_table, print_json
    from slicing_rllib.service.console import out as stdout
    from slicing_rllib.service.errors import ConfigError, RunError
    from slicing_rllib.service.runs.pretraining import evaluate_actor, train_actor

    if random + paper < 1:
        raise ConfigError("pretrain: expected at least one network, got --random 0 --paper 0")
    settings = PretrainingSettings(rounds=rounds, seed=seed)
    actor = train_actor(random, paper, settings, err.print)
    rows = evaluate_actor(actor, steps, seeds, err.print)
    actor = PretrainedActor(actor.weights, {**actor.provenance, "unseen_networks": rows})
    try:
        save_pretrained(out, actor)
    except OSError as error:
        raise RunError(f"{out}: cannot write the actor here ({error.strerror})") from error
    if json:
        print_json({"folder": str(out), "unseen_networks": rows})
    else:
        stdout.print(pretraining_table(rows))
        stdout.print(f"actor: {out}", soft_wrap=True)
