"""Run configs: what is accepted, and which line a mistake produces."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.learning.defaults import TD3_DEFAULTS
from slicing_rllib.service import config as config_package
from slicing_rllib.service.config import (
    BUILT_IN,
    RunConfig,
    Section,
    dump_resolved_yaml,
    load_config,
    make_json_schema,
)
from slicing_rllib.service.errors import ConfigError


def write_config(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_resolved_config_loads_as_the_same_config(name: str, tmp_path: Path):
    config = load_config(name, ["seed=3"])

    assert load_config(write_config(tmp_path, dump_resolved_yaml(config))) == config


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


def test_a_setting_below_scenario_changes_the_built_in_scenario():
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
def test_a_mistake_is_reported_in_one_line_with_its_place(text: str, message: str, tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(tmp_path, text))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", ["1.5", "-0.1", "nan", "many"])
def test_a_trace_value_outside_0_to_1_is_reported_with_its_line(share: str, tmp_path: Path):
    header = ",".join(spec.name for spec in load_config("paper").scenario.slices)
    (tmp_path / "t.csv").write_text(f"{header}\n.5,.5,.5,.5\n.5,.5,.5,{share}\n")
    text = "scenario: {like: paper, mask: {kind: csv, path: t.csv}}\n"

    with pytest.raises(ConfigError, match="line 3"):
        load_config(write_config(tmp_path, text))


def test_the_path_of_a_trace_is_relative_to_the_config(tmp_path: Path):
    header = ",".join(spec.name for spec in load_config("paper").scenario.slices)
    (tmp_path / "t.csv").write_text(f"{header}\n.5,.5,.5,.5\n")
    text = "scenario: {like: paper, mask: {kind: csv, path: t.csv}}\n"

    config = load_config(write_config(tmp_path, text))

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
def test_a_wrong_setting_is_named_in_the_message(setting: str, message: str):
    with pytest.raises(ConfigError) as caught:
        load_config("quick", [setting])

    assert message in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_config_or_a_config_error(text: str):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_text(text, encoding="utf-8")
        with suppress(ConfigError):
            load_config(str(path))


def test_the_schema_lists_every_section():
    assert set(make_json_schema()["properties"]) == set(
        yaml.safe_load(dump_resolved_yaml(load_config("quick")))
    )


def sections() -> list[type[Section]]:
    return [
        getattr(config_package, name)
        for name in config_package.__all__
        if name.endswith("Section") and name != "Section"
    ] + [RunConfig]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_setting_has_a_description_in_the_schema(section: type[Section]):
    for name, field in section.model_fields.items():
        assert field.description, f"{section.__name__}.{name}"
        assert section.model_json_schema()["properties"][name]["description"] == field.description


def test_the_defaults_of_a_config_are_those_of_td3():
    """As plain RLlib programs get them from TD3Config."""
    learning = load_config("paper").learning

    for name in vars(TD3_DEFAULTS):
        assert getattr(learning, name) == getattr(TD3_DEFAULTS, name)


def test_a_key_under_its_earlier_name_still_works(tmp_path: Path, caplog):
    path = write_config(tmp_path, "learning: {overlap: true}\n")

    assert load_config(path).learning.sample_async
    assert "learning.overlap is now called learning.sample_async" in caplog.text


def test_a_new_key_wins_over_its_earlier_name(tmp_path: Path):
    path = write_config(tmp_path, "learning: {overlap: true, sample_async: false}\n")

    assert not load_config(path).learning.sample_async


def test_a_config_is_read_without_torch_and_ray():
    """So that `config check` and `--help` answer at once."""
    program = (
        "import sys, slicing_rllib.service.config as c; c.load_config('paper'); "
        "print([m for m in ('torch', 'ray') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
