"""Settings of `quick` with which services of tests run."""

WITH_MESSAGES = [
    "learning.actor=mlp",
    "learning.base_policy=none",
    "learning.initial_actor=random",
    "learning.actor_objective=critic",
    "env.observation=paper",
]
"""The paper's observation, which reads messages of neighbours."""
