"""What `python -m common.export run` does with the networks of one task."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.export.session import Session


@dataclass(frozen=True)
class Runner:
    """What is done with the files that a user names.

    A package offers one for its task as an entry point of the group `common.export.tasks.GROUP`.

    Attributes:
        about: what it does, in words.
        files: what a user may name, in words.
        add_arguments: adds the options that only this task has.
        run: does it; the options have `files` (list of `Path`), `output` (`Path`, a folder), `batch` (1 or more) and
            those that were added.
    """

    about: str
    files: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Session, argparse.Namespace], None]


def whole_number(text: str) -> int:
    """An option's value of 1 or more, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}; expected a whole number, 1 or more")
    return int(text)


def refuse_doubles(results: Sequence[Path], of: str) -> None:
    """A `UserError` where two results would be one file; `of` says what they are results of."""
    if double := next((result for result in results if results.count(result) > 1), None):
        raise UserError(f"{double}: would be the result of several {of}; run them into different folders")
