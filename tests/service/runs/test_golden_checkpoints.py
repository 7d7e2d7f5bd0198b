"""A checkpoint of every released format is stored here, and can still be continued.

Each archive in `golden/` is a run of two cells with tiny networks. After a change of `FORMAT`, one
of the new format comes beside the older ones: train the `config.yaml` in it, then
`tar -cJf format_N.tar.xz -C RUN config.yaml policies.safetensors checkpoints/step_000000016`.
"""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from slicing_rllib.service.runs.algorithm import restore
from slicing_rllib.service.runs.checkpoints import FORMAT, find_newest_valid
from slicing_rllib.service.runs.run_directory import RunDirectory

GOLDEN = Path(__file__).parent / "golden"
FIRST_FORMAT = 2
"""Format 1 was never released."""
STEP = 16

pytestmark = pytest.mark.usefixtures("ray_session", "unchecked")


@pytest.mark.parametrize("number", range(FIRST_FORMAT, FORMAT + 1))
def test_a_checkpoint_of_every_released_format_continues(number: int, tmp_path: Path):
    """It verifies, has the weights that the run wrote beside it, and makes further updates."""
    with tarfile.open(GOLDEN / f"format_{number}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    run = RunDirectory.open(tmp_path)
    checkpoint, passed_over = find_newest_valid(run.checkpoints)
    assert passed_over == []
    assert checkpoint is not None
    algorithm = restore(run.config(), checkpoint)
    try:
        for cell, weights in run.policies().items():
            found = algorithm.policy_weights(cell)
            assert found.keys() == weights.keys()
            for name, values in weights.items():
                np.testing.assert_array_equal(found[name], values)
        assert algorithm.env_steps == STEP
        updates = algorithm.updates
        algorithm.train()
        assert algorithm.env_steps > STEP
        assert algorithm.updates > updates
    finally:
        algorithm.stop()
