"""Networks: a front that gives features, and stages that refine fields and maps."""
