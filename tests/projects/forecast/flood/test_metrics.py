import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score, mean_absolute_error, r2_score, root_mean_squared_error

from common.errors import UserError
from projects.forecast.flood.baselines import TrainingMean, persistence
from projects.forecast.flood.metrics import FloodScores, score_names

MINUTES = 30.0
STEPS = 6


class Batch(NamedTuple):
    predicted: torch.Tensor
    target: torch.Tensor
    known: torch.Tensor
    inside: torch.Tensor

    def rows(self, part: slice) -> "Batch":
        return Batch(*(values[part] for values in self))


def example(seed: int, simulations: int = 5) -> Batch:
    """Patchy floods that grow, in basins of any shape; the first simulation is dry, the last is padding."""
    random = np.random.default_rng(seed)
    size = tuple(random.integers(2, 7, 2))
    fields = random.normal(0, 0.3, (2, simulations, STEPS, 3, *size)).astype(np.float32)
    growth = np.linspace(0, 0.8, STEPS, dtype=np.float32)[:, None, None]
    fields[:, :, :, 0] = np.maximum(random.normal(-0.4, 0.4, (2, simulations, 1, *size)) + growth, 0)
    fields[1, 0, :, 0] = 0
    known = random.random((simulations, STEPS)) < random.choice([0.5, 1.0], (simulations, 1))
    known[-1] = False
    inside = random.random((simulations, *size)) < random.choice(
        [0.0, 0.7, 1.0], (simulations, 1, 1), p=[0.1, 0.5, 0.4]
    )
    return Batch(*(torch.from_numpy(values) for values in (*fields, known, inside)))


def metric_of(*batches: Batch, steps: int = STEPS, **options: Any) -> FloodScores:
    metric = FloodScores(steps)
    for batch in batches:
        named = {"known": batch.known, "inside": batch.inside}
        metric.update(batch.predicted, batch.target, **named, minutes_per_step=MINUTES, **options)
    return metric


def curves_of(metric: FloodScores) -> dict[str, list[float]]:
    return {name: curve.tolist() for name, curve in metric.compute_curves().items()}


def discharge(field: np.ndarray) -> np.ndarray:
    return np.sqrt(field[1] ** 2 + field[2] ** 2) * field[0]


