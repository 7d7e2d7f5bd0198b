"""The ONNX graph computes what NumPy computes, byte for byte the same file every time."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.env import ActorForm, SlicingEnv
from slicing_rllib.policies import CellPolicy, PolicyError, make_encoders
from slicing_rllib.radio import make_scenario
from slicing_rllib.serving import onnx_graph as parity
from slicing_rllib.serving.onnx_graph import find_group, make_graph
from slicing_rllib.serving.policy_set import PolicySet

FORMS = [
    ("paper", "mean_load", "mlp", "none"),
    ("paper", "all_cells", "mlp", "none"),
    ("widened", "per_neighbour", "mlp", "persistence"),
    ("per_slice", "none", "equivariant", "persistence"),
    ("per_slice", "none", "mlp", "none"),
]


def make_policies(observation: str, message: str, kind, base_policy) -> list[CellPolicy]:
    scenario, rng = make_scenario("paper"), np.random.default_rng(0)
    env = SlicingEnv(scenario, message=message, observation=observation, default_seed=1)
    form = ActorForm(scenario.n_slices, kind, base_policy)
    widths = list(itertools.pairwise(form.compute_widths(env.obs_size, (8, 6))))
    return [
        CellPolicy(
            encoder=encoder,
            form=form,
            weights={
                f"actor.{2 * n}.{part}": rng.normal(
                    size=(b, a) if part == "weight" else (b,)
                ).astype(np.float32)
                for n, (a, b) in enumerate(widths)
                for part in ("weight", "bias")
            },
            name=cell,
        )
        for cell, encoder in make_encoders(scenario, observation, message).items()
    ]


@pytest.mark.parametrize(("observation", "message", "kind", "base_policy"), FORMS)
def test_the_graph_agrees_with_numpy(observation, message, kind, base_policy):
    """Alone, and as the graph of all cells, which `PolicySet` compares for every cell."""
    policies = make_policies(observation, message, kind, base_policy)
    found = parity.check_parity(policies[0], None, np.random.default_rng(1))

    assert found["random_rows"] == parity.RANDOM_ROWS
    assert found["random_difference"] < 1e-7
    served = PolicySet({policy.encoder.cell: policy for policy in policies})
    assert len(served.groups) == 1
    assert len({find_group(policy) for policy in policies}) == 1


def test_equal_policies_give_equal_bytes():
    first, again = (make_policies(*FORMS[2])[0] for _ in range(2))
    assert make_graph([first]) == make_graph([again])


def test_a_graph_that_differs_is_refused():
    """The graph of another cell in the place of the right one."""
    policy, other = make_policies(*FORMS[0])[:2]
    with pytest.raises(PolicyError, match=r"cell_1@0: ONNX and NumPy differ by .* on random KPIs"):
        parity.check_parity(policy, None, np.random.default_rng(0), make_graph([other]))


def test_policies_of_different_forms_are_served_together():
    narrow = make_policies(*FORMS[0])[0]
    wide = make_policies(*FORMS[3])[1]
    served = PolicySet({"cell_1": narrow, "cell_2": replace(wide, name="other")})
    assert len(served.groups) == 2
