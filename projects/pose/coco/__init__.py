"""Files in COCO's format: annotations in, results out."""
