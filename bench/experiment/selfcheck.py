"""A GPU's first day: loaders against the reference and compiled steps against eager ones.

Done before anything is timed, once for each GPU model, driver, library version and state of this
code; the cache keeps the record.
"""

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import kernels
from bench import registry
from bench.data import cache
from bench.data.batches import LoaderSpec
from bench.data.order import Augmentation, Order
from bench.data.source import Split
from bench.files import files_sha256, locked, write_json
from bench.ledger.json_records import Record, parse, to_json
from bench.ledger.records import EnvironmentFacts
from bench.models.networks import build
from bench.runtime.compute import compile_module
from bench.runtime.environment import environment_facts
from kernels.augment.op import augment
from kernels.augment.reference import Recipe

FACTS = ("gpu", "gpu_driver", "cuda", "python", "torch", "triton", "nvidia-dali-cuda130")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Of normalised pixels, which reach 2.64: three roundings of float32, one unit in the last place of
# float16.
PIXEL_TOLERANCE = {torch.float32: 1e-6, torch.float16: 2e-3}
LOSS_TOLERANCE_FRACTION = 5e-3  # convolutions of float32 may run in TF32
STREAM_DELAY_CYCLES = 10_000_000
OK = "ok"
MESSAGE_LENGTH = 300


@dataclass(frozen=True, kw_only=True)
class SelfCheck(Record):
    """What was checked on this machine; each check is "ok", for a red record is not kept."""

    key: str
    facts: EnvironmentFacts
    checks: Mapping[str, str]


def self_check(device: torch.device) -> SelfCheck:
    """Return this machine's record, from the cache or made now.

    Raises RuntimeError, naming the checks, when one is red: nothing is then to be timed here.
    """
    environment = environment_facts(device, 1)
    facts = {name: environment[name] for name in FACTS}
    key = record_key(facts)
    path = cache.cache_root() / "selfcheck" / f"{key}.json"
    make_folder(path.parent)
    with locked(path.with_suffix(".lock")):
        if path.is_file():
            return parse(SelfCheck, path.read_bytes())
        record = SelfCheck(key=key, facts=facts, checks=run_checks(device))
        raise_where_red(record)
        keep(record, path)
    return record


def make_folder(folder: Path) -> None:
    """Make the cache's folder; where it can only be read it keeps nothing, and harms nothing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        pass


def keep(record: SelfCheck, path: Path) -> None:
    """Put a record into the cache, if that can be written to."""
    try:
        write_json(path, to_json(record))
    except OSError:
        pass


def record_key(facts: EnvironmentFacts) -> str:
    """Return what a record holds for: the facts, the loaders and the state of this code."""
    code: list[Path] = []
    for module in (kernels, registry):
        folder = Path(module.__file__ or "").parent
        code += sorted(folder.rglob("*.py"))
    text = f"{facts} {registry.names('loader')} {files_sha256(code)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_checks(device: torch.device) -> dict[str, str]:
    """Run every check; what it raises is its outcome."""
    checks = {}
    for name in registry.names("loader"):
        checks[f"loader {name}"] = outcome(partial(check_loader, name, device))
    checks["compiled steps"] = outcome(partial(check_steps, device))
    return checks


def raise_where_red(record: SelfCheck) -> None:
    """Raise RuntimeError, naming each check that is not ok."""
    red = [f"{name}: {message}" for name, message in record.checks.items() if message != OK]
    if red:
        machine = record.facts["gpu"] or "this machine"
        raise RuntimeError(f"self-check of {machine}: {'; '.join(red)}; nothing is timed here")


def outcome(check: Callable[[], str]) -> str:
    """Return what a check says, or what it raised, on one line."""
    try:
        return check()
    except Exception as error:
        message = " ".join(str(error).split())
        return f"{type(error).__name__}: {message}"[:MESSAGE_LENGTH]


def check_loader(name: str, device: torch.device) -> str:
    """Compare two epochs of a loader, in each dtype, with the reference on the CPU."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (96, 32, 32, 3), dtype=np.uint8)
    split = Split(images=images, labels=rng.integers(0, 10, 96))
    for dtype, tolerance in PIXEL_TOLERANCE.items():
        message = check_batches(name, device, split, dtype, tolerance)
        if message != OK:
            return message
    return OK


def check_batches(
    name: str, device: torch.device, split: Split, dtype: torch.dtype, tolerance: float
) -> str:
    """Compare a loader's images, labels and samples with the reference's, in one dtype."""
    order = Order(
        samples=len(split.labels),
        global_batch_size=32,
        rank=0,
        world_size=1,
        seed=1,
        last_batch="drop",
    )
    augmentation = Augmentation(pad=4, pad_mode="reflect", flip="random", cutout=8)
    spec = LoaderSpec(
        device=device,
        dtype=dtype,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        augmentation=augmentation,
        threads=1,
    )
    recipe = Recipe(**vars(augmentation), mean=IMAGENET_MEAN, std=IMAGENET_STD, dtype=torch.float32)
    loader = registry.resolve("loader", name)(split, spec)
    batches = []
    for batch in loader.batches(order, 0, 2 * order.steps_per_epoch):
        if device.type == "cuda":
            # So that the stream reads a batch after the host has dropped it, as in training.
            torch.cuda._sleep(STREAM_DELAY_CYCLES)
        batches.append((batch.images.clone(), batch.labels.clone(), batch.samples.clone()))
    for step, (images, labels, samples) in enumerate(batches):
        rows = order.rows(step)
        wanted_samples = torch.from_numpy(rows.samples)
        same_samples = torch.equal(samples.cpu(), wanted_samples)
        same_labels = np.array_equal(labels.cpu(), split.labels[rows.samples])
        if not (same_samples and same_labels):
            return f"other samples or labels than asked for at step {step}"
        expected = augment(
            torch.from_numpy(split.images), wanted_samples, recipe, seed=rows.seed, epoch=rows.epoch
        )
        error = float((images.cpu().float() - expected).abs().max())
        if not error <= tolerance:  # so that NaN is an error too
            return f"pixels differ by {error:.2g} in {dtype} at step {step}"
    return OK


def check_steps(device: torch.device) -> str:
    """Compare losses of two SGD steps of the small CNN, compiled and eager, from the same
    weights.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 3, 32, 32, generator=generator).to(device)
    labels = torch.randint(10, (64,), generator=generator).to(device)
    compiled = build("small_cnn", 10).to(device)
    eager = copy.deepcopy(compiled)
    compile_module(compiled, "default")
    eager_losses = two_losses(eager, images, labels)
    compiled_losses = two_losses(compiled, images, labels)
    if np.allclose(compiled_losses, eager_losses, rtol=LOSS_TOLERANCE_FRACTION, atol=0):
        return OK
    return f"losses {compiled_losses} compiled, {eager_losses} eager"


def two_losses(network: nn.Module, images: Tensor, labels: Tensor) -> list[float]:
    """Train two SGD steps on one batch; return the loss before each."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
