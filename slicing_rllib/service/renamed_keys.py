"""Config keys under their earlier names keep working, with one line that names the new name."""

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

RUN_KEYS: Mapping[str, str] = {
    "trained_in": "pretrained_run",
    "learning.overlap": "sample_async",
    "evaluation.at_steps": "evaluation_steps",
    "transfer.instances": "transferred_transitions",
    "transfer.most_distant": "max_distance_ratio",
    "transfer.sources": "n_sources",
    "transfer.foreign_share": "source_share",
    "transfer.foreign_half_life_updates": "source_share_half_life_updates",
    "transfer.critic_warmup_updates": "actor_delay_updates",
}
"""Earlier key of a run config, with its section, and the key's new name in the same section."""

EXPERIMENT_KEYS: Mapping[str, str] = {"at_steps": "evaluation_steps"}
"""Earlier key of an experiment's YAML and its new name."""


def rename_keys(document: dict[str, Any], renamed: Mapping[str, str], where: str) -> None:
    """Move values that stand under an earlier key to the new one, in place.

    `where` is the document's name in the warning. A new key that is set as well wins.
    """
    for earlier, new in renamed.items():
        *sections, key = earlier.split(".")
        section: Any = document
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and key in section:
            value = section.pop(key)
            section.setdefault(new, value)
            logger.warning("%s: %s is now called %s", where, earlier, ".".join([*sections, new]))
