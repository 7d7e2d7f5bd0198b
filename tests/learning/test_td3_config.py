"""Settings that are out of range, unknown or without effect are refused when a config is built."""

import copy
import inspect

import numpy as np
import pytest
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.policy import PolicySpec

from slicing_rllib.learning import TD3Config
from slicing_rllib.learning.td3_config import ACCEPTED, OUR_NAMES, RLLIB_NAMES
from slicing_rllib.policies.td3_settings import TD3Arguments


def make_config():
    return TD3Config().environment("Pendulum-v1")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("gamma", 1, "a number of at least 0, below 1"),
        ("gamma", float("nan"), "a number of at least 0, below 1"),
        ("tau", 0.0, "a number above 0, up to 1"),
        ("actor_lr", -1e-3, "a number above 0, up to 1"),
        ("critic_lr", 0.0, "a number above 0, up to 1"),
        ("batch_size", 0, "a whole number of at least 1, up to 2,147,483,648"),
        ("policy_delay", 0, "a whole number of at least 1, up to 2,147,483,648"),
        ("critic_delay", 0, "a whole number of at least 1, up to 2,147,483,648"),
        ("replay_capacity", 0, "a whole number of at least 1, up to 2,147,483,648"),
        ("replay_capacity", 10.5, "a whole number of at least 1, up to 2,147,483,648"),
        ("replay_precision", "float8", "one of float32, float16"),
        ("actor_hiddens", (8, 0), "at most 32 values, each a whole number of at least 1"),
        (
            "actor_hiddens",
            (70_000,),
            "at most 32 values, each a whole number of at least 1",
        ),
        (
            "critic_hiddens",
            64,
            "at most 32 values, each a whole number of at least 1",
        ),
        ("target_noise", -0.1, "a number of at least 0, up to 100"),
        ("exploration_noise", "much", "a number of at least 0, up to 100"),
        ("exploration_steps", -1, "a whole number of at least 0, up to 2,147,483,648"),
        ("actor_objective", "up", "one of critic, counterfactual, blend"),
        ("squash", "clip", "one of auto, softmax, tanh"),
        ("sample_async", 1, "True or False"),
        ("blend_critic_weight", 2, "a number of at least 0, up to 1"),
        ("num_learners", -1, "a whole number of at least 0, up to 2,147,483,648"),
    ],
)
def test_values_out_of_range_are_refused(name, value, expected):
    config = make_config().update_from_dict({name: value})

    with pytest.raises(ValueError, match=rf"^{name}=[^\n]*: expected {expected}[^\n]*$"):
        config.validate()


def test_every_setting_is_described_and_has_a_range():
    """In the schema, from which YAML, `help(TD3Config.training)` and tables are made."""
    described = inspect.getdoc(TD3Config.training) or ""
    for name, setting in TD3Arguments.model_json_schema()["properties"].items():
        assert setting["description"] in described
        assert getattr(TD3Config(), name) == getattr(TD3Arguments(), name)
        assert name in inspect.signature(TD3Config.training).parameters
        if setting.get("type") in ("integer", "number"):
            assert {"minimum", "exclusiveMinimum"} & setting.keys(), name
            assert {"maximum", "exclusiveMaximum"} & setting.keys(), name


def test_a_batch_larger_than_the_replay_buffer_is_refused():
    with pytest.raises(
        ValueError, match=r"^batch_size=64: expected at most replay_capacity, 32, got 64"
    ):
        make_config().training(batch_size=64, replay_capacity=32).validate()


@pytest.mark.usefixtures("unchecked")
def test_numpys_numbers_are_numbers():
    """As a search space samples them."""
    make_config().training(
        batch_size=np.int64(64), replay_capacity=np.int32(640), actor_lr=np.float32(1e-3)
    ).validate()


def test_no_seed_is_refused_as_runs_are_functions_of_it():
    with pytest.raises(ValueError, match="seed=None: expected a whole number of at least 0"):
        make_config().debugging(seed=None).validate()


