"""One training run: optimizer, schedule, averaging, step, loop, evaluation, checkpoint."""
