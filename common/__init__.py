"""The house that the projects share. Data flows one way:

files on disk -> read -> store -> cache -> window | tile -> batch -> device: augment, standardise, targets
              -> net -> loss | metric -> decode | untile -> written result

- `data.read`, `data.timeline`: a video's frames by exact number; `data.stream`: one after the other; `data.gapless`:
  without those that cannot be decoded
- `data.store`, `data.shard`: frames decoded once, in HDF5, at training size
- `data.frames`: frames of several clips, numbered through: records
- `data.scenes`, `data.masks`: large images and their classes, part by part; `data.npy_file`, `data.geotiff_file`,
  `data.picture_file`, `data.index_picture`: by format; `data.kept`: what stays open
- `data.scene_folder`, `data.filelists`, `data.split`: which files are there, and which are for what; `data.inputs`:
  what is to be predicted
- `data.tiles`, `data.blending`: a scene cut into tiles and put together again, exactly
- `data.blocks`, `data.random_tiles`: scenes as records, and tiles at random places made of them
- `data.plan`: which samples an epoch reads, in order, and when each record is read again; `data.foresight`: what that
  is worth
- `data.cache`: records in memory that the node shares; `data.pages`: which lie where, and who goes; `data.sizes`: how
  many fit; `data.slab`: the shared memory and its locks; `data.memory`: how much is free
- `data.windows`: frames around an anchor
- `data.samples`, `data.loader`: records to samples, samples to batches; `data.fetch`, `data.ring`: by whom, to where
- `data.skips`, `data.check`: damaged records, left out within a budget or listed beforehand
- `data.folds`: cross-validation; `data.text`, `data.listing`, `data.declared`: sizes that files declare, bounded before
  they are read
- `data.datamodule`: all of this as Lightning loaders
- `data.augment`, `data.map_augment`, `data.standardize`: arithmetic on the device
- `data.write_rows`: a map written row by row; `data.manifest`: what a folder of generated data holds
- `data.report`, `data.progress`: what was left out, and why; how far it is
- `heatmaps`: points to heatmaps and back
- `tiled`: a network over scenes larger than its input
- `nets`: encoders and decoders by name, a U-Net from scratch, activations, heads; `nets.padded`: inputs of any size
- `losses`, `metrics`: one file each; `losses.criterion`: a sum of terms; `losses.parts`, `metrics.mean_loss`: a split's
  losses, the same on any ranks
- `optim`, `callbacks`: what training needs besides
- `guard`, `faults`, `finite_validation`: numbers that are not finite kept out, and named; `nets.statistics`
- `signals`, `loops`, `checkpoints`, `keeper`: asked to stop, between two batches, saved whole, taken up again
- `ranks`, `watch`: what processes agree on; all end when one does; `pool`: tasks spread over processes
- `rows`: metrics.csv, continued over restarts
- `figures`, `panels`, `tables`, `film`: pictures for people
- `export`: ONNX out, parity checked, in 8 bits too; `python -m common.export run` needs no torch
- `trainer`, `cli`, `words`, `settings`: verbs and options; what may change in a run that goes on
- `run`, `tracking`, `sweep`, `parameters`: the folder of a run, Weights & Biases, points of a sweep
- `trusted`: what a file of somebody else may name
- `reopen`: a run opened again by its folder
- `errors`, `files`, `shapes`: the user's mistakes, whole files and folders, the words for axes

A record (a frame, a block of a scene) is decoded once and cached; windows and tiles overlap and are cut on the fly.
`common` knows no project.
"""