def oracle_of_step(found: np.ndarray, true: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """Of fields (3, height, width), by scikit-learn; NaN where a score has no value."""
    scores = dict.fromkeys(score_names(), math.nan)
    lost, (a, b) = found[0][~inside].sum(), (field[:, inside] for field in (found, true))
    if a[0].sum() + lost > 0:
        scores["outside_volume"] = lost / (a[0].sum() + lost)
    if not inside.any():
        return scores
    scores["h_rmse"], scores["h_mae"] = root_mean_squared_error(b[0], a[0]), mean_absolute_error(b[0], a[0])
    scores["q_rmse"] = root_mean_squared_error(discharge(b), discharge(a))
    scores["v_rmse"] = math.sqrt(np.mean((b[1] - a[1]) ** 2 + (b[2] - a[2]) ** 2))
    for name, threshold in (("csi_005", 0.05), ("csi_03", 0.3)):
        if ((a[0] > threshold) | (b[0] > threshold)).any():
            scores[name] = jaccard_score(b[0] > threshold, a[0] > threshold)
    if np.ptp(b[0]) > 0:
        scores["nse"] = r2_score(b[0], a[0])
    if b[0].sum() > 0:
        scores["volume_error"] = abs(a[0].sum() - b[0].sum()) / b[0].sum()
    return scores


def arrivals(batch: Batch, row: int, which: torch.Tensor) -> dict[tuple[int, int], int]:
    """The step in which each cell is first deeper than 5 cm."""
    found: dict[tuple[int, int], int] = {}
    for step in range(STEPS):
        for cell in np.argwhere(batch.inside[row].numpy()):
            if batch.known[row, step] and which[row, step, 0, cell[0], cell[1]] > 0.05:
                found.setdefault((int(cell[0]), int(cell[1])), step)
    return found


def oracle_of_arrival(batch: Batch, row: int, steps: set[int]) -> dict[str, float]:
    """Of the cells reached in these steps."""
    found, true = arrivals(batch, row, batch.predicted), arrivals(batch, row, batch.target)
    truly = {cell for cell, step in true.items() if step in steps}
    said = {cell for cell, step in found.items() if step in steps}
    late = [abs(found[cell] - true[cell]) * MINUTES / 60 for cell in truly if cell in found]
    return {
        "arrival_h": float(np.mean(late)) if late else math.nan,
        "arrival_missed": len(truly - found.keys()) / len(truly) if truly else math.nan,
        "arrival_false": len(said - true.keys()) / len(said) if said else math.nan,
    }


def mean_of(values: list[float]) -> float:
    present = [value for value in values if not math.isnan(value)]
    return float(np.mean(present)) if present else math.nan


def oracle(batch: Batch) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The scores of the rollouts, and of each step."""
    rollouts, table = [], []
    for row in range(len(batch.known)):
        found, true = (field[row].double().numpy() for field in (batch.predicted, batch.target))
        known, inside = batch.known[row].numpy(), batch.inside[row].numpy()
        nothing = dict.fromkeys(score_names(), math.nan)
        steps = [oracle_of_step(found[k], true[k], inside) if known[k] else nothing for k in range(STEPS)]
        rollout = {name: mean_of([scores[name] for scores in steps]) for name in score_names()}
        depths = true[known, 0][:, inside], found[known, 0][:, inside]
        rollout["nse"] = r2_score(*(h.ravel() for h in depths)) if depths[0].size and np.ptp(depths[0]) else math.nan
        rollouts.append(rollout | oracle_of_arrival(batch, row, set(range(STEPS))))
        table.append([scores | oracle_of_arrival(batch, row, {k}) for k, scores in enumerate(steps)])
    means = {name: mean_of([scores[name] for scores in rollouts]) for name in score_names()}
    return means, {name: [mean_of([row[k][name] for row in table]) for k in range(STEPS)] for name in score_names()}


@settings(max_examples=12)
@given(seed=st.integers(0, 100_000))
def test_equals_loops_over_simulations_steps_and_cells(seed: int) -> None:
    batch = example(seed)
    with sklearn.config_context(skip_parameter_validation=True):  # half of its time
        rollouts, curves = oracle(batch)
    metric = metric_of(batch)
    assert metric.compute() == pytest.approx(rollouts, rel=2e-5, abs=1e-6, nan_ok=True)
    for name, curve in curves_of(metric).items():
        assert curve == pytest.approx(curves[name], rel=2e-5, abs=1e-6, nan_ok=True), name


def real(file: Path, step: int) -> torch.Tensor:
    """(simulations, frames, 3, height, width)."""
    with h5py.File(file) as store:
        fields = [store[name][:][:, ::step] * store[name].attrs["scale"] for name in ("WD", "VX", "VY")]
    return torch.from_numpy(np.stack([field.astype(np.float32) for field in fields], axis=2))


def test_the_published_rows_of_the_trivial_forecasts(real_data: Path) -> None:
    """Hourly, from two frames; of the training mean q is the mean of |v| h."""
    flood = real_data / "flood"
    test, steps = real(flood / "dataset1.h5", 2), 47
    past, target = test[:, :2], test[:, 2:]
    counted = {"known": torch.ones(20, steps, dtype=torch.bool), "inside": torch.ones(20, 64, 64, dtype=torch.bool)}
    mean = TrainingMean()
    mean.fit((frames, torch.ones(49, dtype=torch.bool)) for frames in real(flood / "dataset_train_val.h5", 1))
    still, average = FloodScores(steps), FloodScores(steps)
    still.update(persistence(past, steps), target, **counted, minutes_per_step=60.0)
    discharges = mean.mean_discharge(past, steps)
    average.update(mean(past, steps), target, **counted, minutes_per_step=60.0, predicted_q=discharges)
    columns = ("h_rmse", "q_rmse", "csi_005", "csi_03")
    assert [round(still.compute()[name], 4) for name in columns] == [0.3018, 0.0208, 0.112, 0.0814]
    assert [round(average.compute()[name], 4) for name in columns] == [0.26, 0.0209, 0.3626, 0.3115]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), cut=st.integers(0, 5))
def test_batches_and_ranks_do_not_show(seed: int, cut: int) -> None:
    batch = example(seed)
    whole, merged = metric_of(batch), metric_of(*(batch.rows(slice(row, row + 1)) for row in range(cut)))
    merged.merge_state(metric_of(batch.rows(slice(cut, None))))
    assert merged.compute() == pytest.approx(whole.compute(), rel=1e-12, abs=1e-15, nan_ok=True)
    for name, curve in curves_of(whole).items():
        assert curves_of(merged)[name] == pytest.approx(curve, rel=1e-12, abs=1e-15, nan_ok=True), name


def of_rank(rank: int, meeting: Path) -> list[tuple[dict[str, float], dict[str, list[float]]]]:
    """On one of two processes: 2 simulations and 3, then none and 5."""
    address, patience = f"file://{meeting}", timedelta(seconds=30)
    torch.distributed.init_process_group("gloo", address, patience, rank=rank, world_size=2)
    batch, results = example(3), []
    for parts in (slice(0, 2), slice(2, 5)), (None, slice(0, 5)):
        part = parts[rank]
        metric = metric_of(*([batch.rows(part)] if part is not None else []))
        curves = curves_of(metric)
        results.append((metric.compute(), curves, curves_of(metric)))
    torch.distributed.destroy_process_group()
    return results


def test_two_processes_with_uneven_and_empty_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    # Forked, as fresh processes would spend half a minute on imports; safe with the single thread of conftest.py.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as processes:
        ranks = list(processes.map(of_rank, range(2), [tmp_path / "meeting"] * 2))
    whole = metric_of(example(3))
    for scores, curves, again in (result for results in ranks for result in results):
        assert scores == pytest.approx(whole.compute(), rel=1e-12, nan_ok=True)
        for name, curve in curves_of(whole).items():
            assert curves[name] == again[name] == pytest.approx(curve, rel=1e-12, nan_ok=True), name


def test_without_a_simulation_and_without_a_known_step() -> None:
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert all(math.isnan(value) for value in FloodScores(STEPS).compute().values())
    batch = example(0)
    for empty in (batch._replace(known=batch.known & False), batch.rows(slice(0, 0))):
        metric = metric_of(empty)
        assert all(math.isnan(value) for value in metric.compute().values())
        assert all(math.isnan(value) for curve in curves_of(metric).values() for value in curve)


def test_without_a_cell_inside_only_lost_water_is_scored() -> None:
    batch = example(0)
    scores = metric_of(batch._replace(inside=batch.inside & False)).compute()
    assert scores.pop("outside_volume") == 1
    assert all(math.isnan(value) for value in scores.values())


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), rubbish=st.sampled_from([math.nan, math.inf, -1e30]))
def test_what_does_not_count_has_no_effect(seed: int, rubbish: float) -> None:
    batch = example(seed)
    counted = (batch.known[..., None, None] & batch.inside[:, None])[:, :, None]
    target = torch.where(counted, batch.target, rubbish)
    predicted = torch.where(batch.known[..., None, None, None], batch.predicted, rubbish)
    other, whole = metric_of(batch._replace(predicted=predicted, target=target)), metric_of(batch)
    assert other.compute() == pytest.approx(whole.compute(), rel=0, abs=0, nan_ok=True)
    for name, curve in curves_of(whole).items():
        assert curves_of(other)[name] == pytest.approx(curve, rel=0, abs=0, nan_ok=True), name


def test_a_nan_that_counts_is_seen() -> None:
    batch = example(1)
    wet = batch.target[:, :, 0] * batch.known[..., None, None] * batch.inside[:, None]
    row, step, y, x = (int(value) for value in wet.nonzero()[0])
    batch.predicted[row, step, :, y, x] = math.nan
    scores = metric_of(batch).compute()
    broken = {name for name, value in scores.items() if math.isnan(value)}
    assert broken == {"h_rmse", "q_rmse", "h_mae", "v_rmse", "nse", "volume_error", "outside_volume"}


@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_forecast(seed: int) -> None:
    batch = example(seed)
    scores = metric_of(batch._replace(predicted=batch.target, inside=batch.inside | True)).compute()
    assert {name for name, value in scores.items() if value == 1} == {"csi_005", "csi_03", "nse"}
    assert sorted(scores.values()) == [0] * 9 + [1] * 3


def test_a_discharge_of_its_own_is_scored_instead() -> None:
    batch = example(2)
    own = torch.hypot(batch.target[:, :, 1], batch.target[:, :, 2]) * batch.target[:, :, 0]
    with_own, without = metric_of(batch, predicted_q=own).compute(), metric_of(batch).compute()
    assert with_own.pop("q_rmse") == 0 < without.pop("q_rmse")
    assert with_own == pytest.approx(without, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_type_under_autocast(dtype: torch.dtype) -> None:
    batch = example(4)
    narrow = [field.to(dtype) for field in batch[:2]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = metric_of(Batch(*narrow, *batch[2:])).compute()
    expected = metric_of(Batch(*(field.float() for field in narrow), *batch[2:])).compute()
    assert found == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


def test_names_of_thresholds() -> None:
    assert score_names()[4:6] == ("csi_005", "csi_03")
    assert FloodScores(2, thresholds=[0.1, 1.0]).names[4:6] == ("csi_01", "csi_1")
    for wrong in ([0.3, 0.3], [-0.1], [math.nan]):
        with pytest.raises(UserError, match="thresholds of the CSI"):
            FloodScores(2, thresholds=wrong)


def test_another_number_of_steps_is_refused() -> None:
    with pytest.raises(UserError, match="found 6 steps, expected 5"):
        metric_of(example(0), steps=5)


def test_reset_forgets() -> None:
    metric = metric_of(example(0))
    metric.reset()
    batch = example(5)
    metric.update(batch.predicted, batch.target, known=batch.known, inside=batch.inside, minutes_per_step=MINUTES)
    assert metric.compute() == pytest.approx(metric_of(batch).compute(), rel=0, abs=0, nan_ok=True)
