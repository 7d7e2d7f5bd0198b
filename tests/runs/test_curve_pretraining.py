"""Curves that are trained on random networks of all kinds."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import slicing_rllib.learning
from slicing_rllib.policies.trained_policy import BUILTIN_CURVES
from slicing_rllib.runs.curve_pretraining import CurveSettings, draw_any_scenario, train_curves
from slicing_rllib.runs.pretraining import format_unseen_table

pytestmark = pytest.mark.usefixtures("unchecked")
TINY = CurveSettings(networks=2, steps=8, updates=10, batch_size=16)


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_network_is_complete_and_of_its_seed(seed: int):
    first, again = (draw_any_scenario(np.random.default_rng(seed), "any") for _ in range(2))

    assert first == again
    assert 2 <= first.n_slices <= 8
    assert np.all((first.sla_delay_ms >= 0.1) & (first.sla_delay_ms <= 90.0))


def test_equal_seeds_train_equal_curves_whose_manifest_repeats_them():
    messages = list[str]()
    first, again = train_curves(TINY, messages.append), train_curves(TINY, messages.append)

    assert all(np.array_equal(first.weights[name], again.weights[name]) for name in first.weights)
    assert first.provenance["command"].endswith("--random 2 --rounds 0 --seed 0")
    assert first.provenance["labels"] > 0
    assert "2 of 2 networks stepped" in messages


def test_the_page_shows_the_table_of_the_shipped_curves():
    page = Path(slicing_rllib.learning.__file__).parent / "README.md"
    (shown,) = re.findall(
        r"<!-- begin curves/unseen -->\n(.*?)\n<!-- end curves/unseen -->",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    manifest = json.loads((BUILTIN_CURVES / "manifest.json").read_text(encoding="utf-8"))

    assert shown == format_unseen_table(manifest["provenance"]["unseen_networks"])


@pytest.mark.parametrize("name", ["networks", "steps", "updates", "batch_size"])
def test_settings_below_one_are_refused(name: str):
    with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
        CurveSettings(**{name: 0})
