import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.heatmaps import gaussian_heatmaps
from common.losses.focal import PenaltyReducedFocalLoss, penalty_reduced_focal_loss, penalty_reduced_focal_parts


def example(seed: int, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = 8 * torch.rand(3, 2, 2, generator=generator)
    present = torch.tensor([[True, True], [True, False], [False, False]])
    target = gaussian_heatmaps(points, present, size_hw=(8, 9), sigma=1.2, snap=True)
    return scale * torch.randn(3, 2, 8, 9, generator=generator), target


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    positive_weight=st.floats(0, 10),
    alpha=st.floats(0, 4),
    beta=st.floats(0, 6),
    labelled=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_equals_the_formula_of_the_papers(
    seed: int, positive_weight: float, alpha: float, beta: float, labelled: tuple[bool, bool, bool]
) -> None:
    logits, target = example(seed)
    p, y = 1 / (1 + np.exp(-logits.double().numpy())), target.double().numpy()
    peak = -positive_weight * (1 - p) ** alpha * np.log(p)
    rest = -((1 - y) ** beta) * p**alpha * np.log(1 - p)
    cells = np.where(y == 1, peak, rest).sum(axis=(1, 2, 3))
    expected = cells[list(labelled)].sum() / max(sum(labelled), 1)
    criterion = PenaltyReducedFocalLoss(positive_weight=positive_weight, alpha=alpha, beta=beta)
    assert criterion(logits, target, torch.tensor(labelled)).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_value_and_gradient_are_finite_for_any_logits(dtype: torch.dtype, alpha: float) -> None:
    sizes = torch.tensor([0, 1e-4, 1, 10, 17, 90, 1e3, 1e4])
    logits = torch.cat([-sizes, sizes]).to(dtype)[:, None].repeat(1, 4).requires_grad_()
    target = torch.tensor([0, 0.5, 1 - 1e-4, 1.0]).expand(16, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = penalty_reduced_focal_loss(logits, target, positive_weight=5.0, alpha=alpha)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert logits.grad[7, 3] < 0 < logits.grad[15, 0], "wrong with certainty: both are still pulled back"


def test_gradient_is_that_of_finite_differences() -> None:
    logits, target = example(1)
    logits = logits.double()
    step = torch.zeros_like(logits)
    step[0, 0, 4, 4] = 1e-2
    variable = logits.clone().requires_grad_()
    penalty_reduced_focal_loss(variable, target).backward()  # type: ignore[no-untyped-call]
    slope = penalty_reduced_focal_loss(logits + step, target) - penalty_reduced_focal_loss(logits - step, target)
    assert variable.grad is not None
    assert variable.grad[0, 0, 4, 4].item() == pytest.approx(slope.item() / 2e-2, rel=0.05, abs=1e-3)


def test_a_mask_may_have_the_axes_of_the_logits() -> None:
    logits, target = example(2)
    labelled = torch.tensor([True, False, True])
    expected = penalty_reduced_focal_loss(logits[[0, 2]], target[[0, 2]])
    for mask in (labelled, labelled[:, None, None, None], labelled[:, None, None, None].expand(3, 2, 8, 9)):
        assert torch.allclose(penalty_reduced_focal_loss(logits, target, mask=mask), expected)


def test_nothing_labelled_costs_nothing_and_has_a_graph() -> None:
    logits, target = example(3)
    logits.requires_grad_()
    loss = penalty_reduced_focal_loss(logits, target, mask=torch.zeros(3, dtype=torch.bool))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert logits.grad is not None and not logits.grad.any()


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), labelled=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_the_parts_of_samples_make_the_loss_of_their_batch(seed: int, labelled: tuple[bool, bool, bool]) -> None:
    logits, target = example(seed)
    mask = torch.tensor(labelled)
    criterion = PenaltyReducedFocalLoss(positive_weight=3.0)
    parts = criterion.parts(logits, target, mask)
    assert parts.counts.tolist() == mask.double().tolist()
    loss = parts.sums.sum() / parts.counts.sum().clamp(min=1)
    assert loss.item() == pytest.approx(criterion(logits, target, mask).item(), rel=1e-5)
    for row in range(3):
        alone = penalty_reduced_focal_parts(
            logits[row : row + 1], target[row : row + 1], mask=mask[row : row + 1], positive_weight=3.0
        )
        assert alone.sums.item() == pytest.approx(parts.sums[row].item(), rel=1e-12)
