"""Vectors of windows, on networks whose vectors are known."""

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image
from sklearn.manifold import trustworthiness
from torch import Tensor, nn

from common.errors import UserError
from projects.forecast.flood.embeddings import embeddings
from projects.forecast.flood.latent import COLUMNS, principal_components, t_sne, write_latent

NAMES = ["dike/1", "dike/2, west", "dike/3"]


class Fake(nn.Module):
    """Says of a window its last depths, bed and basin, pooled; `change` is applied to the vectors."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda vectors: vectors) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.change = change

    def embed(self, past: Tensor, bed: Tensor, inside: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        vectors = torch.stack([past[:, -1, 0].mean((1, 2)), bed.mean((1, 2)), inside.float().mean((1, 2))], dim=1)
        return self.change(vectors * self.scale)


def windows(counts: tuple[int, ...] = (4, 3, 5), batch: int = 5) -> Iterator[Mapping[str, Tensor]]:
    """Depth is the window's number in its simulation, the bed is the simulation's number."""
    rows = [(number, window) for number, count in enumerate(counts) for window in range(count)]
    for start in range(0, len(rows), batch):
        simulation, window = torch.tensor(rows[start : start + batch]).T
        maps = torch.ones(len(simulation), 8, 9)
        yield {
            "past": (window[:, None, None] * maps)[:, None, None].expand(-1, 2, 3, -1, -1),
            "bed": 10.0 * simulation[:, None, None] * maps,
            "inside": maps > 0,
            "simulation": simulation,
            "minutes": 60.0 * (window + 1),
        }


def test_vectors_in_order() -> None:
    found = embeddings(Fake(), windows((2, 1), batch=2))
    assert found.vectors.tolist() == [[0, 0, 1], [1, 0, 1], [0, 10, 1]]
    assert found.simulation.tolist() == [0, 0, 1]
    assert found.minutes.tolist() == [60, 120, 60]
    assert (found.vectors.dtype, found.simulation.dtype, found.minutes.dtype) == (np.float32, np.int64, np.float64)


def test_half_precision_becomes_single() -> None:
    found = embeddings(Fake(lambda vectors: vectors.bfloat16()), windows((2,)))
    assert found.vectors.dtype == np.float32


def test_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_latent(Fake(), windows(), names=NAMES, output=tmp_path / "latent")
    assert sorted(path.name for path in (tmp_path / "latent").iterdir()) == [
        "embeddings.csv", "embeddings.npz", "latent.png",
    ]  # fmt: skip
    with np.load(tmp_path / "latent" / "embeddings.npz", allow_pickle=False) as arrays:
        assert arrays["vectors"][5].tolist() == [1, 10, 1]
        assert arrays["simulation"].tolist() == [NAMES[0]] * 4 + [NAMES[1]] * 3 + [NAMES[2]] * 5
        pca, tsne = arrays["pca"], arrays["tsne"]
    assert np.linalg.norm(pca[4] - pca[0]) == pytest.approx(10, rel=1e-5), "two dimensions are kept as they are"
    with (tmp_path / "latent" / "embeddings.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(COLUMNS)
    assert rows[6][:2] == ["dike/2, west", "120"]
    assert [float(value) for value in rows[6][2:]] == pytest.approx([*pca[5], *tsne[5]], rel=1e-4, abs=1e-4)
    with Image.open(tmp_path / "latent" / "latent.png") as picture:
        assert picture.size == (1430, 1144)
    assert "12 windows of 3 simulations, 3 features; two principal components hold 100%" in capsys.readouterr().out


@pytest.mark.parametrize("counts", [(2, 2), ()])
def test_too_few(counts: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"found {sum(counts)} windows; expected 5 or more"):
        write_latent(Fake(), windows(counts), names=NAMES, output=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_not_finite(tmp_path: Path) -> None:
    spoilt = Fake(lambda vectors: vectors.where((vectors[:, :1] != 2) | (vectors[:, 1:2] == 0), torch.nan))
    with pytest.raises(UserError, match="2 of 12 vectors are not finite, the first that of dike/2, west at minute 180"):
        write_latent(spoilt, windows(), names=NAMES, output=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [lambda vectors: 0 * vectors, lambda vectors: vectors[:, :1], lambda vectors: vectors[:, :1].round(decimals=-9)],
    ids=["all alike", "one feature", "one feature, all alike"],
)
def test_collapsed_networks_are_drawn_too(change: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    write_latent(Fake(change), windows((3, 2)), names=NAMES, output=tmp_path)
    with np.load(tmp_path / "embeddings.npz") as arrays:
        assert np.isfinite(arrays["pca"]).all()
        assert np.isfinite(arrays["tsne"]).all()


def test_t_sne_keeps_neighbours_and_repeats_itself() -> None:
    centres = np.random.default_rng(0).normal(size=(4, 80)) * 8
    vectors = np.concatenate([centre + np.random.default_rng(1).normal(size=(20, 80)) for centre in centres])
    components, explained = principal_components(vectors.astype(np.float32))
    assert components.shape == (80, 50)
    assert 0.5 < explained < 1
    points = t_sne(components)
    assert trustworthiness(vectors, points, n_neighbors=10) > 0.9
    distances = np.linalg.norm(points[:, None] - points, axis=-1) + np.diag(np.full(80, np.inf))
    assert (distances.argmin(axis=1) // 20 == np.arange(80) // 20).all()
    np.testing.assert_array_equal(t_sne(components), points)


def test_of_many_windows_some_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projects.forecast.flood.latent._MOST", 11)
    points = t_sne(np.random.default_rng(0).normal(size=(21, 3)))
    assert np.flatnonzero(np.isfinite(points[:, 0])).tolist() == [*range(0, 21, 2)]


@pytest.mark.parametrize(("simulations", "legends"), [(3, 2), (25, 0)])
def test_few_simulations_are_named(
    simulations: int, legends: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(Axes, "legend", lambda axis, **options: made.append(axis.get_legend_handles_labels()[1]))
    names = [f"n{number}" for number in range(simulations)]
    write_latent(Fake(), windows((2,) * simulations), names=names, output=tmp_path)
    assert made == [names] * legends
