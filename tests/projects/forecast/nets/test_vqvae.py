from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from common.errors import UserError
from common.nets.statistics import RunningStatistics
from projects.forecast.nets.vqvae import VQVAE, Codebook, perplexity


def codebook(codes: int = 5, **options: Any) -> Codebook:
    """Of 3 numbers per code; its 1x1 convolution lets features through as they are; started, if not said otherwise."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"commitment": 0.25, "decay": 0.9, "revive_after": 1000, "temperature": 1.0}
    book = Codebook(3, 3, codes=codes, **settings | options)
    with torch.no_grad():
        book.conv.weight.copy_(torch.eye(3)[..., None, None])
        book.conv.bias.zero_()  # type: ignore[union-attr]
    book.unused.zero_()
    return book


def test_each_cell_becomes_its_nearest_code() -> None:
    book, features = codebook().eval(), torch.randn(2, 3, 4, 6)
    latent = book(features, sample=False)
    cells = features.permute(0, 2, 3, 1)
    nearest = torch.cdist(cells.reshape(-1, 3), book.codes).argmin(1)
    torch.testing.assert_close(latent.values.permute(0, 2, 3, 1), book.codes[nearest].reshape(cells.shape))
    expected = 0.25 * (cells - book.codes[nearest].reshape(cells.shape)).square().mean()
    torch.testing.assert_close(latent.terms["commitment"], expected)
    torch.testing.assert_close(latent.notes["perplexity"], perplexity(torch.bincount(nearest, minlength=5).float()))


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_passes_straight_through(training: bool) -> None:
    features = torch.randn(2, 3, 4, 6, requires_grad=True)
    weights = torch.randn(2, 3, 4, 6)
    (codebook().train(training)(features, sample=False).values * weights).sum().backward()
    assert features.grad is not None and torch.equal(features.grad, weights)


def test_commitment_draws_cells_to_their_codes() -> None:
    book, features = codebook(), torch.randn(1, 3, 2, 2, requires_grad=True)
    latent = book(features, sample=False)
    latent.terms["commitment"].backward()
    torch.testing.assert_close(features.grad, 0.25 * 2 * (features - latent.values).detach() / features.numel())


def test_codes_follow_their_cells_as_plain_numpy_says() -> None:
    book = codebook()
    codes = book.codes.numpy().astype(np.float64).copy()
    counts, sums = np.zeros(5), np.zeros((5, 3))
    for _ in range(20):
        features = torch.randn(2, 3, 4, 6) + 0.5
        book(features, sample=False)
        rows = features.permute(0, 2, 3, 1).reshape(-1, 3).double().numpy()
        chosen = [int(np.argmin(((codes - row) ** 2).sum(1))) for row in rows]
        for code in range(5):
            mine = rows[[place for place, choice in enumerate(chosen) if choice == code]]
            counts[code] = 0.9 * counts[code] + 0.1 * len(mine)
            sums[code] = 0.9 * sums[code] + 0.1 * mine.sum(0)
            codes[code] = sums[code] / counts[code] if counts[code] else codes[code]
        np.testing.assert_allclose(book.codes.numpy(), codes, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(book.running_counts.numpy(), counts, rtol=1e-5)


def test_a_dead_code_becomes_a_cell_of_the_batch_and_no_other_does() -> None:
    book = codebook(revive_after=3)
    book.codes[4] = 1000
    for call in range(3):
        before = book.codes[4].clone()
        features = torch.randn(2, 3, 8, 8)
        book(features, sample=False)
        assert torch.equal(book.codes[4], before) is (call < 2)
        assert book.unused[:4].tolist() == [0, 0, 0, 0]
    cells = features.permute(0, 2, 3, 1).reshape(-1, 3)
    assert [row for row in book.codes.tolist() if row in cells.tolist()] == [book.codes[4].tolist()]
    assert book.running_counts[4] == 1 and torch.equal(book.running_sums[4], book.codes[4])
    book(features, sample=False)
    assert book.unused.tolist() == [0] * 5


def test_the_first_call_starts_the_codebook_and_the_seed_decides_how() -> None:
    def started() -> tuple[Codebook, torch.Tensor]:
        book = codebook(codes=64)
        book.unused.fill_(book.revive_after)  # as a new one
        features = 100 + torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        book(features, sample=False)
        return book, features

    book, features = started()
    assert Codebook(
        3, 3, codes=2, commitment=0.25, decay=0.9, revive_after=7, temperature=1.0
    ).unused.tolist() == [7, 7]  # fmt: skip
    assert book.codes.min() > 90
    assert book(features, sample=False).notes["perplexity"] > 16
    again, _ = started()
    again(features, sample=False)
    assert torch.equal(again.codes, book.codes)


def test_even_use_has_the_perplexity_of_the_number_of_codes_and_one_code_has_one() -> None:
    torch.testing.assert_close(perplexity(torch.full((7,), 3.0)), torch.tensor(7.0))
    assert perplexity(torch.tensor([0.0, 5, 0])) == 1
    book = codebook(codes=4).eval()
    book.codes.copy_(torch.arange(12.0).reshape(4, 3))
    features = book.codes.T.reshape(1, 3, 2, 2)
    torch.testing.assert_close(book(features, sample=False).notes["perplexity"], torch.tensor(4.0))


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_draws_follow_the_softmax_of_the_distances(temperature: float) -> None:
    book = codebook(temperature=temperature).eval()
    cell = torch.randn(1, 3)
    drawn = torch.bincount(book.choose(cell.expand(50_000, 3), sample=True), minlength=5) / 50_000
    expected = torch.softmax(-torch.cdist(cell, book.codes)[0].square() / temperature, 0)
    torch.testing.assert_close(drawn, expected, atol=0.01, rtol=0)


def test_nothing_changes_in_eval_mode() -> None:
    book = codebook(revive_after=1).eval()
    before = {name: values.clone() for name, values in book.state_dict().items()}
    for sample in (True, False):
        book(torch.randn(2, 3, 4, 4), sample=sample)
    assert all(torch.equal(values, before[name]) for name, values in book.state_dict().items())


def test_under_bf16_distances_and_averages_are_float32() -> None:
    book, features = codebook(codes=64), 3 + 0.1 * torch.randn(2, 3, 8, 8)
    book.codes.copy_(3 + 0.1 * torch.randn(64, 3))
    codes = book.codes.double()
    with torch.autocast("cpu", torch.bfloat16):
        cells, latent = book.conv(features), book(features, sample=False)
    assert cells.dtype == torch.bfloat16 and latent.terms["commitment"].dtype == torch.float32
    nearest = torch.cdist(cells.double().permute(0, 2, 3, 1).reshape(-1, 3), codes).argmin(1)
    torch.testing.assert_close(book.running_counts, 0.1 * torch.bincount(nearest, minlength=64).float())
    expected = codes[nearest].reshape(2, 8, 8, 3).permute(0, 3, 1, 2)
    torch.testing.assert_close(latent.values.double(), expected, rtol=1e-6, atol=1e-6)


def test_a_step_that_the_guard_leaves_out_leaves_no_trace() -> None:
    book = codebook(revive_after=2)
    statistics = RunningStatistics(book)
    before = {name: values.clone() for name, values in book.named_buffers()}
    book(torch.full((1, 3, 2, 2), torch.nan), sample=False)
    assert statistics.not_finite(statistics.now()) == [".codes", ".running_sums"]
    statistics.put_back(statistics.now(), where=torch.tensor(True))
    assert all(torch.equal(values, before[name]) for name, values in book.named_buffers())


def learn_together(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    books = {"started": codebook(), "new": codebook(codes=64, revive_after=1)}
    torch.manual_seed(rank)
    for half in parts()[rank]:
        for book in books.values():
            book(half, sample=False)
    torch.save({name: book.state_dict() for name, book in books.items()}, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def parts() -> list[list[torch.Tensor]]:
    """What each of two ranks sees in four calls."""
    torch.manual_seed(5)
    return [[torch.randn(2, 3, 4, 4) + rank for _ in range(4)] for rank in range(2)]


def test_two_ranks_have_one_codebook_that_of_both_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    multiprocessing.start_processes(learn_together, (tmp_path,), nprocs=2, start_method="fork")  # imports take long
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name in ("started", "new"):
        assert all(torch.equal(values, second[name][key]) for key, values in first[name].items())
    last = parts()[0][-1].permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    assert any(code in last for code in first["new"]["codes"].tolist()), "revived as a cell of rank 0"
    alone = codebook()
    for halves in zip(*parts(), strict=True):
        alone(torch.cat(halves), sample=False)
    torch.testing.assert_close(first["started"], dict(alone.state_dict()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codes": 0}, "codes: found 0, expected more than 0"),
        ({"decay": 1.0}, "decay: found 1.0, expected a number between 0 and 1"),
        ({"revive_after": 0}, "revive_after: found 0"),
        ({"temperature": 0.0}, "temperature: found 0.0"),
        ({"commitment": -1.0}, "commitment: found -1.0"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        VQVAE(4, 3, 3, 2, widths=(4,), **options)
