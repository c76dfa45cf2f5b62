"""What a launcher says to a process about its job, through the environment. Without torch."""

import os


def launched_processes() -> int:
    """Return how many processes the launcher started for this job; 1 without a launcher.

    Raises ValueError where the environment says something else than a positive number.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(
            f"WORLD_SIZE={text!r} in the environment: launchers set it to a number of processes, "
            "1 or more; unset it to run one process"
        )
    return int(text)