def test_no_environment_is_refused():
    with pytest.raises(ValueError, match="environment: expected one"):
        TD3Config().validate()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.training(lr=1e-4), "^lr: expected 0.001, got 0.0001; actor_lr and critic_lr"),
        (lambda c: c.training(grad_clip=1.0), "^grad_clip: .*does not clip gradients"),
        (lambda c: c.training(train_batch_size=99), "^train_batch_size: .*; batch_size is"),
        (lambda c: c.training(minibatch_size=9), "^minibatch_size: .*; batch_size is"),
        (
            lambda c: c.env_runners(rollout_fragment_length=5),
            "^rollout_fragment_length: .*steps_per_iteration",
        ),
        (lambda c: c.env_runners(batch_mode="complete_episodes"), "^batch_mode: .*steps_per"),
        (
            lambda c: c.env_runners(env_to_module_connector=lambda *_: MeanStdFilter()),
            "^env_to_module_connector: .*no connector pipelines; wrap",
        ),
        (lambda c: c.env_runners(gym_env_vectorize_mode="async"), "^gym_env_vectorize_mode: "),
        (lambda c: c.rl_module(model_config={"fcnet_hiddens": [9]}), "^model_config: .*hiddens"),
        (
            lambda c: c.rl_module(model_config=DefaultModelConfig()),
            "^model_config: .*actor_hiddens, critic_hiddens",
        ),
        (lambda c: c.rl_module(rl_module_spec=RLModuleSpec()), "^rl_module_spec: expected none"),
        (
            lambda c: c.rl_module(algorithm_config_overrides_per_module={"p": {"lr": 1}}),
            r"^algorithm_config_overrides_per_module.p.lr: unknown setting, expected one of",
        ),
        (
            lambda c: c.multi_agent(policies={"p": PolicySpec(config={"lr": 1})}),
            r"^policies\['p'\]: expected PolicySpec\(\) without arguments",
        ),
        (lambda c: c.multi_agent(count_steps_by="agent_steps"), "^count_steps_by: "),
        (lambda c: c.framework("tf2"), "^framework_str: expected 'torch', got 'tf2'"),
        (lambda c: c.env_runners(num_gpus_per_env_runner=1), "^num_gpus_per_env_runner: "),
        (lambda c: c.training(learner_class=object), "^learner_class=.*expected a TD3Learner"),
        (lambda c: c.env_runners(env_runner_cls=object), "^env_runner_cls=.*expected a Batched"),
        (lambda c: c.offline_data(input_="x"), "^input_: "),
        (lambda c: c.update_from_dict({"actor_lrr": 1}), "^actor_lrr: .*did you mean actor_lr"),
        (
            lambda c: c.training(networks={"default_policy": {"actor_hidden": (3,)}}),
            r"^networks.default_policy.actor_hidden: unknown setting, expected one of",
        ),
        (
            lambda c: c.training(networks={"default_policy": {"actor_hiddens": (0,)}}),
            r"^networks.default_policy.actor_hiddens.0=0: expected greater than or equal to 1",
        ),
    ],
)
def test_what_has_no_effect_is_refused_by_name(change, said):
    config = change(make_config())

    with pytest.raises(ValueError, match=said) as refused:
        config.validate()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["replay_buffer_config", "training_intensity", "twin_q", "tauu"])
def test_arguments_that_training_does_not_have_are_refused_at_once(name):
    with pytest.raises(TypeError, match=rf"^training\(\): {name}: unknown setting"):
        make_config().training(**{name: 1})
    with pytest.raises(TypeError, match=r"^training\(\): replay_buffer_config: .*replay_capacity"):
        make_config().update_from_dict({"replay_buffer_config": {}})


def test_every_setting_of_rllib_either_has_an_effect_or_is_refused():
    """A new release of Ray that has other settings shows here."""
    for name in RLLIB_NAMES - ACCEPTED:
        config = make_config()
        config.__dict__[name] = object()
        with pytest.raises(ValueError, match=rf"^{name.removeprefix('_')}: expected"):
            config.validate()

    assert ACCEPTED <= RLLIB_NAMES
    assert all(len(hint) > 10 for hint in OUR_NAMES.values())


def test_rllibs_name_of_the_batch_size_is_ours():
    by_method = make_config().training(train_batch_size_per_learner=64)
    by_key = make_config().update_from_dict({"train_batch_size_per_learner": 64})

    assert by_method.batch_size == by_key.batch_size == by_key.total_train_batch_size == 64


def test_a_config_survives_what_tune_does_to_it():
    """As a dict, and that dict on top of a new config."""
    config = make_config().training(gamma=0.9, networks={"default_policy": {"actor_hiddens": (8,)}})
    again = TD3Config().update_from_dict(copy.deepcopy(config).to_dict())
    again.validate()

    assert again.gamma == 0.9
    assert again.networks == config.networks
    assert AlgorithmConfig().gamma != 0.9


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.training(networks={"cell_99": {"actor_hiddens": (8,)}}),
        lambda c: c.rl_module(
            algorithm_config_overrides_per_module={"cell_99": {"actor_hiddens": (8,)}}
        ),
        lambda c: c.multi_agent(policies_to_train=["cell_99"]),
    ],
)
def test_settings_of_unknown_policies_are_refused(config, change):
    with pytest.raises(ValueError, match="no policy 'cell_99', expected one of cell_1, cell_2, c"):
        change(config).build_algo()
