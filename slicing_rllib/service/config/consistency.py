"""Settings that are each valid by themselves and contradict each other."""

from collections.abc import Iterator

from slicing_rllib.service.config.policy_names import PolicyName
from slicing_rllib.service.config.run_config import RunConfig

LIBRARY = "library:"

Problem = tuple[tuple[str, ...], str]


def find_contradictions(config: RunConfig) -> Iterator[Problem]:
    """What training would trip over, or would silently do in another way than was meant."""
    yield from _check_learning(config)
    yield from _check_duplicates(config)
    yield from _check_source(config)
    yield from _check_branch(config)


def has_branch(config: RunConfig) -> bool:
    """Whether a run is compared with itself without its transfers."""
    return (
        config.has_transfer
        and not config.transfer.targets
        and PolicyName.DRL in config.evaluated_policies
    )


def _check_learning(config: RunConfig) -> Iterator[Problem]:
    learning = config.learning
    if config.total_steps < 1:
        yield ("learning", "training_steps"), "expected at least 1 network step in all, got 0"
    if learning.batch_size > learning.replay_capacity:
        yield (
            ("learning", "batch_size"),
            f"expected at most learning.replay_capacity, {learning.replay_capacity}, got "
            f"{learning.batch_size}: no update would ever be made",
        )


def _check_duplicates(config: RunConfig) -> Iterator[Problem]:
    named = {
        ("env", "deployments"): [deployment.cell for deployment in config.env.deployments],
        ("transfer", "targets"): config.transfer.targets,
        ("evaluation", "policies"): config.evaluation.policies or (),
        ("tracking",): config.tracking,
    }
    for path, names in named.items():
        for name in dict.fromkeys(names):
            if list(names).count(name) > 1:
                yield path, f"expected each name once, got {name!r} twice"
    if config.evaluation.policies == ():
        yield ("evaluation", "policies"), "expected at least one policy"


def _check_source(config: RunConfig) -> Iterator[Problem]:
    source, cells = config.transfer.source, config.scenario.cells
    if source is None:
        return
    path = ("transfer", "source")
    has_library = config.transfer.library is not None
    offset = source.removeprefix("next:")
    if source.startswith("next:") and offset.isdecimal():
        if int(offset) % len(cells) == 0 and _list_targets(config) and not has_library:
            yield path, f"expected another cell than the target, got {source!r}"
    elif source.startswith(LIBRARY) and not has_library:
        yield path, f"expected transfer.library, in which {source!r} is"
    elif not has_library and source not in cells:
        yield (
            path,
            f"expected {cells[0]} to {cells[-1]}, next:OFFSET or library:NAME, got {source!r}",
        )
    elif not has_library and source in _list_targets(config):
        yield path, f"expected another cell than the target, got {source!r}"


def _list_targets(config: RunConfig) -> list[str]:
    joining = [deployment.cell for deployment in config.env.deployments if deployment.off_until]
    return [*config.transfer.targets, *joining]


def _check_branch(config: RunConfig) -> Iterator[Problem]:
    """Without a step after the transfer, `drl` and `tl` would be the same numbers."""
    if not has_branch(config):
        return
    joining = [d for d in config.env.deployments if d.off_until]
    first = min(joining, key=lambda deployment: deployment.default_action_until)
    step = first.default_action_until * max(config.num_env_runners, 1)
    if step >= config.total_steps:
        yield (
            ("env", "deployments"),
            f"{first.cell} learns from another cell at network step {step}, but the run ends at "
            f"step {config.total_steps}: drl and tl would be the same; expected more "
            "learning.training_steps, an earlier default_action_until or transfer.method none",
        )
