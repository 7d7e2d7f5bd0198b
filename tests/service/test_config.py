"""Configs: what is accepted, and what the one line says about what is not."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.service.config import BUILT_IN, json_schema, load_config, resolved_yaml
from slicing_rllib.service.errors import ConfigError


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_resolved_config_is_the_config_again(name: str, tmp_path: Path):
    config = load_config(name, ["seed=3"])

    assert load_config(written(tmp_path, resolved_yaml(config))) == config


def test_the_papers_hyperparameters_are_the_default():
    learning = load_config("paper").learning

    assert (learning.exploration_steps, learning.training_steps) == (3000, 5500)
    assert (learning.actor_hiddens, learning.critic_hiddens) == ((48, 24), (64, 24))
    assert (learning.actor_lr, learning.critic_lr, learning.gamma) == (5e-4, 1e-3, 0.1)
    assert learning.batch_size == 32


def test_a_setting_overrides_one_value_and_keeps_the_rest():
    config = load_config("quick", ["learning.gamma=0.25"])

    assert config.learning.gamma == 0.25
    assert config.learning.exploration_steps == BUILT_IN["quick"]["learning"]["exploration_steps"]


def test_a_scenario_may_be_like_a_built_in_one_with_changes():
    config = load_config("paper", ["scenario.mask.low=0.3"])

    assert config.scenario.mask.low == 0.3
    assert config.scenario.mask.high == load_config("paper").scenario.mask.high


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning:\n  gama: 0.1\n", ":2: unknown key learning.gama, did you mean gamma?"),
        ("Seed: 1\n", ":1: unknown key Seed, did you mean seed?"),
        ("learning: {networks: {cell_13: {actor_hiddens: [8]}}}\n", "learning.networks: expected"),
        ("seed: -1\n", ":1: seed: Input should be greater than or equal to 0, got -1"),
        ("learning: {gamma: 1.5}\n", ":1: learning.gamma: Input should be less than 1, got 1.5"),
        ("- a\n", "expected a mapping of settings, got list"),
        ("a: [\n", "expected the node content"),
        ("scenario: papre\n", "papre"),
        ("evaluation: {policies: [best]}\n", "got 'best'"),
        ("env: {deployments: [{cell: cell_99, off_until: 1, default_action_until: 2}]}", "cell_99"),
        ("scenario: {like: paper, mask: {kind: csv, path: nowhere.csv}}\n", "nowhere.csv"),
        ("scenario: {like: paper, slices: []}\n", "slice"),
    ],
)  # fmt: skip
def test_a_bad_config_is_one_line_that_says_where(text: str, message: str, tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", ["1.5", "-0.1", "nan", "many"])
def test_a_trace_outside_0_to_1_names_its_line(share: str, tmp_path: Path):
    header = ",".join(spec.name for spec in load_config("paper").scenario.slices)
    (tmp_path / "t.csv").write_text(f"{header}\n.5,.5,.5,.5\n.5,.5,.5,{share}\n")
    text = "scenario: {like: paper, mask: {kind: csv, path: t.csv}}\n"

    with pytest.raises(ConfigError, match="line 3"):
        load_config(written(tmp_path, text))


def test_a_trace_is_looked_for_beside_the_config(tmp_path: Path):
    header = ",".join(spec.name for spec in load_config("paper").scenario.slices)
    (tmp_path / "t.csv").write_text(f"{header}\n.5,.5,.5,.5\n")
    text = "scenario: {like: paper, mask: {kind: csv, path: t.csv}}\n"

    config = load_config(written(tmp_path, text))

    assert config.scenario.mask.path == str(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed", "expected KEY=VALUE"),
        ("name.deep=1", "name has no settings of its own"),
        ("learning.gama=1", "--set learning.gama=1: unknown key learning.gama"),
        ("seed=[", "not YAML"),
        ("scenario.layout.rows=0", "--set scenario.layout.rows=0: scenario.layout:"),
    ],
)
def test_a_bad_setting_is_named(setting: str, message: str):
    with pytest.raises(ConfigError) as caught:
        load_config("quick", [setting])

    assert message in str(caught.value)


@given(st.text(max_size=40))
def test_no_text_brings_a_traceback(text: str):
    """Whatever is in the file: a config, or a ConfigError."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_text(text, encoding="utf-8")
        with suppress(ConfigError):
            load_config(str(path))


def test_the_schema_knows_every_section():
    assert set(json_schema()["properties"]) == set(
        yaml.safe_load(resolved_yaml(load_config("quick")))
    )
