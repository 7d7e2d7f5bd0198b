"""Run configs: what is accepted, and which line a mistake produces."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from slicing_rllib.policies.td3_settings import TD3Settings
from slicing_rllib.runs.config_loading import BUILT_IN, dump_resolved_yaml, load_config
from slicing_rllib.runs.policy_evaluation import list_past_events, scenario_at
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.storage.errors import ConfigError


class Setting(NamedTuple):
    """A part of the JSON Schema of a config."""

    path: str
    node: dict[str, Any]
    is_named: bool
    """Whether it is a setting, not an element of its value."""


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
        ("a: [\n", "did not find expected node content"),
        ("scenario: papre\n", "papre"),
        ("evaluation: {policies: [best]}\n", "got 'best'"),
        ("env: {deployments: [{cell: cell_99, off_until: 1, default_action_until: 2}]}", "cell_99"),
        ("scenario: {like: paper, mask: {kind: csv, path: nowhere.csv}}\n", "nowhere.csv"),
        ("scenario: {like: paper, slices: []}\n", "slice"),
        ("seed: 1\nname: a\nseed: 2\n", ":3: key 'seed' stands twice, first in line 1"),
        ("learning:\n  tau: .1\n  tau: .1\n", ":3: key 'tau' stands twice, first in line 2"),
        ("? [a]\n: 1\n", ":1: expected a name as key"),
        ("name: a\nseed: 010\n", ":2: YAML reads 010 as an octal number"),
        ("seed: 1:30\n", ":1: YAML reads 1:30 as a number to the base of 60"),
        ("seed: 0x_\n", ":1: cannot be read as int"),
        ("seed: !!int x\n", ":1: cannot be read as int"),
        ("seed: !!bool x\n", ":1: cannot be read as bool"),
        ("seed: !!timestamp x\n", ":1: could not determine a constructor"),
        ("seed: 2001-99-99\n", ":1: seed: Input should be a valid integer"),
        (f"seed: {'9' * 5000}\n", ":1: expected a number of at most 40 digits"),
        (f"seed: {'[' * 5000}\n", "nest"),
        (f"a: [{'x,' * 150_000}]\n", ":1: expected nesting no deeper than 40 and at most 150000"),
        ("seed: 1\na: &a [*a]\n", ":2: expected no anchors and aliases (&a, *a)"),
        ("seed: 1\nname: *a\n", ":2: expected no anchors and aliases (&a, *a)"),
        ("seed: \x00\n", "characters are not allowed"),
        ("seed: 4294967296\n", ":1: seed: Input should be less than 4294967296"),
        ("learning: {actor_lr: .inf}\n", ":1: learning.actor_lr: expected a finite number"),
        ("scenario: {like: paper, step_s: .nan}\n", ":1: scenario.step_s: expected a finite num"),
        ("scenario: {like: paper, radio: {noise_figure_db: 'nan'}}\n", "finite number, got 'nan'"),
        ("learning: {actor_hiddens: [0]}\n", "learning.actor_hiddens.0: Input should be greater"),
        ("learning: {networks: {cell_1: {critic_hiddens: [-4]}}}\n", "critic_hiddens.0: Input"),
        ("transfer: {vae: {hiddens: [0]}}\n", "vae.hiddens.0: Input should be greater"),
        ("learning: {training_steps: 0, exploration_steps: 0}\n", "expected at least 1 environm"),
        ("learning: {batch_size: 64, replay_capacity: 63}\n", "expected at most replay"),
        ("transfer: {source: cell_99, targets: [cell_3]}\n", ":1: transfer.source: expected cell"),
        ("transfer: {source: cell_3, targets: [cell_3]}\n", "another cell than the target"),
        ("transfer: {source: 'next:12', targets: [cell_3]}\n", "another cell than the target"),
        ("transfer: {source: 'library:a', targets: [cell_3]}\n", "expected transfer.library"),
        ("transfer: {targets: [cell_3, cell_3]}\n", "expected each name once, got 'cell_3' twice"),
        ("evaluation: {policies: []}\n", "evaluation.policies: Tuple should have at least 1 item"),
        ('name: "a\\x85b"\n', ":1: expected text without control characters"),
        ('pretrained_run: "a\\0b"\n', ":1: expected text without control characters"),
        ("scenario: {like: paper, mask: {kind: csv, path: \"a\\0\"}}\n", ":1: expected text"),
        ("scenario: {like: paper, layout: {rows: 1000000}}\n", "rows: Input should be less than"),
        ("scenario: {like: paper, layout: {rows: 9000}}\n", "at most 10000 sites, got 18000"),
        ("learning: {replay_capacity: 2000000000}\n", "expected at most 256 GiB of memory"),
        ("scenario: {like: paper, radio: {map_resolution_m: 1.0e-4}}\n", "at most 256 GiB of mem"),
        ("scenario: {like: paper, slices: [{name: a, users: 9000000, traffic: {rate_kbps: 1, "
         "packet_kbit: 1}}], sla_groups: [{name: A, slices: [{throughput_mbps: 1, delay_ms: 1}]}, "
         "{name: B, slices: [{throughput_mbps: 1, delay_ms: 1}]}]}\n", "at most 4000000 UEs"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_in_one_line_with_its_place(text: str, message: str, tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(tmp_path, text))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


DEGREES = """
scenario:
  like: paper
  layout:
    kind: sites
    sites:
      - {x_m: 8.68, y_m: 50.11, sla_groups: [A, A, A]}
      - {x_m: 8.67, y_m: 50.12, sla_groups: [A, A, A]}
