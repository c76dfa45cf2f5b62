"""The version of the rules of measurement, and the segments that a run's time is cut into
(docs/METHOD.md).
"""

METHOD_VERSION = "1.1"
SEGMENTS = (
    "startup",
    "data_setup",
    "build",
    "compile",
    "init",
    "train",
    "evaluate",
    "evaluate_final",
    "checkpoint",
    "log",
    "idle",
)
