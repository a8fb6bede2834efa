"""The house that the projects share. Data flows one way:

files on disk -> read -> store -> cache -> window -> batch (uint8) -> device: augment, standardise, targets
              -> net -> loss | metric -> decode -> written result

- `data.read`, `data.timeline`: a video's frames by exact number; `data.stream`: one after the other
- `data.store`, `data.shard`: frames decoded once, in HDF5, at training size
- `data.frames`: frames of several clips, numbered through: records
- `data.plan`: which samples an epoch reads, in order, and when each record is read again; `data.foresight`: what that
  is worth
- `data.cache`: records in memory that the node shares; `data.pages`: which lie where, and who goes; `data.sizes`: how
  many fit; `data.slab`: the shared memory and its locks; `data.memory`: how much is free
- `data.windows`: frames around an anchor
- `data.samples`, `data.loader`: records to samples, samples to batches; `data.fetch`, `data.ring`: by whom, to where
- `data.skips`, `data.check`: damaged records, left out within a budget or listed beforehand
- `data.filelists`, `data.folds`: which files are for what; `data.text`, `data.listing`, `data.declared`: sizes that
  files declare, bounded before they are read
- `data.datamodule`: all of this as Lightning loaders
- `data.augment`, `data.standardize`: arithmetic on the device
- `data.report`, `data.progress`: what was left out, and why; how far it is
- `heatmaps`: points to heatmaps and back
- `nets`: encoders and decoders by name, activations, heads
- `losses`, `metrics`: one file each; `losses.parts`, `metrics.mean_loss`: a split's losses, the same on any ranks
- `optim`, `callbacks`: what training needs besides
- `guard`, `faults`, `finite_validation`: numbers that are not finite kept out, and named; `nets.statistics`
- `signals`, `loops`, `checkpoints`, `keeper`: asked to stop, between two batches, saved whole, taken up again
- `ranks`, `watch`: what processes agree on; all end when one does
- `rows`: metrics.csv, continued over restarts
- `figures`: pictures for people
- `export`: ONNX out, parity checked
- `trainer`, `cli`, `words`, `settings`: verbs and options; what may change in a run that goes on
- `run`, `tracking`, `sweep`, `parameters`: the folder of a run, Weights & Biases, points of a sweep
- `trusted`: what a file of somebody else may name
- `reopen`: a run opened again by its folder
- `errors`, `files`, `shapes`: the user's mistakes, whole files, the words for axes

A record (a frame) is decoded once, stored and cached; windows overlap and are cut on the fly. `common` knows no
project.
"""
