"""Private names of torch and RLlib that `slicing_rllib.learning` relies on.

Private names may change in any release without notice. If a test here fails after an update of
torch or Ray, adapt the named file of `slicing_rllib/learning`; the other tests then show whether
the results are still the same.
"""

from collections import defaultdict

import pytest
import torch
from ray.rllib.core import COMPONENT_OPTIMIZER
from ray.tune.registry import ENV_CREATOR, _global_registry, register_env

FUSED_ADAM_SCHEMA = (
    "aten::_fused_adam_(Tensor(a!)[] self, Tensor(b!)[] grads, Tensor(c!)[] exp_avgs, "
    "Tensor(d!)[] exp_avg_sqs, Tensor(e!)[] max_exp_avg_sqs, Tensor[] state_steps, *, float lr, "
    "float beta1, float beta2, float weight_decay, float eps, bool amsgrad, bool maximize, "
    "Tensor? grad_scale=None, Tensor? found_inf=None) -> ()"
)


@pytest.fixture
def algorithm(config):
    algorithm = config.build_algo()
    yield algorithm
    algorithm.stop()


def test_fused_adam_has_the_schema_that_the_stacked_update_calls():
    """`stacked_td3.py` calls this operator directly.

    torch.optim.Adam(fused=True) calls it too, but keeps one step count per parameter tensor and
    looks its state up in a dictionary at every step. The stacked update needs a step count per cell
    and no look-up. torch has no public function that does this.
    """
    assert str(torch.ops.aten._fused_adam_.default._schema) == FUSED_ADAM_SCHEMA


def test_a_local_learner_group_holds_its_learner(algorithm):
    """`td3.py` calls the learner of this process, for which LearnerGroup has no public accessor."""
    assert algorithm.learner_group._learner.module is algorithm.env_runner.module


def test_a_multi_rl_module_keeps_its_modules_in_a_dict(algorithm):
    """`rl_module.py` moves the parameters of all modules into its banks."""
    module = algorithm.learner_group._learner.module
    assert set(module._rl_modules) == set(algorithm.cells)


def test_a_learner_notes_the_optimizers_of_each_module(algorithm):
    """`learner.py` adds an empty entry, because RLlib deletes it when a module is removed."""
    assert isinstance(algorithm.learner_group._learner._module_optimizers, defaultdict)


def test_a_checkpoint_of_a_learner_uses_the_overridden_hooks(algorithm, monkeypatch):
    """`learner.py` overrides `_get_optimizer_state` and `_set_optimizer_state`."""
    learner, restored = algorithm.learner_group._learner, []
    monkeypatch.setattr(learner, "_get_optimizer_state", lambda: {"kept": 1})
    monkeypatch.setattr(learner, "_set_optimizer_state", restored.append)

    state = learner.get_state(components=COMPONENT_OPTIMIZER)
    learner.set_state(state)

    assert state[COMPONENT_OPTIMIZER] == {"kept": 1}
    assert restored == [{"kept": 1}]


def test_registered_environments_are_found_by_name():
    """`env_runner.py` builds environments that were registered under a name."""
    register_env("a_registered_name", dict)
    assert _global_registry.get(ENV_CREATOR, "a_registered_name") is dict
