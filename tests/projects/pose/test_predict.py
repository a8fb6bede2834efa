"""Everybody is found in pixels of the picture or frame they are in; files are whole or absent."""

import json
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from common.data.read import Video
from common.errors import UserError
from projects.pose.coco.results import read_results
from projects.pose.finder import Options
from projects.pose.people import People
from projects.pose.predict import KEYPOINTS, predict, predict_pictures, predict_video
from tests.projects.pose.finders import BrightSquare, centres, place, square, write_film

QUIET = Options(device=torch.device("cpu"), batch_size=4, progress=False)
PLAIN = Options(device=torch.device("cpu"), batch_size=4, progress=False, overlay=False)


def _found(path: Path) -> dict[int, np.ndarray]:
    return centres(json.loads(path.read_text()))


def _marked(image: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """The middle of what is drawn."""
    y, x = np.nonzero(np.abs(image.astype(int) - plain).max(axis=2) > 70)
    return np.array([x.min() + x.max(), y.min() + y.max()]) / 2


def test_people_are_in_pixels_of_pictures_of_any_size(tmp_path: Path) -> None:
    sizes = {"000000000785.jpg": (96, 192), "000000000042.png": (200, 100), "7.bmp": (48, 96)}
    for name, size_hw in sizes.items():
        Image.fromarray(square((63.5, 23.5), size_hw)).save(tmp_path / name, quality=95)
    done = predict_pictures(BrightSquare(), sorted(tmp_path.iterdir()), output=tmp_path / "out", options=QUIET)
    found = _found(done.results)
    assert sorted(found) == [7, 42, 785]
    for centre in found.values():
        np.testing.assert_allclose(centre, (63.5, 23.5), atol=0.6)  # of a frame half as large
    assert (tmp_path / "out" / "images.csv").read_text().splitlines() == [
        "file,image_id,height,width", "000000000042.png,42,200,100", "000000000785.jpg,785,96,192", "7.bmp,7,48,96",
    ]  # fmt: skip
    assert (done.frames, done.people, done.damaged) == (3, 3, ())
    names = {"000000000785_pose.jpg", "000000000042_pose.png", "7_pose.png", "images.csv", "keypoints.json"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    for name, size_hw in sizes.items():
        drawn = np.asarray(Image.open(next((tmp_path / "out").glob(f"{name.partition('.')[0]}_pose.*"))))
        assert drawn.shape == (*size_hw, 3)
        np.testing.assert_allclose(_marked(drawn, square((63.5, 23.5), size_hw)), (63.5, 23.5), atol=1)


def test_results_are_cocos(tmp_path: Path) -> None:
    Image.fromarray(square((63.5, 23.5))).save(tmp_path / "holiday.png")
    Image.fromarray(square(None)).save(tmp_path / "nobody.png")
    done = predict_pictures(BrightSquare(), sorted(tmp_path.iterdir()), output=tmp_path / "out", options=PLAIN)
    (result,) = read_results(done.results)
    assert (result["image_id"], result["category_id"], result["score"]) == (1, 1, 0.75)
    assert len(result["keypoints"]) == 51
    assert {file.name for file in (tmp_path / "out").iterdir()} == {KEYPOINTS, "images.csv"}


def test_nobody_anywhere_is_an_empty_list(tmp_path: Path) -> None:
    Image.fromarray(square(None)).save(tmp_path / "a.png")
    done = predict_pictures(BrightSquare(), [tmp_path / "a.png"], output=tmp_path / "out", options=PLAIN)
    assert json.loads(done.results.read_text()) == []


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "CMYK", "I;16", "1"])
def test_every_kind_of_picture_is_read(tmp_path: Path, mode: str) -> None:
    rgb = Image.fromarray(square((63.5, 23.5)))
    deep = Image.fromarray(np.asarray(rgb)[..., 0].astype(np.uint16) * 257)
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    (deep if mode == "I;16" else rgb.convert(mode)).save(file)
    done = predict_pictures(BrightSquare(), [file], output=tmp_path / "out", options=QUIET)
    np.testing.assert_allclose(_found(done.results)[1], (63.5, 23.5), atol=0.6)


