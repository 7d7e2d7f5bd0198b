"""One trial of a sweep: a training that Tune starts, stops, checkpoints and restores."""

from typing import Any

from ray.tune import Trainable

from slicing_rllib.policies.trained_policy import TrainedPolicy
from slicing_rllib.service.ray_session import quieten
from slicing_rllib.service.runs import evaluation as evaluating
from slicing_rllib.service.runs.algorithm import build
from slicing_rllib.service.runs.transfer_run import take_over
from slicing_rllib.service.sweeps.config import SweepConfig, targets_of


class Trial(Trainable):
    """`config`: the settings that the search chose; `sweep`: what all trials share."""

    def setup(self, config: dict[str, Any], sweep: SweepConfig | None = None) -> None:
        assert sweep is not None
        quieten()
        self._sweep = sweep
        self._config = sweep.trial_config(config)
        self._algorithm = build(self._config)
        take_over(self._config, self._algorithm)

    def step(self) -> dict[str, Any]:
        """Trains up to the next report; its numbers, with an evaluation without noise."""
        goal = self._algorithm.env_steps + self._sweep.report_every_steps
        while self._algorithm.env_steps < min(goal, self._total):
            self._algorithm.train()
        return {
            "env_steps": self._algorithm.env_steps,
            "updates": self._algorithm.updates,
            "reward_mean": self._algorithm.last_iteration["reward_mean"],
            **self._evaluated(),
            "done": self._algorithm.env_steps >= self._total,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self._algorithm.save_to_path(checkpoint_dir)

    def load_checkpoint(self, checkpoint: Any) -> None:
        self._algorithm.restore_from_path(checkpoint)

    def cleanup(self) -> None:
        self._algorithm.stop()

    @property
    def _total(self) -> int:
        return self._sweep.stop.env_steps or self._config.total_steps

    def _evaluated(self) -> dict[str, float]:
        """Mean rewards over the evaluation seeds, on traffic that training does not see."""
        weights = {cell: self._algorithm.policy_weights(cell) for cell in self._algorithm.cells}
        cells = self._config.scenario.cells
        rewards = evaluating.cell_rewards(self._config, TrainedPolicy(cells, weights))
        means = {"evaluation_reward_mean": float(rewards.mean())}
        targets = [cells.index(cell) for cell in targets_of(self._config)]
        if targets:
            means["target_reward_mean"] = float(rewards[targets].mean())
        return means
