"""The runner says what PyTorch says of pictures of any size, without PyTorch; mistakes are one line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from common.errors import UserError
from common.export.__main__ import main
from common.export.session import Session
from projects.pose.coco.results import read_results, to_results
from projects.pose.graph import export_pose
from projects.pose.letterbox import Letterbox
from projects.pose.people import in_frame, in_image
from projects.pose.pictures import read_picture
from projects.pose.runner import PoseNetwork
from tests.projects.pose.exported import HANDS, SpotModule, changed, replaced

PEOPLE = np.array([[[80, 40], [40, 38], [125, 36]], [[100, 95], [60, 99], [140, 88]]], np.float32)
"""Head, right hand and left hand of two people in a picture of 160 x 130 pixels."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[SpotModule, Path]:
    module, path = SpotModule(), tmp_path_factory.mktemp("runner") / "pose.onnx"
    export_pose(module, path)
    return module, path


def spots(people: np.ndarray, *, size_hw: tuple[int, int] = (130, 160), sigma: float = 7.0) -> np.ndarray:
    """Heads in red, right hands in green and left hands in blue."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    squares = (x - people[..., 0, None, None]) ** 2 + (y - people[..., 1, None, None]) ** 2
    bells = np.exp(-squares / (2 * sigma**2)).max(axis=0, initial=0)
    return np.rint(255 * np.moveaxis(bells, 0, -1)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two people, a larger picture of one of them, and nobody."""
    (tmp_path / "in").mkdir()
    Image.fromarray(spots(PEOPLE)).save(tmp_path / "in" / "7.png")
    Image.fromarray(spots(3 * PEOPLE[:1], size_hw=(450, 480), sigma=21)).save(tmp_path / "in" / "12.JPG", quality=95)
    Image.fromarray(np.zeros((31, 17), np.uint8)).save(tmp_path / "in" / "3.bmp")
    return tmp_path / "in"


def run(network: Path, *words: object) -> None:
    main(["run", str(network), *map(str, words)])


def error(capsys: pytest.CaptureFixture[str], network: Path, *words: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        run(network, *words)
    found = capsys.readouterr()
    assert (stopped.value.code, found.err.count("\n")) == (2, 1)
    return found.err


def points_of(results: list[dict[str, object]], image_id: int) -> np.ndarray:
    """(people, 3, 2) of a picture, head, right and left hand, the upper person first."""
    people = [np.reshape(one["keypoints"], (3, 3)) for one in results if one["image_id"] == image_id]
    assert all((person[:, 2] > 0.5).all() for person in people)
    return np.array(sorted((person[[1, 2, 0], :2] for person in people), key=lambda person: person[0, 1]))


def test_people_are_found_where_they_are(
    exported: tuple[SpotModule, Path], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(exported[1], folder, "--output", tmp_path / "out", "--batch", 2, "--threads", 1)
    results = read_results(tmp_path / "out" / "keypoints.json", skeleton=HANDS)
    np.testing.assert_allclose(points_of(results, 7), PEOPLE, atol=0.7)
    np.testing.assert_allclose(points_of(results, 12), 3 * PEOPLE[:1], atol=2.1)
    assert len(results) == 3
    assert capsys.readouterr().out.splitlines() == [
        "12.JPG: 450 x 480, 1 people",
        "3.bmp: 31 x 17, 0 people",
        "7.png: 130 x 160, 2 people",
        f"{tmp_path / 'out' / 'keypoints.json'}: 3 people in 3 pictures",
    ]
    rows = list(csv.reader((tmp_path / "out" / "images.csv").open()))
    assert rows == [["file", "image_id", "height", "width"], ["12.JPG", "12", "450", "480"], ["3.bmp", "3", "31", "17"],
                    ["7.png", "7", "130", "160"]]  # fmt: skip


def test_overlays_show_people_in_the_picture_of_its_size(
    exported: tuple[SpotModule, Path], folder: Path, tmp_path: Path
) -> None:
    run(exported[1], folder, "--output", tmp_path / "out")
    overlays = sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix in (".png", ".jpg"))
    assert overlays == ["12_pose.jpg", "3_pose.png", "7_pose.png"]
    before, after = (read_picture(path).astype(int) for path in (folder / "7.png", tmp_path / "out" / "7_pose.png"))
    limb = PEOPLE[0, :2].mean(axis=0).astype(int)  # between head and right hand
    assert np.abs(after - before)[limb[1], limb[0]].max() > 50
    assert (after == before).all(axis=2).mean() > 0.8
    nobody = read_picture(tmp_path / "out" / "3_pose.png")
    assert nobody.shape == (31, 17, 3) and not nobody.any()
    run(exported[1], folder, "--output", tmp_path / "plain", "--no-overlay")
    assert sorted(path.name for path in (tmp_path / "plain").iterdir()) == ["images.csv", "keypoints.json"]


def test_it_gives_pytorchs_people(exported: tuple[SpotModule, Path], folder: Path, tmp_path: Path) -> None:
    module, path = exported
    run(path, folder, "--output", tmp_path / "out", "--no-overlay")
    expected = []
    for file in sorted(folder.iterdir()):
        picture = read_picture(file)
        box = Letterbox.fit((picture.shape[0], picture.shape[1]), module.size_hw)
        output = module(torch.from_numpy(box(picture)).permute(2, 0, 1)[None].float())
        people = module.decoder(output.heats[-1][0].numpy(), output.pafs[-1][0].numpy(), HANDS)
        expected += to_results(in_image(in_frame(people, module.stride), box), int(file.stem), HANDS)
    found = json.loads((tmp_path / "out" / "keypoints.json").read_text())
    assert [one["image_id"] for one in found] == [one["image_id"] for one in expected]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a["keypoints"], b["keypoints"], atol=1e-3)
        assert a["score"] == pytest.approx(b["score"], abs=1e-5)


