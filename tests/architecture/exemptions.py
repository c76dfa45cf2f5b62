"""What a rule lets be, each with its reason: mappings and fields that are another library's.

A path and a subject are patterns, as of a shell. What is no longer needed must go (a test).
"""

from fnmatch import fnmatchcase
from typing import NamedTuple

from tests.architecture.breach import Breach


class Exemption(NamedTuple):
    """Where a rule lets something be, and why."""

    rule: str
    path: str
    subject: str
    reason: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject} in {self.path}"

    def covers(self, rule: str, path: str, breach: Breach) -> bool:
        """Whether a breach is let be."""
        if rule != self.rule or not fnmatchcase(path, self.path):
            return False
        return fnmatchcase(breach.subject, self.subject)


_KEYS = "string_keys"
_FIELDS = "foreign_fields"

EXEMPTIONS = [
    # The doors: JSON and YAML are read and written here, and have no type before they are checked.
    Exemption(_KEYS, "bench/ledger/json_records.py", "*", "pydantic's errors"),
    Exemption(_KEYS, "bench/config/*", "*", "YAML before it is checked"),
    Exemption("bare_mappings", "bench/config/*", "*", "YAML before it is checked"),
    Exemption(_KEYS, "launch/gpu_day_files.py", "*", "JSON before it is read"),
    Exemption("any_types", "launch/gpu_day_files.py", "*", "JSON before it is read"),
    Exemption("any_types", "kernels/compiling.py", "*", "hands calls on, whatever they hold"),
    Exemption("any_types", "bench/registry.py", "*", "each plug-in point has a type of its own"),
    # What is not ours.
    Exemption(_KEYS, "bench/*", "*segments_s", "segments are data: a name to its seconds"),
    Exemption(_KEYS, "bench/experiment/blocks.py", "self._once_s", "seconds by segment"),
    Exemption(_KEYS, "bench/experiment/selfcheck.py", "checks", "checks are data: a name each"),
    Exemption(_KEYS, "bench/experiment/selfcheck.py", "record.facts", "environment facts are data"),
    Exemption(_KEYS, "bench/ledger/records.py", "self.environment", "environment facts are data"),
    Exemption(_KEYS, "bench/trackers/wandb.py", "row", "W&B's metrics by name"),
    Exemption(_KEYS, "bench/judge/comparable.py", "environment", "facts of a machine by name"),
    Exemption(_KEYS, "bench/judge/curves.py", "cells", "columns of a CSV file by name"),
    Exemption(_KEYS, "bench/judge/records.py", "self.primary", "a comparison as it was planned"),
    Exemption(_KEYS, "bench/runtime/compute.py", "counters*", "torch._dynamo's counters"),
    Exemption(_KEYS, "bench/training/checkpoint.py", "*state_dict()", "torch's state"),
    Exemption(_KEYS, "bench/training/checkpoint.py", "tree", "torch's state"),
    Exemption("bare_mappings", "bench/training/optimizers.py", "*", "groups as torch takes them"),
    Exemption("bare_mappings", "bench/experiment/realized.py", "*", "a parameter group of torch"),
    Exemption(_KEYS, "bench/training/program.py", "group", "a parameter group of torch"),
    Exemption(_KEYS, "bench/experiment/realized.py", "group", "a parameter group of torch"),
    Exemption(_FIELDS, "bench/cli.py", "args.*", "argparse's namespace"),
    Exemption(_KEYS, "bench/models/networks.py", "*stated*", "timm's pretrained_cfg"),
    Exemption(_KEYS, "bench/models/counting.py", "stages*", "timm's feature_info"),
    Exemption(_KEYS, "bench/data/cifar10_decode.py", "rows", "columns of an Arrow table"),
    Exemption(_KEYS, "bench/data/cache.py", "arrays", "arrays of an npz file by name"),
    Exemption(_KEYS, "bench/data/dali.py", "outputs", "DALI's outputs by name"),
    Exemption(_KEYS, "bench/data/bridge.py", "state", "accelerate's protocol of state"),
    Exemption(_KEYS, "bench/data/download.py", "response.headers", "headers of HTTP"),
    Exemption(_KEYS, "bench/trackers/wandb_report.py", "api.settings", "wandb's settings"),
    Exemption(_KEYS, "launch/*", "*environment", "environment variables by name"),
    Exemption(_KEYS, "kernels/*/kernel.py", "fixed", "Triton's meta-parameters by name"),
    Exemption(_FIELDS, "bench/runtime/distributed.py", "torch.backends.*", "torch's switches"),
    Exemption(
        _FIELDS, "bench/models/layers.py", "module.momentum", "a setting of torch's BatchNorm"
    ),
    Exemption(_FIELDS, "bench/models/layers.py", "copied._modules", "a module's children"),
    Exemption(_FIELDS, "kernels/compiling.py", "module._call_impl", "a hook of torch's modules"),
    Exemption(_FIELDS, "kernels/compiling.py", "copy.__*__", "a function's copy, still being made"),
    Exemption("positional_parameters", "kernels/*/kernel.py", "*", "Triton knows no records"),
    Exemption("skipped_formats", "kernels/*/kernel.py", "*", "parameters, a row for each role"),
    # Tables of cases for one test: a change or a refusal each.
    Exemption("dense_statements", "tests/unit/judge/test_*.py", "lambda*", "a change each"),
    Exemption("skipped_formats", "tests/unit/config/test_load.py", "*", "a refusal each"),
    Exemption("skipped_formats", "tests/unit/judge/test_curves.py", "*", "a refusal each"),
]


def is_exempt(rule: str, path: str, breach: Breach) -> bool:
    """Whether any exemption covers a breach."""
    return any(exemption.covers(rule, path, breach) for exemption in EXEMPTIONS)
