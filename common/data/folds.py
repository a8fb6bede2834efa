"""Cross-validation: which part of a sequence is whose."""


def fold_range(count: int, *, fold: int, folds: int) -> range:
    """The members of one fold: the `folds` contiguous parts of range(count), as equal as can be, partition it.

    Contiguous, as neighbours are alike: files named alike, moments close in time.
    """
    return range(count * fold // folds, count * (fold + 1) // folds)
