"""The driver of a first day on a GPU, without the day."""
