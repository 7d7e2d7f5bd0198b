"""Benchmarks of learning and transfer: `learning`, `gymnasium`, `transfer`, `ceiling`, `vae`."""

from importlib.util import find_spec
from itertools import chain
from typing import Annotated

import typer

from slicing_rllib.benchmarks.commands.options import Seconds, Turns
from slicing_rllib.benchmarks.commands.printing import print_rows
from slicing_rllib.service.commands.options import Json


def learning(
    turns: Turns = 5,
    seconds: Seconds = 3.0,
    cells: Annotated[
        int, typer.Option(min=0, help="Largest network of the growth curve, in cells.")
    ] = 768,
    whole_run: Annotated[
        bool, typer.Option(help="Also run `train paper` once and time its parts.")
    ] = True,
    json: Json = False,
) -> None:
    """Measures steps per second of training, compared with other ways of training.

    Prints the steps per second on the paper's network with the ratio to RLlib's
    SAC, to TD3 of Stable-Baselines3, to separate updates of each cell and to a
    loop without Ray; the ratio of two learners to one; and the time per cell
    and step as networks grow.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench learning --turns 5
    """
    from slicing_rllib.benchmarks import learning as benchmark
    from slicing_rllib.benchmarks import paper_run
    from slicing_rllib.service.console import err
    from slicing_rllib.service.ray_session import ray_session

    require_stable_baselines3("bench learning")
    # The whole run starts Ray by itself, so it ends before this process starts Ray.
    found = list(paper_run.run(on_message=err.print)) if whole_run else []
    with ray_session(3):
        rows = benchmark.run(turns=turns, seconds=seconds, max_cells=cells, on_message=err.print)
        print_rows(chain(found, rows), json)


def gymnasium_tasks(
    seeds: Annotated[int, typer.Option(min=1, help="Trainings per task and implementation.")] = 5,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Pendulum-v1 or MountainCarContinuous-v0; may be repeated. Default: both."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1000, help="Steps of each training in place of the task's own."),
    ] = None,
    json: Json = False,
) -> None:
    """Trains TD3 on tasks of Gymnasium, and compares with TD3 of Stable-Baselines3.

    Both have the same networks, settings and number of steps. Prints the mean
    return of the trained policies over the same 20 episodes with 95 % intervals
    over seeds (low, high), the difference, and the steps per second of training.
    It needs Stable-Baselines3, which the extra dev installs.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench gymnasium --task Pendulum-v1 --seeds 3
    """
    from slicing_rllib.benchmarks import gymnasium_tasks as benchmark
    from slicing_rllib.benchmarks.learning_peers.gymnasium_td3 import TASKS
    from slicing_rllib.service.console import err
    from slicing_rllib.service.ray_session import ray_session

    require_stable_baselines3("bench gymnasium")
    tasks = task or list(TASKS)
    unknown = [name for name in tasks if name not in TASKS]
    if unknown:
        raise typer.BadParameter(f"--task: expected one of {', '.join(TASKS)}, got {unknown[0]}")
    with ray_session(1):
        rows = benchmark.run(tasks=tasks, seeds=seeds, steps=steps, on_message=err.print)
        print_rows(rows, json)


def transfer(
    decisions: Annotated[
        int, typer.Option(min=1, help="Number of decisions in a live run. Their median counts.")
    ] = 20,
    turns: Turns = 5,
    warm_starts: Annotated[
        int, typer.Option(min=0, help="Warm starts of each kind that the guard judges.")
    ] = 60,
    json: Json = False,
) -> None:
    """Measures how long a transfer takes, and how many harmful sources the guard stops.

    Prints the times of VAE training, of distances (with the speed-up over the
    double loop of eq. (7)) and of a whole decision; then the share of warm
    starts that the guard stops, for healthy sources, for negated weights and
    for policies trained on inverted rewards.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench transfer --decisions 20
    """
    from slicing_rllib.benchmarks import transfer as benchmark
    from slicing_rllib.benchmarks import transfer_guard
    from slicing_rllib.service.console import err
    from slicing_rllib.service.ray_session import ray_session

    with ray_session(2):
        times = benchmark.run(decisions=decisions, turns=turns, on_message=err.print)
        guard = transfer_guard.run(warm_starts=warm_starts, on_message=err.print)
        print_rows(chain(times, guard), json)


def ceiling(
    scenario: Annotated[str, typer.Option(help="Built-in scenario.")] = "paper",
    maps: Annotated[int, typer.Option(min=1, help="Radio maps 0, 1, ...")] = 10,
    steps_per_map: Annotated[int, typer.Option(min=50, help="Training steps per map.")] = 2400,
    updates: Annotated[int, typer.Option(min=1, help="Updates of the large network.")] = 6000,
    seeds: Annotated[int, typer.Option(min=1, help="Evaluation seeds per map.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="Evaluation steps per seed.")] = 250,
    json: Json = False,
) -> None:
    """Estimates what any policy can earn that knows past measurements only.

    Trains a large network offline, on the reward that each step implies for
    every split, and prints its reward and its share of (cell, step) below 0.95
    beside the traffic-aware baseline. It takes about ten minutes.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench ceiling --maps 3
    """
    from slicing_rllib.benchmarks import ceiling as benchmark
    from slicing_rllib.radio import make_scenario
    from slicing_rllib.service.console import err

    rows = benchmark.run(
        scenario=make_scenario(scenario),
        maps=maps,
        steps_per_map=steps_per_map,
        updates=updates,
        steps=steps,
        seeds=seeds,
        on_message=err.print,
    )
    print_rows(rows, json)


def vae_weight(
    scenario: Annotated[str, typer.Option(help="Built-in scenario.")] = "mixed",
    networks: Annotated[int, typer.Option(min=2, help="Radio maps and traffic seeds.")] = 10,
    vae_seeds: Annotated[int, typer.Option(min=2, help="VAEs on the same samples.")] = 3,
    samples: Annotated[int, typer.Option(min=50, help="Steps that every cell contributes.")] = 500,
    json: Json = False,
) -> None:
    """Measures what the weight alpha of eq. (6) does to the comparison of cells.

    Prints, for weights from 0.001 to 1, the error of the reconstruction, how
    many variances reach the encoder's limit, how well each measure separates
    SLA groups, and how often two VAEs choose the same source.

    Exit code 0 when everything is measured.

    Example: slicing-rllib bench vae --networks 5
    """
    from slicing_rllib.benchmarks import vae_weight as benchmark
    from slicing_rllib.radio import make_scenario
    from slicing_rllib.service.console import err

    rows = benchmark.run(
        scenario=make_scenario(scenario),
        networks=networks,
        vae_seeds=vae_seeds,
        samples=samples,
        on_message=err.print,
    )
    print_rows(rows, json)


def require_stable_baselines3(command: str) -> None:
    """Raises: RunError where the package is missing; only benchmarks need it."""
    from slicing_rllib.service.errors import RunError

    if find_spec("stable_baselines3") is None:
        raise RunError(f"{command}: expected the package stable-baselines3, which is missing")
