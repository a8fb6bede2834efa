"""The benchmark's loop and the renderer give the same values, wherever people are."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.pose.skeleton import COCO
from projects.pose.targets import TargetOptions, joint_heatmaps, limb_fields

SPEC = importlib.util.spec_from_file_location(
    "pose_loops", Path(__file__).resolve().parents[2] / "benchmarks" / "pose_loops.py"
)
assert SPEC is not None and SPEC.loader is not None
loops = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(loops)

SIZE_HW = (12, 15)
OPTIONS = [TargetOptions(width=0.8, ends=ends, shape="gaussian") for ends in (0.0, 0.6)]
OPTIONS += [TargetOptions(width=0.8, ends=ends, shape="hard") for ends in (0.0, 0.6)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), people=st.integers(1, 5), spread=st.sampled_from([0.5, 5.0, 60.0]))
def test_the_loop_draws_the_same(options: TargetOptions, seed: int, people: int, spread: float) -> None:
    """People on one another, joints in one place, outside the picture and without a label."""
    random = np.random.default_rng(seed)
    shape = (people, len(COCO.joints))
    points = random.normal((7, 6), spread, (*shape, 2)).astype(np.float32)
    points[-1] = points[0]
    points[:, 3] = points[:, 4]
    labelled = random.random(shape) < 0.8
    batch = torch.from_numpy(points)[None], torch.from_numpy(labelled)[None]
    heat = joint_heatmaps(*batch, size_hw=SIZE_HW, sigma=1.2)[0].numpy()
    np.testing.assert_allclose(
        heat, loops.loop_heatmaps(points, labelled, size_hw=SIZE_HW, sigma=1.2), rtol=0, atol=1e-5
    )
    limbs = torch.from_numpy(COCO.limb_joints)
    paf = limb_fields(*batch, limbs=limbs, size_hw=SIZE_HW, options=options)[0].numpy()
    looks = {"width": options.width, "shape": options.shape, "ends": options.ends}
    loop = loops.loop_fields(points, labelled, limbs=COCO.limb_joints, size_hw=SIZE_HW, **looks)
    apart = np.abs(paf - loop) > 3e-5
    assert apart.sum() <= 2 * (options.shape == "hard" or not options.ends), "a cell on a border may jump"
