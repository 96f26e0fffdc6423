"""Style, types and layers: the checks that pre-commit runs, so that CI needs one command."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECKS = {
    "style": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "layers": ["lint-imports"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_check(name):
    """Each prints what is wrong."""
    program = Path(sys.executable).parent / CHECKS[name][0]
    run = subprocess.run([program, *CHECKS[name][1:]], cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout + run.stderr


def test_no_file_is_too_long():
    """Above 400 lines a file asks for another one."""
    files = [*ROOT.glob("advisor/**/*.py"), *ROOT.glob("bench/**/*.py"), *ROOT.glob("tests/*.py")]

    assert len(files) > 100
    assert not [file.name for file in files if len(file.read_text().splitlines()) > 400]
