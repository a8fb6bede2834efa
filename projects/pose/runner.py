"""People in pictures by an exported pose network, without PyTorch: `python -m common.export run NETWORK PICTURE ...`.

    picture -> letterbox -> batches -> onnxruntime -> maps -> decoder -> people -> COCO results, overlays

It answers as `predict` does in PyTorch without test-time augmentation, in files of the same names: skeleton, frame and
decoder are in the network's metadata.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from common.data.inputs import find_inputs, require_own_names
from common.errors import UserError
from common.export.metadata import LARGEST_SIDE, Expected, are_sizes, is_whole, read_values
from common.export.runner import Runner, whole_number
from common.export.session import Session
from common.files import require_writable, write_csv
from projects.pose.coco.results import IMAGES, KEYPOINTS, to_results, write_results
from projects.pose.decode.decoder import Decoder
from projects.pose.letterbox import Letterbox
from projects.pose.overlay import draw_people, save_overlay
from projects.pose.people import People, in_frame, in_image
from projects.pose.pictures import SUFFIXES, image_ids, read_picture
from projects.pose.skeleton import Skeleton, skeleton_of

OUTPUTS = ("heatmaps", "pafs")
Frame = UInt8[np.ndarray, "_ _ 3"]  # each of its own size


@dataclass(frozen=True)
class Plan:
    """How a picture becomes people, as an ONNX file's metadata says.

    Attributes:
        skeleton: of the people.
        size_hw: (height, width) of the frame that pictures are scaled into.
        stride: pixels of the frame along the side of a cell.
        decoder: how maps become people.
    """

    skeleton: Skeleton
    size_hw: tuple[int, int]
    stride: int
    decoder: Decoder


class PoseNetwork:
    """An exported network and its plan.

    Args:
        session: of a file that `export_pose` wrote.

    Attributes:
        plan: of the file.
        decoder: how maps become people; the plan's, unless another is put there.

    Raises:
        UserError: when the file is of another kind.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.plan = plan = read_plan(session.metadata, session.path)
        self.decoder = plan.decoder
        if session.shape[1:2] != [3] or len(session.shape) != 4:
            raise UserError(f"{session.path}: its input is {session.shape}; expected batch, 3, height, width")
        for name, channels in zip(OUTPUTS, (plan.skeleton.heat_channels, plan.skeleton.paf_channels), strict=True):
            shape = session.outputs.get(name, [])
            if len(shape) != 4 or shape[1] != channels:
                raise UserError(
                    f"{session.path}: its output {name!r} is {shape or 'missing'}; expected batch, {channels} channels "
                    "as of its skeleton, rows, columns"
                )

    def __call__(self, pictures: Sequence[Frame]) -> list[People]:
        """Everybody in each picture, in pixels of it.

        Raises:
            UserError: the network fails, or its maps are not of the stride that its file says.
        """
        plan = self.plan
        boxes = [Letterbox.fit((picture.shape[0], picture.shape[1]), plan.size_hw) for picture in pictures]
        frames = [box(picture).transpose(2, 0, 1) for box, picture in zip(boxes, pictures, strict=True)]
        heats, pafs = self._session(np.stack(frames).astype(np.float32), OUTPUTS)
        expected = (len(pictures), *(side // plan.stride for side in plan.size_hw))
        for maps in (heats, pafs):
            if (len(maps), *maps.shape[2:]) != expected or maps.dtype.kind != "f":
                raise UserError(
                    f"{self._session.path}: its maps are {maps.dtype} {maps.shape}; expected numbers for "
                    f"{expected[0]} pictures of {expected[1]} x {expected[2]} cells, as its stride is {plan.stride}"
                )
        found = (in_frame(self.decoder(*maps, plan.skeleton), plan.stride) for maps in zip(heats, pafs, strict=True))
        return [in_image(people, box) for people, box in zip(found, boxes, strict=True)]


def read_plan(metadata: Mapping[str, str], path: Path) -> Plan:
    """The plan in the metadata of the file at `path`.

    Raises:
        UserError: when a value is missing or not what was expected; it names the key.
    """
    values = read_values(metadata, _EXPECTED, path, kind="pose")
    try:
        skeleton = skeleton_of(values["skeleton"], path)
        return Plan(skeleton, values["size_hw"], values["stride"], _decoder(values["decoder"], path))
    except (TypeError, ArithmeticError) as error:  # an option that there is not; a number that has no whole one
        raise UserError(f"{path}: in its metadata: {error}; export the network again") from None


def _decoder(options: dict[str, Any], path: Path) -> Decoder:
    try:
        return Decoder(**options)
    except UserError as error:
        raise UserError(f"{path}: in its metadata: {error}") from None


_EXPECTED: Expected = {
    "skeleton": (lambda value: isinstance(value, dict), "a skeleton's keypoints, limbs and so on"),
    "size_hw": (are_sizes(1), f"two whole numbers from 1 to {LARGEST_SIDE}"),
    "stride": (lambda value: is_whole(value, smallest=1, largest=LARGEST_SIDE), "a whole number, 1 or more"),
    "decoder": (lambda value: isinstance(value, dict), f"options: {', '.join(one.name for one in fields(Decoder))}"),
}
"""Metadata by key: what fits, in code and in words."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-overlay", action="store_true", help="leave out the pictures with people drawn in")
    parser.add_argument("--threshold", type=float, help="smallest value of a heatmap at a joint; the network's own")
    parser.add_argument("--min_joints", type=whole_number, help="drop people with fewer joints; the network's own")
    parser.add_argument("--min_score", type=float, help="drop people with a lower score; the network's own")


def _run(session: Session, options: argparse.Namespace) -> None:
    network = PoseNetwork(session)
    given = {name: getattr(options, name) for name in ("threshold", "min_joints", "min_score")}
    network.decoder = replace(network.decoder, **{name: value for name, value in given.items() if value is not None})
    files = _files(options)
    ids, skeleton = dict(zip(files, image_ids(files), strict=True)), network.plan.skeleton
    results, rows = list[dict[str, Any]](), list[tuple[str, ...]]()
    for file, picture, people in _found(network, files, options.batch):
        results += to_results(people, ids[file], skeleton)
        rows.append((_name(file), str(ids[file]), *map(str, picture.shape[:2])))
        if not options.no_overlay:
            save_overlay(options.output, file, draw_people(picture, people, skeleton))
        print(f"{_name(file)}: {picture.shape[0]} x {picture.shape[1]}, {len(people.score)} people", flush=True)
    if not rows:
        raise UserError(f"none of {len(files)} pictures can be read, as said above")
    write_results(options.output / KEYPOINTS, results)
    write_csv(options.output / IMAGES, ("file", "image_id", "height", "width"), rows)
    print(f"{options.output / KEYPOINTS}: {len(results)} people in {len(rows)} pictures", flush=True)
    if lost := len(files) - len(rows):
        raise UserError(f"{lost} of {len(files)} pictures cannot be read, as said above; the others are done")


def _files(options: argparse.Namespace) -> list[Path]:
    """All pictures that are named, whose results then have a place of their own."""
    files = [file for source in options.files for file in find_inputs(source, SUFFIXES, what="picture")]
    require_own_names(files, what="picture")
    if any(file.parent.resolve() == options.output.resolve() for file in files):
        raise UserError(
            f"{options.output}: holds what is to be looked at, and results might replace it; give another --output"
        )
    require_writable(options.output)
    return files


def _found(network: PoseNetwork, files: Sequence[Path], batch_size: int) -> Iterator[tuple[Path, Frame, People]]:
    """Each file that can be read, its picture and the people in it; tells of the others."""
    readable = _readable(files)
    while batch := list(islice(readable, batch_size)):
        found = network([picture for _, picture in batch])
        yield from ((file, picture, people) for (file, picture), people in zip(batch, found, strict=True))


def _readable(files: Sequence[Path]) -> Iterator[tuple[Path, Frame]]:
    for file in files:
        try:
            picture = read_picture(file)
        except UserError as error:
            print(f"left out: {_text(str(error))}", flush=True)
            continue
        yield file, picture


def _name(path: Path) -> str:
    return _text(path.name)


def _text(words: str) -> str:
    return words.encode("utf-8", "backslashreplace").decode()  # a file's name may be no text


RUNNER = Runner(
    about="finds the people in pictures and writes COCO results and overlays",
    files="pictures, or folders of pictures",
    add_arguments=_add_arguments,
    run=_run,
)
