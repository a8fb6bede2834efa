import math
import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.pose.scores.oks import oks, oks_nms, rescore
from projects.pose.skeleton import COCO

SIGMAS = (0.1, 0.05)


def points(*people: tuple[tuple[float, float], ...]) -> np.ndarray:
    return np.array(people, np.float32)


def test_literal_similarities() -> None:
    """The first keypoint 3 px away with (2 sigma)^2 = .04, the second 4 px with .01; area 200."""
    a, b = points(((10, 10), (20, 24)), ((10, 10), (20, 20))), points(((13, 10), (20, 20)), ((10, 10), (20, 20)))
    far, near = math.exp(-16 / 2 / 0.01 / 200), math.exp(-9 / 2 / 0.04 / 200)
    found = oks(a, b, area_b=np.array([200.0, 200.0]), sigmas=SIGMAS)
    np.testing.assert_allclose(found, [[(near + far) / 2, (1 + far) / 2], [(near + 1) / 2, 1]])
    visible = np.array([[True, False], [False, False]])
    found = oks(a, b, area_b=np.array([200.0, 200.0]), sigmas=SIGMAS, visible_b=visible)
    np.testing.assert_allclose(found, [[near, 0], [near, 0]])


def test_without_people_or_area() -> None:
    nobody, somebody = np.zeros((0, 2, 2), np.float32), points(((1, 1), (2, 2)))
    assert oks(nobody, somebody, area_b=np.ones(1), sigmas=SIGMAS).shape == (0, 1)
    assert oks(somebody, nobody, area_b=np.ones(0), sigmas=SIGMAS).shape == (1, 0)
    flat = oks(points(((1, 1), (2, 2)), ((1, 1), (9, 9))), somebody, area_b=np.zeros(1), sigmas=SIGMAS)
    assert flat.tolist() == [[1.0], [0.5]]
    assert oks_nms(nobody, np.zeros(0), area=np.zeros(0), sigmas=SIGMAS).tolist() == []


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), people=st.integers(1, 12), threshold=st.sampled_from([0.3, 0.6, 0.9]))
def test_kept_detections_are_unlike_and_the_others_like_a_better_one(seed: int, people: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    found = (100 * random.integers(0, 3, (people, 1, 1)) + random.normal(0, 4, (people, 17, 2))).astype(np.float32)
    score, area = random.integers(0, 4, people) / 4, random.uniform(900, 9000, people)
    kept = oks_nms(found, score, area=area, sigmas=COCO.sigmas, threshold=threshold).tolist()
    alike = oks(found, found, area_b=(area[:, None] + area) / 2, sigmas=COCO.sigmas) > threshold
    assert not (alike[np.ix_(kept, kept)] & ~np.eye(len(kept), dtype=bool)).any()
    rank = {number: place for place, number in enumerate(np.argsort(score, kind="stable")[::-1].tolist())}
    assert kept == sorted(kept, key=rank.__getitem__)
    for gone in set(range(people)) - set(kept):
        assert any(alike[one, gone] and rank[one] < rank[gone] for one in kept)


def test_of_equal_scores_the_last_stays() -> None:
    twins = points(((1, 1), (2, 2)), ((1, 1), (2, 2)), ((500, 1), (500, 2)))
    area = np.full(3, 100.0)
    assert oks_nms(twins, np.array([0.5, 0.5, 0.5]), area=area, sigmas=SIGMAS).tolist() == [2, 1]
    assert oks_nms(twins, np.array([0.6, 0.5, 0.1]), area=area, sigmas=SIGMAS).tolist() == [0, 2]
    assert oks_nms(twins, np.array([0.6, 0.5, 0.1]), area=area, sigmas=SIGMAS, threshold=1.0).tolist() == [0, 1, 2]


def test_rescored_people() -> None:
    scores = np.array([[0.9, 0.5, 0.2], [0.1, 0.2, 0.0], [0.3, 0.3, 0.3]], np.float32)
    found = rescore(scores, np.array([0.5, 1.0, 0.9], np.float32))
    np.testing.assert_allclose(found, [0.35, 0, 0.27], rtol=1e-6)
    found = rescore(scores, np.array([0.5, 1.0, 0.9], np.float32), threshold=0.1)
    np.testing.assert_allclose(found, [0.5 * 1.6 / 3, 0.2, 0.27], rtol=1e-6)
    assert rescore(scores[:0], np.zeros(0, np.float32)).shape == (0,)


def test_equal_keypoints_make_equal_people() -> None:
    """However many of them are seen: in float32 the last digit of the mean depends on their number."""
    seen = np.tril(np.ones((17, 17), np.float32)) * np.float32(0.8 * 2)
    assert len(set(rescore(seen, np.full(17, 0.98, np.float32)).tolist())) == 1


def test_what_runs_without_torch_does_not_import_it() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import projects.pose.scores.oks, projects.pose.coco.results, projects.pose.people, projects.pose.letterbox"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
