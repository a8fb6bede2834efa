"""A Python that only notes its words in a file and ends with a given status."""

import json
import sys
from pathlib import Path

PROGRAM = """
import json, os, sys
with open(os.environ["CALLS"], "a+") as file:
    file.write(json.dumps(sys.argv[1:]) + chr(10))
    file.seek(0)
    number = len(file.readlines())
sys.exit(int(([0] + os.environ["STATUSES"].split())[number]))
"""


def python(folder: Path) -> dict[str, str]:
    """Variables of a new one that ends with the next of STATUSES."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable} -S\n{PROGRAM}")
    path.chmod(0o755)
    return {"PYTHON": str(path), "CALLS": str(folder / "calls"), "STATUSES": "0"}


def calls(folder: Path) -> list[list[str]]:
    """The words of each call so far."""
    path = folder / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