"""
"""Longitude and latitude of two sites in Frankfurt."""


def test_degrees_in_place_of_metres_are_noticed(tmp_path: Path):
    with pytest.raises(ConfigError, match=r":4: scenario\.layout: .* expected sites in metres"):
        load_config(write_config(tmp_path, DEGREES))

    metres = DEGREES.replace("8.67", "800.0")
    assert len(load_config(write_config(tmp_path, metres)).scenario.cells) == 6


def test_a_cell_that_would_learn_after_the_last_step_is_refused(tmp_path: Path):
    """The rows `drl` and `tl` would be the same numbers. With two env runners steps count twice."""
    text = "env: {deployments: [{cell: cell_12, off_until: 20, default_action_until: 60}]}\n"
    path = write_config(tmp_path, text)
    steps = ["learning.exploration_steps=20", "learning.training_steps=50"]

    load_config(path, steps)
    load_config(path, [*steps, "num_env_runners=2", "transfer.method=none"])
    with pytest.raises(ConfigError, match="at environment step 120, but the run ends at step 70"):
        load_config(path, [*steps, "num_env_runners=2"])


@pytest.mark.timeout(10)
def test_a_hundred_thousand_keys_are_answered_at_once(tmp_path: Path):
    text = "\n".join(f"key_{number}: 1" for number in range(100_000))

    with pytest.raises(ConfigError, match="at most 150000 values"):
        load_config(write_config(tmp_path, text))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str):
    path = tmp_path / "mine.yaml"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
        case "folder":
            path.mkdir()

    with pytest.raises(ConfigError, match="expected a regular file, got a"):
        load_config(str(path))


def test_a_byte_order_mark_is_skipped(tmp_path: Path):
    assert load_config(write_config(tmp_path, "\ufeffseed: 3\n")).seed == 3


def test_a_merge_key_adds_the_settings_of_its_mapping(tmp_path: Path):
    text = "evaluation: {<<: {seeds: 1, steps: 7}}\nlearning: {tau: 0.5}\n"
    assert load_config(write_config(tmp_path, text)).evaluation.steps == 7


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
        ("scenario.layout.rows=0", "--set scenario.layout.rows=0: scenario.layout.rows: Input"),
    ],
)
def test_a_wrong_setting_is_named_in_the_message(setting: str, message: str):
    with pytest.raises(ConfigError) as caught:
        load_config("quick", [setting])

    assert message in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_config_or_a_config_error(text: str):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_text(text, encoding="utf-8")
        with suppress(ConfigError):
            load_config(str(path))


def test_the_schema_lists_every_section():
    assert set(RunConfig.model_json_schema()["properties"]) == set(
        yaml.safe_load(dump_resolved_yaml(load_config("quick")))
    )


def list_settings(schema: dict[str, Any], node: dict[str, Any], path: str) -> Iterator[Setting]:
    """Every setting below a node of a JSON Schema, and the parts of its values."""
    for name, below in node.get("properties", {}).items():
        yield Setting(f"{path}.{name}".lstrip("."), below, is_named=True)
    for part in ("items", "additionalProperties"):
        if isinstance(node.get(part), dict):
            yield Setting(f"{path}[]", node[part], is_named=False)
    for branch in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("prefixItems", ())):
        yield Setting(path, branch, is_named=False)


def walk_schema() -> Iterator[Setting]:
    schema = RunConfig.model_json_schema()
    open_nodes, seen = [Setting("", schema, is_named=False)], set()
    while open_nodes:
        setting = open_nodes.pop()
        yield setting
        node = setting.node
        if reference := node.get("$ref"):
            if reference not in seen:
                seen.add(reference)
                target = schema["$defs"][reference.rsplit("/", 1)[1]]
                open_nodes.append(Setting(setting.path, target, is_named=False))
            continue
        open_nodes += list_settings(schema, node, setting.path)


def test_every_setting_has_a_description_in_the_schema():
    """Whatever its section: editors show it."""
    named = [setting for setting in walk_schema() if setting.is_named]
    without = [s.path for s in named if not s.node.get("description") and "const" not in s.node]

    assert len(named) > 150
    assert without == []


def test_every_number_is_bounded_in_the_schema():
    """A typing error of a few digits is refused before it fills the memory or the disk."""
    numbers = [s for s in walk_schema() if s.node.get("type") in ("integer", "number")]
    low = ("minimum", "exclusiveMinimum")
    high = ("maximum", "exclusiveMaximum")
    open_ended = [
        s.path
        for s in numbers
        if not any(key in s.node for key in low) or not any(key in s.node for key in high)
    ]

    assert len(numbers) > 100
    assert open_ended == []


def test_the_defaults_of_a_config_are_those_of_td3():
    """As plain RLlib programs get them from TD3Config."""
    learning = load_config("paper").learning

    for name in TD3Settings.model_fields:
        assert getattr(learning, name) == getattr(TD3Settings(), name)


def test_a_config_is_read_without_torch_and_ray():
    """So that `config check` and `--help` answer at once."""
    program = (
        "import sys, slicing_rllib.runs.config_loading as c; c.load_config('paper'); "
        "print([m for m in ('torch', 'ray') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"


def test_the_seed_of_a_run_draws_its_map_once_and_for_all(tmp_path: Path):
    """The resolved config keeps it, also under another seed; a number keeps one map over seeds."""
    drawn, named = load_config("quick", ["seed=7"]), load_config("quick", ["env.map_seed=3"])
    resolved = tmp_path / "config.yaml"
    resolved.write_text(dump_resolved_yaml(drawn))

    assert (drawn.env.map_seed, named.env.map_seed) == (7, 3)
    assert load_config(str(resolved), ["seed=8"]).map_seed == 7


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_a_config_starts_from_another(tmp_path: Path):
    """A file states what differs; so may the file that it starts from, and a built-in scenario."""
    write(tmp_path, "city.yaml", "base: quick\nscenario: {step_s: 2.0}\nlearning: {gamma: 0.3}\n")
    config = load_config(write(tmp_path, "mine.yaml", "base: city.yaml\nlearning: {tau: 0.5}\n"))

    quick = load_config("quick")
    assert (config.learning.gamma, config.learning.tau, config.scenario.step_s) == (0.3, 0.5, 2.0)
    assert config.learning.actor == quick.learning.actor == "equivariant"
    assert config.scenario.layout == quick.scenario.layout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "base: absent.yaml",
            "absent.yaml': expected a YAML file or one of paper, recommended, first_run, quick",
        ),
        ("base: 3", "base: expected a config's name or file, got 3"),
        ("base: mine.yaml", "base: expected no circle"),
        ("base: quick\nlearning: {gama: 1}", "mine.yaml:2: unknown key learning.gama"),
    ],
)
def test_a_base_that_cannot_be_used_is_named(text: str, message: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, "mine.yaml", text))


def test_an_evaluation_sees_the_events_that_hold_at_its_time(tmp_path: Path):
    """With two env runners an event at network step 500 comes at environment step 1000."""
    path = tmp_path / "events.yaml"
    path.write_text(
        "base: paper\nnum_env_runners: 2\n"
        "env:\n"
        "  events:\n"
        "    - {step: 900, cell: cell_3, off: true}\n"
        "    - {step: 500, cell: cell_2, sla: {throughput_mbps: 9, delay_ms: 2}}\n"
    )
    config = load_config(str(path))
    before, after = scenario_at(config, 999), scenario_at(config, 1000)

    assert before is config.scenario
    assert after.sla_throughput_mbps[1].tolist() == [9] * 4
    assert [event.step for event in list_past_events(config)] == [0, 0]
    with pytest.raises(ConfigError, match=r"env\.events: event at step 900: cell: expected cell_1"):
        load_config(str(path), ["env.events=[{step: 900, cell: x, load: 2}]"])
