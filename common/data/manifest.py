"""What a folder of generated data holds, so that other data are neither overwritten nor taken for these."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_text

MANIFEST = "synthetic.json"


def claim(root: Path, request: Mapping[str, Any], folders: Sequence[str]) -> None:
    """Writes what `root` will hold into its manifest, or compares it with what was asked for.

    Args:
        root: the folder of the data.
        request: format, seed, sizes and counts, as JSON can say them.
        folders: that the data will be in.

    Raises:
        UserError: `root` holds data of another request, or of somebody else.
    """
    manifest = root / MANIFEST
    if not manifest.exists():
        foreign = [folder for folder in folders if (root / folder).exists()]
        if foreign:
            raise UserError(f"{root / foreign[0]} exists, but not {manifest}: other data; give another folder")
        write_text(manifest, json.dumps(request, indent=2) + "\n")
    elif (found := manifest.read_text(encoding="utf-8").strip()) != json.dumps(request, indent=2):
        raise UserError(
            f"{manifest}: found {' '.join(found.split())}, asked for {json.dumps(request)}; "
            f"delete {root} to have it made again, or give another folder"
        )
