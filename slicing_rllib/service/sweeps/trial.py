"""A trial of a sweep: a training that Ray Tune starts, stops, checkpoints and restores."""

from typing import Any

from ray.tune import Trainable

from slicing_rllib.service.ray_session import quieten
from slicing_rllib.service.runs.algorithm import build
from slicing_rllib.service.runs.evaluation import evaluate_curve_point, make_trained_policy
from slicing_rllib.service.runs.transfer_run import load_pretrained_policies
from slicing_rllib.service.sweeps.config import SweepConfig, find_targets


class Trial(Trainable):
    """A training whose settings the search has chosen."""

    def setup(self, config: dict[str, Any], sweep: SweepConfig | None = None) -> None:
        """`config` holds the chosen settings by `key.path`; `sweep` is the same for all trials."""
        assert sweep is not None
        quieten()
        self._sweep = sweep
        self._config = sweep.make_trial_config(config)
        self._algorithm = build(self._config)
        load_pretrained_policies(self._config, self._algorithm)

    def step(self) -> dict[str, Any]:
        """Trains up to the next report, and evaluates without exploration noise."""
        goal = self._algorithm.env_steps + self._sweep.report_every_steps
        while self._algorithm.env_steps < min(goal, self._total_steps):
            self._algorithm.train()
        return {
            "env_steps": self._algorithm.env_steps,
            "updates": self._algorithm.updates,
            "reward_mean": self._algorithm.last_iteration["reward_mean"],
            **self._evaluate(),
            "done": self._algorithm.env_steps >= self._total_steps,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Saves the algorithm."""
        self._algorithm.save_to_path(checkpoint_dir)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Restores the algorithm."""
        self._algorithm.restore_from_path(checkpoint)

    def cleanup(self) -> None:
        """Ends the algorithm's processes."""
        self._algorithm.stop()

    @property
    def _total_steps(self) -> int:
        return self._sweep.stop.env_steps or self._config.total_steps

    def _evaluate(self) -> dict[str, float]:
        """Mean rewards over the evaluation seeds, on traffic that training does not see."""
        weights = {cell: self._algorithm.policy_weights(cell) for cell in self._algorithm.cells}
        cells = self._config.scenario.cells
        policy = make_trained_policy(self._config, weights)
        rewards = evaluate_curve_point(self._config, policy).rewards
        means = {"evaluation_reward_mean": float(rewards.mean())}
        targets = [cells.index(cell) for cell in find_targets(self._config)]
        if targets:
            means["target_reward_mean"] = float(rewards[targets].mean())
        return means
