"""The trial of a config: a few steps of its network, quickly even where the run would take long."""

import pytest

from slicing_rllib.env import SlicingEnv
from slicing_rllib.runs import algorithm
from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.run_size import estimate_bytes


@pytest.mark.parametrize("resolution_m", [10.0, 1.0, 0.5])
def test_the_radio_map_of_a_trial_is_small(monkeypatch: pytest.MonkeyPatch, resolution_m: float):
    built = []

    def note(**arguments: object) -> SlicingEnv:
        built.append(arguments["scenario"])
        return SlicingEnv(**arguments)

    monkeypatch.setattr(algorithm, "SlicingEnv", note)
    config = load_config("quick", [f"scenario.radio.map_resolution_m={resolution_m}"])
    algorithm.check_network(config, "config")
    tried = config.model_copy(update={"scenario": built[0]})
    size = estimate_bytes(tried)["scenario.radio.map_resolution_m"]
    assert size <= algorithm.MAX_MAP_BYTES * 1.001
    assert (built[0] == config.scenario) == (resolution_m == 10.0)
