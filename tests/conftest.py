"""What all tests share: shapes and types checked at every call, and one Ray."""

import os
import secrets
import sys
from tempfile import TemporaryDirectory
from types import ModuleType

import jaxtyping
import pytest
import ray
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# The hook takes a checker by its importable name; an int may stand for a float.
checker = ModuleType("checked_at_run_time")
checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))
sys.modules[checker.__name__] = checker
install_import_hook("slicing_rllib", f"{checker.__name__}.check")

# Processes of Ray's that no test needs; its nodes read this when they start.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")


@pytest.fixture(scope="module")
def unchecked():
    """Long simulations at twice the speed: what they call is checked where it is tested itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def ray_folder():
    """For Ray's sockets, whose paths must be short."""
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(scope="session")
def ray_session(ray_folder):
    os.environ["RAY_TMPDIR"] = ray_folder
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=2,
        logging_level="ERROR",
        log_to_driver=False,
    )
    yield
    ray.shutdown()
