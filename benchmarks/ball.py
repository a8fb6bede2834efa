"""The ball's default system and a video of synthetic rallies, for measuring."""

from itertools import islice
from pathlib import Path
from typing import Any

import av
import yaml
from lightning.pytorch.cli import LightningArgumentParser

import projects.ball
from projects.ball import synthetic
from projects.ball.module import BallModule

CONFIG = Path(projects.ball.__file__).parent / "configs" / "default.yaml"


def default_module() -> BallModule:
    """The module of the default config, untrained."""
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(BallModule, "model")
    settings = parser.parse_object({"model": default_config()["model"]})
    module: BallModule = parser.instantiate_classes(settings).model
    return module


def default_config() -> dict[str, Any]:
    """The default config as written."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    return config


def rally_video(folder: Path, *, quick: bool) -> Path:
    """A video of six rallies one after the other, about 430 frames of 640 x 360; of 24 frames if quick."""
    synthetic.write_dataset(folder / "rallies", rallies={"training": 1 if quick else 6}, progress=False)
    games = sorted((folder / "rallies" / "training" / "videos").glob("*.mp4"))
    path = folder / "rallies.mp4"
    start = 0
    with av.open(path, "w") as joined:
        stream = None
        for game in games:
            with av.open(game) as part:
                source = part.streams.video[0]
                stream = stream or joined.add_stream_from_template(source)
                for packet in islice(part.demux(source), 24 if quick else None):
                    if packet.pts is None or packet.dts is None:
                        continue
                    packet.stream, packet.pts, packet.dts = stream, packet.pts + start, packet.dts + start
                    end = packet.pts + (packet.duration or 0)
                    joined.mux(packet)
            start = end
    return path
