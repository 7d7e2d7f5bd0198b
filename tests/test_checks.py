"""Style, types and the direction of dependencies, held like any other behaviour."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["pyright", "--pythonpath", sys.executable],
    "layers": ["lint-imports"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_code_passes(check):
    tool = Path(sys.executable).parent / CHECKS[check][0]
    result = subprocess.run(
        [tool, *CHECKS[check][1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr
