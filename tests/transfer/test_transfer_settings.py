"""Settings of a transfer are declared once: direct construction refuses what a config refuses."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from slicing_rllib.transfer import TransferSettings


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"method": "magic"}, "expected one of none, model"),
        ({"measure": "closeness"}, "expected one of kl_paper"),
        ({"samples": 0}, "samples\n  Input should be greater"),
        ({"transferred_transitions": -1}, "transferred_transitions\n  Input should be greater"),
        ({"source_share": 1.5}, "source_share\n  Input should be less"),
        ({"source_share_half_life_updates": 0}, "Input should be greater"),
        ({"exploration_noise": float("nan")}, "exploration_noise\n  Input should be a finite"),
        ({"vae": {"hiddens": [0]}}, "vae.hiddens.0\n  Input should be greater"),
        ({"vae": {"lr": 0.0}}, "vae.lr\n  Input should be greater"),
        ({"guard": {"alpha": 1.0}}, "guard.alpha\n  Input should be less"),
        ({"guard": {"window_steps": -1}}, "guard.window_steps\n  Input should be greater"),
        ({"drift": {"default_action_steps": 0}}, "Input should be greater"),
        ({"strategy": "model"}, "strategy\n  Unexpected keyword argument"),
    ],
)
def test_a_value_outside_its_range_is_refused_with_its_key(settings: dict, problem: str):
    with pytest.raises(ValidationError, match=problem.replace(".", r"\.")):
        TransferSettings(**settings)


def test_every_setting_has_a_description_and_every_number_a_range():
    schema = TypeAdapter(TransferSettings).json_schema()
    sections: dict[str, Any] = {"transfer": schema, **schema["$defs"]}
    for section, node in sections.items():
        for name, setting in node["properties"].items():
            assert setting.get("description"), f"{section}.{name}"
            for kind in (setting, *setting.get("anyOf", ()), setting.get("items", {})):
                if kind.get("type") in ("number", "integer"):
                    assert {"minimum", "exclusiveMinimum"} & set(kind), f"{section}.{name}"
                    assert {"maximum", "exclusiveMaximum"} & set(kind), f"{section}.{name}"
