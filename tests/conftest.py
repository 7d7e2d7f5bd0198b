"""What all tests share: array shapes and types are checked at every call; one Ray session."""

import os

# Test workers share the cores; torch and NumPy read this when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import secrets
import sys
from tempfile import TemporaryDirectory
from types import ModuleType

import jaxtyping
import pytest
import ray
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# The import hook takes the name of an importable checker. This one accepts an int for a float.
checker = ModuleType("runtime_type_checker")
checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))
sys.modules[checker.__name__] = checker
install_import_hook("slicing_rllib", f"{checker.__name__}.check")

# Ray's nodes read this variable when they start: no test needs workers that start in advance.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")

pytest_plugins = ["run_fixtures", "fault_report", "pytester"]

LONGEST_FILES = (
    "tests/test_checks.py",
    "tests/studies/test_experiment.py",
    "tests/serving/test_application.py",
    "tests/studies/test_sweep.py",
    "tests/cli/test_cli.py",
    "tests/runs/test_training.py",
    "tests/cluster/test_client.py",
    "tests/learning/test_learner.py",
    "tests/runs/test_transfer_run.py",
)
"""They are begun first, so that no worker is left alone with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the longest files to the front; all other tests keep their order."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


def pytest_configure() -> None:
    """One token for all local Ray sessions of a process, whose Ray client reads it only once."""
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@pytest.fixture(scope="module")
def unchecked():
    """Turns shape and type checks off, which makes long simulations twice as fast.

    The functions that they call are checked in their own tests.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def ray_folder():
    """A folder with a short path, because Ray puts its sockets there."""
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(scope="session")
def ray_session(ray_folder):
    """A local Ray session with two CPUs."""
    os.environ["RAY_TMPDIR"] = ray_folder
    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=2,
        logging_level="ERROR",
        log_to_driver=False,
    )
    yield
    ray.shutdown()
