"""Configs of training runs, read from YAML and checked as a whole.

`sections` and `run_config` say which settings there are, `loading` turns a file and `--set`
arguments into a `RunConfig`, `documents` reads and checks any YAML document, and `run_family` does
so for experiments and sweeps, which are many runs that start from one config.
"""

from slicing_rllib.service.config.consistency import has_branch
from slicing_rllib.service.config.documents import Document, read_document, validate_document
from slicing_rllib.service.config.loading import (
    BUILT_IN,
    check_config,
    dump_resolved_yaml,
    load_config,
    make_json_schema,
)
from slicing_rllib.service.config.policy_names import (
    PACKAGE_POLICIES,
    TRAINED_POLICIES,
    PolicyName,
)
from slicing_rllib.service.config.run_config import RunConfig
from slicing_rllib.service.config.run_family import RunFamily, load_family
from slicing_rllib.service.config.sections import (
    CheckpointSection,
    EnvSection,
    EvaluationSection,
    LearningSection,
    Name,
    NetworkSection,
    Section,
)

__all__ = [
    "BUILT_IN",
    "PACKAGE_POLICIES",
    "TRAINED_POLICIES",
    "CheckpointSection",
    "Document",
    "EnvSection",
    "EvaluationSection",
    "LearningSection",
    "Name",
    "NetworkSection",
    "PolicyName",
    "RunConfig",
    "RunFamily",
    "Section",
    "check_config",
    "dump_resolved_yaml",
    "has_branch",
    "load_config",
    "load_family",
    "make_json_schema",
    "read_document",
    "validate_document",
]
