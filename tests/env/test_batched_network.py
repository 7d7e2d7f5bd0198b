"""The phases of a new cell."""

import pytest

from slicing_rllib.env import Deployment
from slicing_rllib.radio import Phase


@pytest.mark.parametrize(
    ("step", "phase"),
    [
        (0, Phase.OFF),
        (4, Phase.OFF),
        (5, Phase.DEFAULT),
        (8, Phase.DEFAULT),
        (9, Phase.CONTROLLED),
    ],
)
def test_the_phase_at_a_step(step, phase):
    deployment = Deployment(cell="cell_1", off_until=5, default_action_until=9)

    assert deployment.phase_at(step) == phase


def test_phases_out_of_order_raise_an_error():
    with pytest.raises(ValueError, match="deployment of cell_1: expected off_until <= "):
        Deployment(cell="cell_1", off_until=5, default_action_until=4)
