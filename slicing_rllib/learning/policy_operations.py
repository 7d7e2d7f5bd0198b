"""What can be done with single policies while the others learn."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.policy.policy import PolicySpec

from slicing_rllib.env import CounterfactualReward
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.replay import Replay
from slicing_rllib.learning.rl_module import TD3Module, compute_sizes
from slicing_rllib.learning.sampled_env import CellStates, Step
from slicing_rllib.learning.stacked_networks import NetworkSizes
from slicing_rllib.learning.td3_config import CheckedSettings, TD3Config
from slicing_rllib.radio import Phase
from slicing_rllib.random_streams import Stream, cell_key, derive_seed

Own = TypeVar("Own", bound=Algorithm)


def _make_absolute(path: Any, rllib: Mapping[str, Any]) -> Any:
    """Paths of a file system that is given with them, and Ray's own types, stay as they are."""
    is_local = isinstance(path, str | Path) and "://" not in str(path)
    return str(Path(path).resolve()) if is_local and not rllib.get("filesystem") else path


class PolicyOperations(Algorithm):
    """The part of TD3 that reads and changes single policies; takes relative checkpoint paths."""

    config: TD3Config
    td3_learner: TD3Learner
    cell_states: CellStates
    policies: PolicyMap
    replay: Replay
    default_action_replay: Replay
    source_replay: Replay
    _runner: Any
    _workers: Any

    def save_to_path(self, path: Any = None, **rllib: Any) -> str:
        """RLlib's; a path without a scheme may be relative."""
        return super().save_to_path(_make_absolute(path, rllib), **rllib)

    def restore_from_path(self, path: Any, *arguments: Any, **rllib: Any) -> None:
        """RLlib's; a path without a scheme may be relative."""
        super().restore_from_path(_make_absolute(path, rllib), *arguments, **rllib)

    @classmethod
    def from_checkpoint(cls: type[Own], path: Any, filesystem: Any = None, **rllib: Any) -> Own:
        """RLlib's; a path without a scheme may be relative."""
        absolute = _make_absolute(path, {"filesystem": filesystem})
        algorithm = super().from_checkpoint(absolute, filesystem, **rllib)
        assert isinstance(algorithm, cls)
        return algorithm

    def get_module(self, module_id: str = DEFAULT_MODULE_ID) -> RLModule | None:
        """A policy's module with all networks, as it is now; None where there is no such policy."""
        return self.td3_learner.banked.get(module_id)

    def policy_weights(self, module_id: str) -> dict[str, np.ndarray]:
        """Copies of a cell's parameters by name, target networks included."""
        module: Any = self.td3_learner.banked[module_id]
        return {name: p.detach().cpu().numpy().copy() for name, p in module.named_parameters()}

    def set_policy_weights(self, module_id: str, weights: Mapping[str, np.ndarray]) -> None:
        """Replace a cell's parameters. Raises: ValueError for a missing name or another shape."""
        module: Any = self.td3_learner.banked[module_id]
        own = dict(module.named_parameters())
        for name, parameter in own.items():
            if name not in weights or tuple(weights[name].shape) != tuple(parameter.shape):
                got = tuple(weights[name].shape) if name in weights else "nothing"
                raise ValueError(
                    f"weights for {module_id}: expected {name} of shape {tuple(parameter.shape)}, "
                    f"got {got}"
                )
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(torch.as_tensor(np.asarray(weights[name])))

    def reset_optimizer(self, module_id: str) -> None:
        """Set a cell's Adam moments and step counts to zero."""
        for name, tensor in self.td3_learner.optimisers[module_id].items():
            if not name.endswith("_loss"):
                tensor.zero_()

    def copy_optimizer(self, source: str, module_id: str) -> None:
        """Copy Adam's state from one cell to another; their networks must have equal widths."""
        values = self.td3_learner.optimisers[source]
        for name, tensor in self.td3_learner.optimisers[module_id].items():
            if not name.endswith("_loss"):
                tensor.copy_(values[name])

    @property
    def module_ids(self) -> tuple[str, ...]:
        """Cells that have a policy at the moment."""
        return tuple(self.td3_learner.banked.cells)

    def add_module(
        self, module_id: str, module_spec: RLModuleSpec | None = None, **rllib: Any
    ) -> Any:
        """Add a policy for a cell of the environment; without a spec, one like those at the start.

        Its replay buffer is empty, and it explores first. Raises: KeyError for an unknown cell;
        ValueError for a cell that has a policy.
        """
        row = self.cell_states.row(module_id)
        if module_id in self.module_ids:
            raise ValueError(f"{module_id}: has a policy already")
        with self._change_modules(rllib, "add_to_env_runners"):
            spec = copy.copy(module_spec) or self.config.module_spec(
                module_id, *self._runner.get_spaces()[module_id]
            )
            # This flag concerns env runners: a learner always builds all networks.
            spec.inference_only = True
            added = super().add_module(module_id, spec, **rllib)
        self.cell_states.exploration_left[row] = self._exploration_steps
        return added

    def remove_module(self, module_id: str, **rllib: Any) -> Any:
        """Remove a cell's policy and experience; without a policy the cell gets equal shares.

        Raises: ValueError for a cell without a policy, or for the last cell that has one.
        """
        if module_id not in self.module_ids or len(self.module_ids) == 1:
            raise ValueError(f"{module_id}: expected one of several cells with a policy")
        group: Any = self.learner_group
        with self._change_modules(rllib, "remove_from_env_runners"):
            for buffer in (self.replay, self.default_action_replay, self.source_replay):
                buffer.clear(module_id)
            self.freeze(module_id, ())
            # RLlib deletes the module's PolicySpec from these configs and fails where it has none.
            for config in (self.config, group.config, self.td3_learner.config):
                config.policies.setdefault(module_id, PolicySpec())
            return super().remove_module(module_id, **rllib)

    @contextmanager
    def _change_modules(self, rllib: dict[str, Any], env_runners: str) -> Iterator[None]:
        """Complete RLlib's arguments; `env_runners` says whether their modules change as well.

        Raises: ValueError for arguments of RLlib that would change policies or their agents.
        """
        for name in ("new_agent_to_module_mapping_fn", "config_overrides"):
            if rllib.get(name) is not None:
                raise ValueError(
                    f"{name}: expected none; agents keep their policies, and networks sets their "
                    "widths"
                )
        # In one process the env runner has the learner's module, which changes once.
        rllib.setdefault(env_runners, bool(self.config.num_env_runners))
        # RLlib adds and removes entries of `config.policies`, which here are the user's alone.
        kept = dict(self.config.policies)
        yield
        self.config.policies.clear()
        self.config.policies.update(kept)
        if rllib.get("new_should_module_be_updated") is not None:
            self.pause_untrained()

    @cached_property
    def settings(self) -> CheckedSettings:
        """The config's settings that have a range."""
        return self.config.settings

    def network_sizes(self, module_id: str) -> NetworkSizes:
        """Widths of a cell's networks, and the form of its actor."""
        return compute_sizes(self.td3_learner.banked[module_id])

    def fresh_weights(self, module_id: str, attempt: int) -> dict[str, np.ndarray]:
        """Random initial weights for a cell; every `attempt` gives others."""
        fresh = self._build_fresh(module_id, attempt)
        return {name: p.detach().numpy() for name, p in fresh.named_parameters()}

    def _build_fresh(self, module_id: str, attempt: int) -> TD3Module:
        key = cell_key(module_id), attempt
        seed = derive_seed(self.config.seed, Stream.INITIAL_WEIGHTS, *key)
        module: Any = self.td3_learner.banked[module_id]
        return TD3Module(
            observation_space=module.observation_space,
            action_space=module.action_space,
            model_config=module.model_config | {"init_seed": seed},
        )

    @cached_property
    def _initial_modules(self) -> dict[str, TD3Module]:
        """By policy, what it started from, where that was asked for."""
        return {}

    @property
    def has_initial_policy(self) -> bool:
        """Whether cells start from a policy that is worth comparing with: one with a base policy.

        The guard then compares cells with what they started from instead of the default action.
        """
        return self.settings.base_policy != "none" and self._runner.env.counterfactual is not None

    def compare_with_start(
        self, steps: Sequence[Step], rows: Sequence[int]
    ) -> dict[str, list[float]]:
        """By cell, per step: its reward − that of the policy it started from, NaN where undecided.

        A cell with a base policy starts from that policy's split, or from a pretrained actor. A
        step's KPIs tell what that policy would have earned in the same step, without a simulator.
        `rows` are the cells' indices in `steps`.
        """
        reward: CounterfactualReward = self._runner.env.counterfactual
        advantages = {}
        for row in rows:
            cell = self.policies.agents[row]
            policy = self.policies.find_policy(cell)
            if policy not in self._initial_modules:
                self._initial_modules[policy] = self._build_fresh(policy, 0)
            own = [step.transitions for step in steps]
            obs = torch.from_numpy(np.stack([transitions.obs[row] for transitions in own]))
            initial = self._initial_modules[policy].forward_inference({Columns.OBS: obs})
            split = initial[Columns.ACTIONS].numpy()
            inputs = np.stack([transitions.counterfactual_inputs[row] for transitions in own])
            earned = np.array([transitions.reward[row] for transitions in own])
            decided = np.array([step.decided[row] for step in steps])
            difference = earned - reward.reward(inputs, split)
            advantages[cell] = np.where(decided, difference, np.nan).tolist()
        return advantages

    def explore(self, module_id: str, steps: int) -> None:
        """Let a cell act at random for the next `steps` steps that it decides; 0 ends it."""
        self.cell_states.exploration_left[self.cell_states.row(module_id)] = steps

    def freeze(self, module_id: str, prefixes: Sequence[str]) -> None:
        """Keep a cell's parameters whose names begin with one of these; none unfreezes all."""
        frozen = self.cell_states.frozen_parameters | {module_id: tuple(prefixes)}
        self.cell_states.frozen_parameters = {
            cell: names for cell, names in frozen.items() if names
        }
        self.td3_learner.freeze(self.cell_states.frozen_parameters)

    def pause_untrained(self) -> None:
        """Pause the policies that `policies_to_train` leaves out, and no others."""
        trained = [self.config.is_trained(policy) for policy in self.policies.policies]
        self.cell_states.paused[:] = ~np.array(trained)

    def pause_updates(self, module_id: str) -> None:
        """Keep a cell's policy as it is until `resume_updates`; it goes on acting."""
        self.cell_states.paused[self.cell_states.row(module_id)] = True

    def resume_updates(self, module_id: str) -> None:
        """Let a cell's policy learn again."""
        self.cell_states.paused[self.cell_states.row(module_id)] = False

    def set_phase(self, cell: str, phase: int) -> None:
        """Switch a cell off, to the default action or to its policy, in every environment."""
        self._workers.foreach_env_runner(
            lambda runner: runner.set_phase(cell, Phase(phase)),
            local_env_runner=not self.config.num_env_runners,
        )

    @property
    def _exploration_steps(self) -> int:
        """Random steps of a new policy; none where the config does not explore."""
        return self.settings.exploration_steps if self.config.explore else 0
