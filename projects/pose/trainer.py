"""The pose's own verb beside those of every project: prediction on pictures, video and streams."""

from pathlib import Path

from lightning import LightningDataModule

from common.trainer import Trainer, autocast_dtype, load_weights
from projects.pose.finder import Options
from projects.pose.module import PoseModule
from projects.pose.predict import predict


class PoseTrainer(Trainer):
    """The Trainer of the pose command line."""

    def predict(  # type: ignore[override] # a verb on files, not on loaders
        self,
        model: PoseModule,
        datamodule: LightningDataModule,
        *,
        input: str,
        ckpt_path: str,
        output: str = "predictions",
        batch_size: int = 8,
        overlay: bool = True,
        skip_late: bool = False,
    ) -> None:
        """Find everybody's joints in pictures, videos or a stream: writes COCO results and pictures with people drawn.

        Args:
            model: the module.
            datamodule: not used.
            input: a picture, a video, a folder of both, `-` for a video on stdin, or an address such as rtsp://...
            ckpt_path: the trained checkpoint; the best one of the latest run by default.
            output: folder for `keypoints.json` and `images.csv` of pictures, `<name>_pose.json` of videos, overlays.
            batch_size: pictures that the network sees at once.
            overlay: whether to draw the people.
            skip_late: of a stream, leave out frames that come faster than the network can take them.
        """
        load_weights(model, ckpt_path)
        options = Options(
            device=self.strategy.root_device,
            autocast=autocast_dtype(str(self.precision)),
            batch_size=batch_size,
            overlay=overlay,
            skip_late=skip_late,
        )
        predict(model, input, output=Path(output), options=options)
