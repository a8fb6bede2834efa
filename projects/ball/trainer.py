"""The ball's own verb beside those of every project: prediction on somebody's video."""

from pathlib import Path

from lightning import LightningDataModule, LightningModule

from common.trainer import Trainer, autocast_dtype, load_weights
from projects.ball.predict import find_videos, predict_video


class BallTrainer(Trainer):
    """The Trainer of the ball's command line."""

    def predict(  # type: ignore[override] # a verb on files, not on loaders
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        *,
        input: str,
        ckpt_path: str,
        output: str = "predictions",
        batch_size: int = 16,
        overlay: bool = True,
    ) -> None:
        """Find the ball in a video, or in each video of a folder: writes a table and a video with marks.

        Args:
            model: the module.
            datamodule: not used.
            input: a video, or a folder of videos.
            ckpt_path: the trained checkpoint; the best one of the latest run by default.
            output: folder for `<name>_ball.csv` (frame,x,y,score) and `<name>_ball.mp4`.
            batch_size: frames that the network sees at once.
            overlay: whether to write the video with marks.
        """
        load_weights(model, ckpt_path)
        dtype = autocast_dtype(str(self.precision))
        for video in find_videos(Path(input)):
            done = predict_video(
                model,  # type: ignore[arg-type] # a BallModule
                video,
                output=Path(output),
                batch_size=batch_size,
                device=self.strategy.root_device,
                autocast=dtype,
                overlay=overlay,
            )
            lost = f", {len(done.undecodable)} of them could not be decoded" if done.undecodable else ""
            print(f"{done.csv}: {done.frames} frames in {done.seconds:.1f} s{lost}")
            if done.overlay:
                print(done.overlay)
