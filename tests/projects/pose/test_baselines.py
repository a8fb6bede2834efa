import numpy as np

from projects.pose.baselines import MOST, MeanPose


def person(centre: tuple[float, float], size: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([[-1, -2], [1, -2], [1, 2], [-1, 2], [0, 0]]) * size / 2
    return (corners + centre).astype(np.float32), np.full(5, 2, np.uint8)


def test_unfitted_it_finds_nobody() -> None:
    assert len(MeanPose(5, (100, 200))().points_xy) == 0


def test_people_who_are_alike_are_found_where_they_mostly_stand() -> None:
    baseline = MeanPose(5, (80, 200))  # cells of 20 x 40 pixels: 10 columns, 2 rows
    centres = [(49.5, 19.5)] * 3 + [(149.5, 59.5)] * 2 + [(9.5, 19.5)]
    baseline.fit(person(centre) for centre in centres)
    found = baseline()
    assert found.score.tolist() == sorted(found.score.tolist(), reverse=True)
    np.testing.assert_allclose(found.score, [3 / 6, 2 / 6, 1 / 6], atol=1e-6)
    np.testing.assert_allclose(found.points_xy[0], person((49.5, 19.5))[0], atol=1e-4)
    np.testing.assert_allclose(found.points_xy[1], person((149.5, 59.5))[0], atol=1e-4)
    assert (found.scores > 0).all()


def test_joints_that_nobody_labelled_do_not_count() -> None:
    points, seen = person((50.0, 50.0))
    points[4], seen[4] = 0, 0
    baseline = MeanPose(5, (80, 200))
    baseline.fit([person((50.0, 50.0)), (points, seen)])
    np.testing.assert_allclose(baseline().points_xy[0, 4] - baseline().points_xy[0, :4].mean(axis=0), 0, atol=1e-4)


def test_no_more_people_than_count() -> None:
    random = np.random.default_rng(0)
    baseline = MeanPose(5, (400, 400))
    baseline.fit(person(tuple(random.uniform(0, 400, 2))) for _ in range(300))
    assert len(baseline().score) == MOST


def test_a_single_joint_has_no_size() -> None:
    points, seen = person((50.0, 50.0))
    seen[1:] = 0
    baseline = MeanPose(5, (80, 200))
    baseline.fit([(points, seen)])
    assert len(baseline().score) == 0
