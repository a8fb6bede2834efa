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
- `data.samples`, `data.loader`: records to samples, samples to batches in a ring of buffers
- `data.datamodule`: all of this as Lightning loaders
- `data.augment`, `data.standardize`: arithmetic on the device
- `data.report`, `data.progress`: what was left out, and why; how far it is
- `heatmaps`: points to heatmaps and back
- `nets`: encoders and decoders by name, activations, heads
- `losses`, `metrics`: one file each
- `optim`, `callbacks`, `checkpoints`: what training needs besides
- `figures`: pictures for people
- `export`: ONNX out, parity checked
- `trainer`, `cli`, `run`, `tracking`: verbs, settings, the folder of a run, Weights & Biases
- `reopen`: a run opened again by its folder
- `errors`, `files`, `shapes`: the user's mistakes, whole files, the words for axes

A record (a frame) is decoded once, stored and cached; windows overlap and are cut on the fly. `common` knows no
project.
"""
