"""Scenarios and simulators that several tests use."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.radio import Scenario, Simulator, SyntheticMask, make_scenario


@pytest.fixture(scope="session")
def paper() -> Scenario:
    return make_scenario("paper")


@pytest.fixture
def simulator(paper) -> Simulator:
    return Simulator(paper, 5, map_seed=0)


@pytest.fixture(scope="session")
def busy(paper) -> Scenario:
    """The scenario `paper` with every UE active in every step."""
    return replace(paper, name="busy", mask=SyntheticMask(low=1.0, high=1.0))


@pytest.fixture(scope="session")
def bracket():
    """Bounds of the load fixed point: iterated from all slices idle, and from all full."""

    def solve(simulator: Simulator, split: np.ndarray, tolerance: float = 1e-9):
        share = simulator.normalise_prb_ratio(split)
        starts = np.zeros_like(share), np.ones_like(share)
        return [simulator._solve_loads(share, start, tolerance) for start in starts]

    return solve


@pytest.fixture
def equal_split() -> np.ndarray:
    return np.full((12, 4), 0.25)
