"""Shapes and types of every call into the package are checked at run time, in tests only."""

import sys
from types import ModuleType

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# The hook takes a checker by its importable name; an int may stand for a float.
checker = ModuleType("checked_at_run_time")
checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))
sys.modules[checker.__name__] = checker
install_import_hook("slicing_rllib", f"{checker.__name__}.check")
