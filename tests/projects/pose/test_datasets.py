from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import BadRecordError
from projects.pose.coco.annotations import PoseImage
from projects.pose.datasets import Part, PictureRecords, PoseSamples
from projects.pose.skeleton import Skeleton

PAIR = Skeleton(name="pair", keypoints=("left_end", "right_end"), sigmas=(0.1, 0.1), limbs=(("left_end", "right_end"),
                ("right_end", "left_end")))  # fmt: skip
"""Its joints are right, left."""
TRUTH = {"images": [], "annotations": [], "categories": []}


def image(folder: Path, number: int, points: list[list[list[float]]], seen: list[list[int]]) -> PoseImage:
    """A picture of 40 x 20 pixels, red above and green below, and its people."""
    pixels = np.zeros((40, 20, 3), np.uint8)
    pixels[:20, :, 0], pixels[20:, :, 1] = 200, 100
    path = folder / f"{number}.png"
    Image.fromarray(pixels).save(path)
    count = len(points)
    return PoseImage(
        number, path, (40, 20),
        points_xy=np.array(points, np.float32).reshape(count, 2, 2),
        visibility=np.array(seen, np.uint8).reshape(count, 2),
        boxes=np.zeros((count, 4), np.float32), areas=np.zeros(count, np.float32),
    )  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> list[PoseImage]:
    return [
        image(tmp_path, 7, [[[3.5, 9.5], [0, 0]]], [[2, 0]]),
        image(tmp_path, 9, [], []),
        image(tmp_path, 12, [[[19, 39], [-4, 5]], [[0, 0], [1, 1]], [[0, 0], [0, 0]]], [[1, 2], [2, 2], [0, 0]]),
    ]


def samples_of(images: list[PoseImage]) -> PoseSamples:
    return PoseSamples(Part(images, TRUTH, Path("all.json"), []), skeleton=PAIR, size_hw=(20, 30), seed=3)


def test_a_sample_is_a_letterboxed_picture_with_its_people(images: list[PoseImage]) -> None:
    samples = samples_of(images)
    batch = samples.batch(0, [2, 0, 1])
    assert batch["frame"].shape == (3, 20, 30, 4)
    frame = batch["frame"][0].numpy()  # 20 x 10 pixels of the picture, from column 10 on
    assert (frame[:9, 10:20] == (200, 0, 0, 0)).all()
    assert (frame[11:, 10:20] == (0, 100, 0, 0)).all()
    assert not frame[:, :10].any() and not frame[:, 20:].any()
    assert batch["points_xy"].shape == (3, 3, 2, 2)
    assert batch["points_xy"][0].tolist() == [
        [[19.25, 19.25], [7.75, 2.25]], [[9.75, -0.25], [10.25, 0.25]], [[0, 0], [0, 0]],
    ]  # fmt: skip
    assert batch["visibility"][0].tolist() == [[1, 2], [2, 2], [0, 0]]
    assert batch["points_xy"][1].tolist() == [[[11.5, 4.5], [0, 0]], [[0, 0]] * 2, [[0, 0]] * 2]
    assert not batch["visibility"][2].any()
    assert batch["image_id"].tolist() == [12, 7, 9]
    assert batch["index"].tolist() == [2, 0, 1]
    assert samples.source_of(2) == ("12.png", 12)


def test_each_sample_has_a_seed_of_its_own_in_every_epoch(images: list[PoseImage]) -> None:
    samples = samples_of(images)
    seeds = [seed for epoch in (0, 1) for seed in samples.batch(epoch, [0, 1, 2])["seed"].tolist()]
    assert len(set(seeds)) == 6
    assert samples.batch(1, [2])["seed"].item() == seeds[5]


def test_everybody_of_a_split_is_who_has_a_labelled_joint(images: list[PoseImage]) -> None:
    people = list(samples_of(images).people())
    assert [visibility.tolist() for _, visibility in people] == [[2, 0], [1, 2], [2, 2]]
    assert people[1][0].tolist() == [[19.25, 19.25], [7.75, 2.25]]


def test_a_split_without_pictures_or_people_has_room_for_one_person(images: list[PoseImage]) -> None:
    for some in ([], images[1:2]):
        samples = samples_of(some)
        assert len(samples) == len(some)
        assert samples.fields["points_xy"].shape == (1, 2, 2)
        assert list(samples.people()) == []


def test_other_pictures_sizes_and_files_are_other_contents(images: list[PoseImage]) -> None:
    def content(some: list[PoseImage], size: int = 20, file: str = "a.json") -> str:
        return PictureRecords(some, (size, 30), content=file).content

    names = [content(images), content(images[:2]), content(images[::-1]), content(images, 40), content(images, 20, "b")]
    assert len(set(names)) == 5
    assert content(list(images)) == names[0]


def test_a_picture_of_another_size_than_its_annotations_say_is_damaged(images: list[PoseImage]) -> None:
    Image.new("RGB", (20, 41)).save(images[2].path)
    read = PictureRecords(images, (20, 30), content="").read_many([0, 2])
    assert next(read).shape == (20, 30, 4)
    with pytest.raises(BadRecordError, match="has 20x41 pixels, its annotations say 20x40") as raised:
        next(read)
    assert raised.value.path == images[2].path
