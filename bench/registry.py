"""Names in configs to things in code, imported only when asked for; a wrong name lists what exists. No torch."""

import difflib
import pkgutil
from collections.abc import Iterable
from typing import Any

_ENTRIES: dict[str, dict[str, str]] = {
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
    "optimizer": {name: f"bench.training.optimizers:{name}" for name in ("adamw", "adam", "sgd")},
    "schedule": {name: f"bench.training.optimizers:{name}" for name in ("constant", "cosine")},
    "tracker": {
        "console": "bench.trackers.console:ConsoleTracker",
        "wandb": "bench.trackers.wandb:WandbTracker",
    },
}


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The tail of an error sentence: what is allowed, and the likeliest meant."""
    names = sorted(allowed)
    match = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {match[0]!r}?" if match else ""
    return f"allowed: {', '.join(names)}{hint}"


def require(name: str, allowed: Iterable[str], told: str) -> None:
    """Raise ValueError where a name is not among those allowed: what is `told` of it, the allowed ones, the nearest."""
    if name not in (known := list(allowed)):
        raise ValueError(f"{told}; {nearest(name, known)}")


def names(kind: str) -> list[str]:
    """Registered names of one kind, sorted."""
    return sorted(_ENTRIES[kind])


def register(kind: str, name: str, target: str) -> None:
    """Add `package.module:attribute`, from a module in `imports`. Raises ValueError for no such kind, or a name that is taken."""
    require(kind, _ENTRIES, f"no plug-in point {kind!r}")
    if _ENTRIES[kind].setdefault(name, target) != target:
        raise ValueError(f"{kind} {name!r} is already registered as {_ENTRIES[kind][name]}")


def check(kind: str, name: str, key: str) -> None:
    """Raise ValueError, naming the config key, when `name` is not registered."""
    require(name, _ENTRIES[kind], f"{key}: no {kind} {name!r}")


def resolve(kind: str, name: str) -> Any:
    """The thing registered under (kind, name), imported now. Raises ValueError for an unknown name."""
    check(kind, name, kind)
    return pkgutil.resolve_name(_ENTRIES[kind][name])
