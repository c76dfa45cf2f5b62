"""What configs call by name: each name's module and attribute, imported only when asked for.

A wrong name is answered with those that exist. No torch.
"""

import difflib
import pkgutil
from collections.abc import Iterable
from typing import Any

# Plug-in point, then name, then `module:attribute`.
_ENTRIES = {
    "source": {
        "cifar10": "bench.data.cifar10:load",
        "digits": "bench.data.builtin:digits",
        "image_folder": "bench.data.image_folder:load",
        "letters": "bench.data.letters:load",
        "synthetic": "bench.data.builtin:synthetic",
    },
    "loader": {
        "dali": "bench.data.dali:DaliLoader",
        "resident": "bench.data.loaders:ResidentLoader",
        "torch": "bench.data.loaders:TorchLoader",
    },
    "network": {
        "small_cnn": "bench.models.cnn:small_cnn",
        "maxpool_cnn": "bench.models.cnn:maxpool_cnn",
    },
    "optimizer": {
        "adam": "bench.training.optimizers:adam",
        "adamw": "bench.training.optimizers:adamw",
        "sgd": "bench.training.optimizers:sgd",
    },
    "schedule": {
        "constant": "bench.training.schedules:constant",
        "cosine": "bench.training.schedules:cosine",
    },
    "tracker": {
        "console": "bench.trackers.console:ConsoleTracker",
        "wandb": "bench.trackers.wandb:WandbTracker",
    },
}


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Say what is allowed, and which of it was most likely meant: the tail of an error sentence."""
    allowed_names = sorted(allowed)
    sentence = f"allowed: {', '.join(allowed_names)}"
    matches = difflib.get_close_matches(name, allowed_names, n=1)
    if matches:
        return f"{sentence}; did you mean {matches[0]!r}?"
    return sentence


def require(name: str, allowed: Iterable[str], message: str) -> None:
    """Raise ValueError where a name is not allowed: the message, then the allowed names."""
    allowed_names = list(allowed)
    if name not in allowed_names:
        raise ValueError(f"{message}; {nearest(name, allowed_names)}")


def names(kind: str) -> list[str]:
    """Return the registered names of one kind, sorted."""
    return sorted(_ENTRIES[kind])


def register(kind: str, name: str, target: str) -> None:
    """Add `package.module:attribute` under a name, from a module in a config's `imports`.

    Raises ValueError for no such kind, or for a name that stands for something else already.
    """
    require(kind, _ENTRIES, f"no plug-in point {kind!r}")
    entries = _ENTRIES[kind]
    if name in entries and entries[name] != target:
        raise ValueError(f"{kind} {name!r} is already registered as {entries[name]}")
    entries[name] = target


def check(kind: str, name: str, key: str) -> None:
    """Raise ValueError, naming the config key, where a name is not registered."""
    require(name, _ENTRIES[kind], f"{key}: no {kind} {name!r}")


# Any: each plug-in point has a type of its own, in a floor above; the caller's annotation names it.
def resolve(kind: str, name: str) -> Any:  # type: ignore[explicit-any]
    """Import what a name stands for. Raises ValueError for a name that is not registered."""
    check(kind, name, kind)
    return pkgutil.resolve_name(_ENTRIES[kind][name])
