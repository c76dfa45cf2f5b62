"""Training batches from resident uint8 images in one pass: gather, crop, flip, cutout, normalise, cast."""
