"""Images: sources, splits, order, and the loaders that yield batches on the rank's device."""
