"""Training samples that cannot be read: named once, counted over ranks, and too many of them end the run."""

from collections.abc import Sequence

from common.data.report import Problem, report
from common.errors import UserError
from common.ranks import gather_from_ranks, sum_over_ranks

_EVERY = 16
"""Batches from one agreement of the ranks to the next."""


class Skips:
    """What was skipped in the present epoch.

    Args:
        share: of an epoch's samples that may be skipped, 0..1.
        samples: of an epoch, over all ranks.
        shown: whether this rank names what was skipped.

    Attributes:
        count: samples skipped in the present epoch by all ranks, as they last agreed.
    """

    def __init__(self, *, share: float, samples: int, shown: bool) -> None:
        self.share, self.samples, self.shown = share, samples, shown
        self.count = 0
        self._new: list[Problem] = []
        self._named: set[Problem] = set()
        self._epoch: list[Problem] = []

    @property
    def so_far(self) -> int:
        """`count`, and what this rank skipped since: close to all, and exact in one process."""
        return self.count + len(self._new)

    def begin(self, count: int) -> None:
        """Starts an epoch, of which `count` samples were skipped before a restart."""
        self.count, self._epoch = count, []

    def add(self, problems: Sequence[Problem]) -> None:
        """Notes samples that this rank skipped in one batch."""
        self._new += problems

    def after_batch(self, batches: int, *, of: int) -> None:
        """Agrees now and then, and after the last batch; see `agree`."""
        if batches % _EVERY == 0 or batches == of:
            self.agree()

    def agree(self) -> int:
        """Counts what all ranks skipped in this epoch; all call it equally often.

        Raises:
            UserError: more than may be, on all ranks.
        """
        if sum_over_ranks([len(self._new)])[0]:
            found = [problem for problems in gather_from_ranks(self._new) for problem in problems]
            self._name(found)
            self.count += len(found)
            self._epoch += found
        self._new = []
        if self.count > self.share * self.samples:
            raise UserError(
                f"skip_damaged: {self.count} of {self.samples} training samples of this epoch could not be read; "
                f"expected at most {self.share * self.samples:g}, a share of {self.share:g}. Mend or remove these "
                f"files (the verb `check` lists them all), or allow more:\n{report(self._epoch, heading='skipped')}"
            )
        return self.count

    def _name(self, found: Sequence[Problem]) -> None:
        for problem in found:
            if self.shown and problem not in self._named:
                print(f"skipped: {problem.path}: {problem.detail}", flush=True)
            self._named.add(problem)
