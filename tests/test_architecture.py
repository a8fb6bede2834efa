import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECKS = {
    "the arrows between packages": ["lint-imports"],
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_make_check(check: str) -> None:
    program, *flags = CHECKS[check]
    path = Path(sys.executable).parent / program
    assert path.exists() or shutil.which(program), f"{program} is missing: pip install -e '.[dev]'"
    done = subprocess.run([path, *flags], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_four_laboratories_live_in_projects() -> None:
    folders = {path.name for path in (ROOT / "projects").iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert folders <= {"ball", "clouds", "pose", "forecast"}


def test_no_address_of_a_package_index_is_committed() -> None:
    for name in ("constraints.txt", "pyproject.toml", "Makefile"):
        assert "://" not in (ROOT / name).read_text()