def test_a_turned_photograph_is_upright_with_its_people(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    lying = np.rot90(square((31.5, 127.5), (192, 96)))
    Image.fromarray(np.ascontiguousarray(lying)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    done = predict_pictures(BrightSquare(), [tmp_path / "a.jpg"], output=tmp_path / "out", options=QUIET)
    np.testing.assert_allclose(_found(done.results)[1], (31.5, 127.5), atol=1)
    assert (tmp_path / "out" / "images.csv").read_text().splitlines()[1] == "a.jpg,1,192,96"
    drawn = np.asarray(Image.open(tmp_path / "out" / "a_pose.jpg"))
    np.testing.assert_allclose(_marked(drawn, square((31.5, 127.5), (192, 96))), (31.5, 127.5), atol=1)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_every_frame_of_a_video_has_its_own_people(tmp_path: Path, batch_size: int) -> None:
    film = write_film(tmp_path / "film.mp4", 19)
    options = Options(device=torch.device("cpu"), batch_size=batch_size, progress=False)
    done = predict_video(BrightSquare(), film, output=tmp_path / "out", options=options)
    found = _found(done.results)
    wanted = {number: at for number in range(19) if (at := place(number)) is not None}
    assert sorted(found) == sorted(wanted)
    for number, at in wanted.items():
        np.testing.assert_allclose(found[number], at, atol=0.6)
    assert (done.frames, done.people, done.undecodable) == (19, len(wanted), 0)
    assert done.overlay is not None
    overlay = Video(done.overlay)
    assert (len(overlay), overlay.size_hw, overlay.fps) == (19, (96, 192), 25)
    for number, frame in enumerate(overlay.stream()):
        if number in wanted:
            np.testing.assert_allclose(_marked(frame, square(wanted[number])), wanted[number], atol=2)
        else:
            assert frame.max() < 40
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"film_pose.json", "film_pose.mp4"}


def test_undecodable_frames_are_counted_and_every_other_keeps_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, lost = Video.frames, {0, 3, 11}

    def damaged(self: Video, indices: Sequence[int], *args: Any) -> Iterator[tuple[int, np.ndarray]]:
        return ((number, frame) for number, frame in read(self, indices, *args) if number not in lost)

    monkeypatch.setattr(Video, "frames", damaged)
    done = predict_video(BrightSquare(), write_film(tmp_path / "film.mp4", 12), output=tmp_path / "out", options=QUIET)
    monkeypatch.undo()
    assert (done.frames, done.undecodable) == (12, 3)
    assert sorted(_found(done.results)) == [number for number in range(12) if place(number) and number not in lost]
    assert done.overlay is not None
    assert len(Video(done.overlay)) == 12


def test_memory_does_not_grow_with_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, alive, most = Video.frames, 0, 0

    def freed() -> None:
        nonlocal alive
        alive -= 1

    def counted(self: Video, *args: Any) -> Iterator[tuple[int, np.ndarray]]:
        nonlocal alive, most
        for number, frame in read(self, *args):
            alive += 1
            most = max(most, alive)
            weakref.finalize(frame, freed)
            yield number, frame
            del frame

    monkeypatch.setattr(Video, "frames", counted)
    predict_video(BrightSquare(), write_film(tmp_path / "film.mp4", 120), output=tmp_path / "out", options=QUIET)
    waiting, looked_at, ready, drawn = 4, 4, 2 * 4, 4
    assert 0 < most <= waiting + looked_at + ready + drawn + 6  # 6: in the hands of the generators


@pytest.mark.parametrize("kind", ["pictures", "video"])
def test_a_run_that_fails_leaves_no_results(tmp_path: Path, kind: str) -> None:
    class Fails(BrightSquare):
        def people(self, images: Tensor) -> list[People]:
            if len(self.batches) == 2:
                raise RuntimeError("out of memory")
            return super().people(images)

    source = tmp_path / "source"
    source.mkdir()
    if kind == "video":
        write_film(source / "film.mp4", 30)
    for number in range(9 if kind == "pictures" else 0):
        Image.fromarray(square((63.5, 23.5))).save(source / f"{number}.png")
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(Fails(), str(source), output=tmp_path / "out", options=PLAIN)
    assert list((tmp_path / "out").iterdir()) == []


def test_damaged_files_of_a_folder_are_named_and_counted_and_the_others_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "c"):
        Image.fromarray(square((63.5, 23.5))).save(source / f"{name}.png")
    (source / "b.png").write_bytes((source / "a.png").read_bytes()[:60])
    (source / "broken.mp4").write_text("no video")
    write_film(source / "whole.mp4", 3)
    with pytest.raises(UserError, match=r"source: 2 of 5 files cannot be read, as said above; the others are done"):
        predict(BrightSquare(), str(source), output=tmp_path / "out", options=PLAIN)
    said = capsys.readouterr().out
    assert "b.png" in said
    assert "broken.mp4: not a readable video" in said
    assert sorted(_found(tmp_path / "out" / KEYPOINTS)) == [1, 3]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {KEYPOINTS, "images.csv", "whole_pose.json"}


def test_what_cannot_be_looked_at_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (tmp_path / "bad.mp4").write_text("no video")
    for name in ("bad.jpg", "bad.mp4"):
        with pytest.raises(UserError, match=name):
            predict(BrightSquare(), str(tmp_path / name), output=tmp_path / "out", options=PLAIN)
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(UserError, match="holds what is to be looked at"):
        predict(BrightSquare(), str(tmp_path / "bad.jpg"), output=tmp_path, options=PLAIN)
    with pytest.raises(UserError, match="no such file or folder"):
        predict(BrightSquare(), str(tmp_path / "gone"), output=tmp_path / "out", options=PLAIN)
    (tmp_path / "file").touch()
    Image.fromarray(square(None)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="file: cannot write there"):
        predict(BrightSquare(), str(tmp_path / "a.png"), output=tmp_path / "file", options=PLAIN)


def test_autocast_reaches_the_network_and_gradients_do_not(tmp_path: Path) -> None:
    class Product(BrightSquare):
        def people(self, images: Tensor) -> list[People]:
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
            assert torch.is_inference_mode_enabled()
            return super().people(images)

    options = Options(device=torch.device("cpu"), autocast=torch.bfloat16, progress=False)
    predict_video(Product(), write_film(tmp_path / "film.mp4", 3), output=tmp_path / "out", options=options)


def test_progress_shows_a_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = write_film(tmp_path / "film.mp4", 6)
    predict(BrightSquare(), str(film), output=tmp_path / "out", options=Options(device=torch.device("cpu")))
    said = capsys.readouterr().out
    assert "6/6" in said
    assert said.count("frames/s") >= 2
    assert "film_pose.json: 5 people in 6 frames" in said
