"""The benchmark of alpha tells posteriors at the limit from wide ones, and choices that agree."""

import numpy as np
import pytest

from slicing_rllib.benchmarks import vae_weight
from slicing_rllib.radio import make_scenario
from slicing_rllib.transfer.transfer_settings import VaeSettings


@pytest.mark.slow
def test_a_large_weight_reconstructs_worse_and_leaves_the_limit(monkeypatch):
    monkeypatch.setattr(vae_weight, "WEIGHTS", (1e-3, 1.0))
    monkeypatch.setattr(vae_weight, "VaeSettings", lambda: VaeSettings(updates=150))

    rows = list(
        vae_weight.run(
            scenario=make_scenario("mixed"),
            networks=2,
            vae_seeds=2,
            samples=60,
            on_message=lambda _: None,
        )
    )
    found = {(row["name"], row["alpha"]): row["value"] for row in rows}

    error, largest = "vae.reconstruction_error", "vae.largest_samples"
    assert found[error, 1e-3] < found[error, 1.0]
    assert found[largest, 1e-3] > found[largest, 1.0]
    assert 0.0 <= found["vae.kl_paper.same_choice", 1e-3] <= 1.0


def test_the_largest_of_a_hundred_equal_samples_hold_a_hundredth():
    assert np.isclose(vae_weight._share_of_largest(np.ones((100, 4))), 0.01)


def test_choices_agree_where_the_nearest_source_is_the_same():
    one = np.array([[0.0, 1.0, 5.0], [1.0, 0.0, 2.0], [4.0, 3.0, 0.0]])
    other = one.copy()
    other[:, 2] = [1.0, 9.0, 0.0]

    assert vae_weight._compare_choices([one, one]) == 1.0
    assert np.isclose(vae_weight._compare_choices([one, other]), 2 / 3)
