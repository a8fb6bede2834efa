"""What is wrong with the data, counted and named before training starts."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Problem:
    """One thing left out of the data.

    Attributes:
        path: the file it was found in.
        kind: a short phrase that groups problems, such as "label beyond the end of the video".
        detail: the value found and the value expected.
    """

    path: Path
    kind: str
    detail: str


def report(problems: Iterable[Problem], *, examples: int = 3, heading: str = "left out") -> str:
    """Problems as text: one line per kind and file with its count and first examples; empty without problems.

    Args:
        problems: in any order; the same one is counted once.
        examples: shown of each kind and file.
        heading: what became of them, in a word or two.
    """
    groups: dict[tuple[str, Path], list[str]] = defaultdict(list)
    for problem in sorted(set(problems)):
        groups[problem.kind, problem.path].append(problem.detail)
    lines = []
    for (kind, path), details in sorted(groups.items()):
        more = f", and {len(details) - examples} more" if len(details) > examples else ""
        lines.append(f"{heading}: {len(details)} x {kind} in {path}: {'; '.join(details[:examples])}{more}")
    return "\n".join(lines)
