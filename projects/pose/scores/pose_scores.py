"""The scores of people found, over all batches and ranks."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor
from torchmetrics import Metric

from projects.pose.scores.evaluate import keypoint_scores
from projects.pose.scores.pck import pck
from projects.pose.skeleton import Skeleton


class PoseScores(Metric):
    """COCO's ten scores, see `keypoint_scores`, and `pck`, over the pictures that were given to `update`.

    A picture that was given more than once, by this rank or another, as samplers fill up the last batch, counts once:
    the first time. Keypoints and scores are kept as float32.

    Args:
        skeleton: whose sigmas and category count.

    Attributes:
        ground_truth: a COCO dict with these pictures, as `Annotations.ground_truth`; set it before `compute`.
        results: of the pictures of all ranks, as the last `compute` found them.
    """

    full_state_update = False
    is_differentiable = False

    image_ids: list[Tensor]
    counts: list[Tensor]
    rows: list[Tensor]

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__(compute_with_cache=False)  # the ground truth may change between two calls
        self.skeleton = skeleton
        self.ground_truth: Mapping[str, Any] | None = None
        self.results: list[dict[str, Any]] = []
        for name in ("image_ids", "counts", "rows"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, results: Sequence[Mapping[str, Any]], image_ids: Sequence[int]) -> None:
        """Adds pictures with what was found in them.

        Args:
            results: as `to_results` gives.
            image_ids: of all pictures that were looked at, with results or without.

        Raises:
            ValueError: a result for a picture that is not among them.
        """
        of_image: dict[int, list[list[float]]] = defaultdict(list)
        for result in results:
            of_image[result["image_id"]].append([result["score"], *result["keypoints"]])
        if not of_image.keys() <= set(image_ids):
            raise ValueError(f"results for pictures {sorted(of_image.keys() - set(image_ids))}, which are not given")
        ids = list(dict.fromkeys(image_ids))
        found = [of_image[number] for number in ids]
        empty_ids, empty_counts, empty_rows = self._nothing()
        self.image_ids.append(empty_ids.new_tensor(ids))
        self.counts.append(empty_counts.new_tensor([len(rows) for rows in found]))
        rows = [row for rows in found for row in rows]
        self.rows.append(empty_rows.new_tensor(rows).reshape(len(rows), empty_rows.shape[1]))

    def compute(self) -> dict[str, Float32[Tensor, ""]]:
        """The scores by name; NaN where there is nobody to find.

        Raises:
            ValueError: there is no ground truth.
        """
        if self.ground_truth is None:
            raise ValueError("PoseScores: no ground truth; set `ground_truth` before `compute`")
        found = self._first_of_each()
        self.results = results = [result for image in found.values() for result in image]
        known: dict[str, Any] = {"skeleton": self.skeleton, "image_ids": list(found)}
        scores = keypoint_scores(self.ground_truth, results, **known)
        scores["pck"] = pck(self.ground_truth, results, **known)
        return {name: torch.tensor(score, dtype=torch.float32, device=self.device) for name, score in scores.items()}

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gathers the pictures of all ranks. One without any would send float32 numbers of one axis for each state."""
        if not self._is_synced:
            for state, nothing in zip((self.image_ids, self.counts, self.rows), self._nothing(), strict=True):
                state.append(nothing)
        super().sync(*args, **kwargs)

    def _first_of_each(self) -> dict[int, list[dict[str, Any]]]:
        """The results of each picture by its id."""
        ids, counts, rows = (
            torch.cat([nothing, *_listed(state)])
            for nothing, state in zip(self._nothing(), (self.image_ids, self.counts, self.rows), strict=True)
        )
        left, found = iter(rows.tolist()), dict[int, list[dict[str, Any]]]()
        for number, count in zip(ids.tolist(), counts.tolist(), strict=True):
            own = [self._result(number, row) for row in islice(left, count)]
            found.setdefault(number, own)
        return found

    def _result(self, image_id: int, row: list[float]) -> dict[str, Any]:
        known = {"image_id": image_id, "category_id": self.skeleton.category}
        return {**known, "score": row[0], "keypoints": row[1:]}

    def _nothing(self) -> tuple[Tensor, Tensor, Tensor]:
        """The states without pictures: ids, numbers of results, and score and keypoints of each result."""
        none = torch.zeros(0, dtype=torch.int64, device=self.device)
        return none, none, torch.zeros(0, 1 + 3 * len(self.skeleton.keypoints), dtype=torch.float32, device=self.device)


def _listed(state: Tensor | Iterable[Tensor]) -> Iterable[Tensor]:
    """Parts of a state: after ranks have been gathered it is one tensor."""
    return [state] if isinstance(state, Tensor) else state
