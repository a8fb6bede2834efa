import pytest
import torch

from common.optim import WarmupCosine


def test_rates_warm_up_and_end_near_nothing() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = WarmupCosine(optimizer, warmup=0.25)
    schedule.total_steps = 100
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[25] == pytest.approx(2.0)
    assert rates.index(max(rates)) == 25
    assert rates[12] == pytest.approx(1.0, abs=0.05)
    assert rates[62] == pytest.approx(1.0, abs=0.05)  # half way down
    assert rates[99] < 0.01
