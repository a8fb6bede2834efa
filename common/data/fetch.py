"""One batch of samples into one buffer; what cannot be read is replaced where that is allowed."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from common.data.ring import Ring
from common.data.samples import VALID, Samples
from common.errors import BadRecordError, UserError


class Ticket(NamedTuple):
    """An order for one batch, which comes back when it is done.

    Attributes:
        slot: the buffer that the samples go to.
        epoch: of the samples.
        indices: of the samples.
        valid: false for padding.
        skipped: samples that could not be read, and why; another one of the batch stands in their places.
    """

    slot: int
    epoch: int
    indices: Int64[np.ndarray, " n"]
    valid: Bool[np.ndarray, " n"]
    skipped: tuple[tuple[int, BadRecordError], ...] = ()


class Fetch:
    """Does what tickets say, in a thread or, as a dataset, in a process.

    Args:
        samples: what is read.
        ring: the buffers.
        skip: put another sample of the batch into the place of one that cannot be read.
    """

    def __init__(self, samples: Samples, ring: Ring, *, skip: bool) -> None:
        self.samples, self.ring, self.skip = samples, ring, skip

    def __call__(self, ticket: Ticket) -> Ticket:
        """Fills the ticket's buffer; the ticket with what was skipped."""
        out = self.ring.arrays(ticket.slot, len(ticket.indices))
        valid = out.pop(VALID)
        valid[:] = ticket.valid
        try:
            self.samples.fetch(ticket.epoch, ticket.indices, out)
        except BadRecordError:
            if not self.skip:
                raise
            ticket = self._singly(ticket, out, valid)
        return ticket

    def _singly(self, ticket: Ticket, out: Mapping[str, np.ndarray], valid: Bool[np.ndarray, " n"]) -> Ticket:
        """Fetches one sample after the other; the first whole one stands in for those that cannot be read."""
        bad: dict[int, BadRecordError] = {}
        for row in range(len(ticket.indices)):
            try:
                one = {name: array[row : row + 1] for name, array in out.items()}
                self.samples.fetch(ticket.epoch, ticket.indices[row : row + 1], one)
            except BadRecordError as error:
                bad[row] = error
        if len(bad) == len(valid):
            raise UserError(
                f"no sample of a batch of {len(bad)} can be read, the first because of {bad[0]}; the verb `check` "
                "lists every such file"
            )
        whole = next(row for row in range(len(valid)) if row not in bad)
        for array in out.values():
            array[list(bad)] = array[whole]
        valid[list(bad)] = False
        return ticket._replace(skipped=tuple((int(ticket.indices[row]), error) for row, error in bad.items()))

    def __getitems__(self, ticket: Ticket) -> Ticket | UserError:
        """What a DataLoader's worker calls; a user's mistake travels as it is, without the worker's traceback."""
        try:
            return self(ticket)
        except UserError as error:
            return error

    def __getitem__(self, key: int) -> None:
        raise NotImplementedError("samples are fetched by the batch")