def test_a_turned_photo_is_looked_at_upright(exported: tuple[SpotModule, Path], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned right by 90 degrees
    turned = np.rot90(spots(PEOPLE))
    Image.fromarray(np.ascontiguousarray(turned)).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    run(exported[1], tmp_path / "photo.jpg", "--output", tmp_path / "out")
    results = read_results(tmp_path / "out" / "keypoints.json")
    np.testing.assert_allclose(points_of(results, 1), PEOPLE, atol=0.7)
    assert read_picture(tmp_path / "out" / "photo_pose.jpg").shape == (130, 160, 3)


def test_options_of_the_decoder_replace_the_networks(
    exported: tuple[SpotModule, Path], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (("--threshold", 0.99), ("--min_joints", 4), ("--min_score", 0.99)):
        run(exported[1], folder, "--output", tmp_path / option[0], *option)
        assert read_results(tmp_path / option[0] / "keypoints.json") == []
    capsys.readouterr()
    out = ["--output", tmp_path / "out"]
    assert "decoder.threshold: found 7.0; expected a number from 0.0 to 1.0" in error(
        capsys, exported[1], folder, *out, "--threshold", 7
    )
    assert "unrecognized arguments: --probability" in error(capsys, exported[1], folder, *out, "--probability")


def test_what_cannot_be_read_is_left_out_and_told(
    exported: tuple[SpotModule, Path], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "9.png").write_bytes((folder / "7.png").read_bytes()[:200])
    out = ["--output", tmp_path / "out"]
    assert "1 of 4 pictures cannot be read, as said above; the others are done" in error(
        capsys, exported[1], folder, *out
    )
    assert len(read_results(tmp_path / "out" / "keypoints.json")) == 3
    with pytest.raises(SystemExit):
        run(exported[1], folder / "9.png", "--output", tmp_path / "none")
    said = capsys.readouterr()
    assert said.out.startswith(f"left out: {folder / '9.png'}: no readable picture")
    assert said.err == "error: none of 1 pictures can be read, as said above\n"
    assert not list((tmp_path / "none").iterdir())


def test_names_that_are_no_text_are_written(
    exported: tuple[SpotModule, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        Image.fromarray(spots(PEOPLE)).save(os.fsdecode(os.fsencode(tmp_path) + b"/p\xe9re.png"), format="PNG")
    except OSError:
        pytest.skip("this file system takes only text as names")
    (tmp_path / "in").mkdir()
    next(tmp_path.glob("*.png")).rename(tmp_path / "in" / os.fsdecode(b"p\xe9re.png"))
    run(exported[1], tmp_path / "in", "--output", tmp_path / "out")
    assert capsys.readouterr().out.startswith("p\\udce9re.png: 130 x 160, 2 people\n")


def test_mistakes_are_one_line(
    exported: tuple[SpotModule, Path], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "more").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "more" / "7.jpg")
    network, out = exported[1], ["--output", tmp_path / "out"]
    assert "absent.jpg: no such file or folder" in error(capsys, network, tmp_path / "absent.jpg", *out)
    assert "empty: no picture in this folder" in error(capsys, network, tmp_path / "empty", *out)
    assert "called 7" in error(capsys, network, folder, tmp_path / "more", *out)
    assert "in: holds what is to be looked at" in error(capsys, network, folder, "--output", folder)
    assert "file: cannot write there" in error(capsys, network, folder, "--output", tmp_path / "file")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("skeleton", None, "has no 'skeleton'; expected a skeleton's keypoints"),
        ("skeleton", "[]", "'skeleton' in its metadata is"),
        ("skeleton", {"name": "x"}, "no skeleton: found"),
        ("skeleton", HANDS.as_dict() | {"limbs": [["head", "tail"]]}, "limbs: found"),
        ("skeleton", HANDS.as_dict() | {"sigmas": [1, 1, float("nan")]}, "sigmas: found"),
        ("skeleton", HANDS.as_dict() | {"category": float("inf")}, "cannot be interpreted as an integer"),
        ("skeleton", HANDS.as_dict() | {"limbs": HANDS.as_dict()["limbs"] + [["left_hand", "right_hand"],
                                                                          ["right_hand", "left_hand"]]},
         r"its output 'pafs' is .*; expected batch, 8 channels"),
        ("size_hw", None, "has no 'size_hw'"),
        ("size_hw", [96], "two whole numbers from 1 to 8192"),
        ("size_hw", [96, 10**9], "two whole numbers from 1 to 8192"),
        ("stride", 0, "a whole number, 1 or more"),
        ("stride", "8.0", "a whole number, 1 or more"),
        ("stride", "[" * 100_000, "a whole number, 1 or more"),
        ("decoder", "[]", "expected options: threshold"),
        ("decoder", {"threshold": 7.5}, r"decoder\.threshold: found 7.5; expected a number from 0.0 to 1.0"),
        ("decoder", {"samples": 10**9}, r"decoder\.samples"),
        ("decoder", {"most_peaks": 0}, r"decoder\.most_peaks: found 0"),
        ("decoder", {"magic": 1}, "unexpected keyword argument 'magic'"),
    ],
)  # fmt: skip
def test_what_the_metadata_lack_or_say_wrongly_is_named(
    exported: tuple[SpotModule, Path], tmp_path: Path, key: str, value: object, said: str
) -> None:
    path = changed(exported[1], tmp_path / "net.onnx", replaced(key, value))
    with pytest.raises(UserError, match=rf"net\.onnx: .*{said}") as raised:
        PoseNetwork(Session(path))
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(("key", "value"), [("stride", 4), ("stride", 4000)])
def test_maps_of_another_stride_are_refused(
    exported: tuple[SpotModule, Path], tmp_path: Path, key: str, value: object
) -> None:
    network = PoseNetwork(Session(changed(exported[1], tmp_path / "net.onnx", replaced(key, value))))
    with pytest.raises(UserError, match=rf"its maps are float32 \(1, 4, 12, 16\); .* as its stride is {value}"):
        network([spots(PEOPLE)])


def test_a_size_that_the_network_cannot_take_is_told(exported: tuple[SpotModule, Path], tmp_path: Path) -> None:
    network = PoseNetwork(Session(changed(exported[1], tmp_path / "net.onnx", replaced("size_hw", [4, 4]))))
    with pytest.raises(UserError, match=r"net\.onnx: "):
        network([spots(PEOPLE)])


def test_a_network_of_another_kind_is_refused(exported: tuple[SpotModule, Path], tmp_path: Path) -> None:
    model = onnx.load(exported[1])
    model.graph.output[1].name = "fields"
    for node in model.graph.node:
        node.output[:] = ["fields" if name == "pafs" else name for name in node.output]
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(UserError, match="its output 'pafs' is missing; expected batch, 4 channels"):
        PoseNetwork(Session(tmp_path / "net.onnx"))


ONLY = """
import sys
from common.export.__main__ import main
main(sys.argv[1:])
heavy = {"torch", "torchvision", "lightning", "kornia", "timm", "onnx", "scipy", "pandas", "faster_coco_eval"}
print(*sorted(heavy & {name.partition(".")[0] for name in sys.modules}), "end")
"""


def test_it_needs_no_torch(exported: tuple[SpotModule, Path], folder: Path, tmp_path: Path) -> None:
    words = ["run", str(exported[1]), str(folder), "--output", str(tmp_path / "out")]
    ran = subprocess.run([sys.executable, "-c", ONLY, *words], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "end"
    assert ran.stderr == ""
    assert len(read_results(tmp_path / "out" / "keypoints.json")) == 3
