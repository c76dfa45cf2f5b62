"""First day on a GPU: loaders against the reference and compiled steps against eager ones, before anything is timed.

Done once for each GPU model, driver, library version and state of this code; the cache keeps what was found.
"""

import copy
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import kernels
from bench import registry
from bench.data import cache
from bench.data.batches import LoaderSpec
from bench.data.order import Augmentation, Order
from bench.data.source import Split
from bench.models.networks import build
from bench.files import write_json
from bench.runtime.compute import compile_module
from bench.runtime.environment import environment_facts
from kernels.augment.op import augment
from kernels.augment.reference import Recipe

FACTS = ("gpu", "gpu_driver", "cuda", "python", "torch", "triton", "nvidia-dali-cuda130")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
# Of normalised pixels, which reach 2.64: three roundings of float32, one unit in the last place of float16.
PIXEL_TOLERANCE = {torch.float32: 1e-6, torch.float16: 2e-3}
LOSS_TOLERANCE = 5e-3  # relative; convolutions of float32 may run in TF32


def self_check(device: torch.device) -> dict[str, Any]:
    """The record `{key, facts, checks}` of this machine, from the cache or made now; a check is "ok" or what is wrong.

    Raises RuntimeError, naming the checks, when one is red: nothing is then to be timed here. A red record is not kept.
    """
    found, loaders = environment_facts(device, 1), registry.names("loader")
    facts = {name: found[name] for name in FACTS}
    code = [
        path
        for module in (kernels, registry)
        for path in sorted(Path(module.__file__ or "").parent.rglob("*.py"))
    ]
    key = hashlib.sha256(f"{facts} {loaders} {cache.files_sha256(code)}".encode()).hexdigest()[:16]
    path = cache.cache_root() / "selfcheck" / f"{key}.json"
    with suppress(OSError):  # a cache that can only be read keeps nothing, and harms nothing
        path.parent.mkdir(parents=True, exist_ok=True)
    with cache.locked(path.with_suffix(".lock")):
        if path.is_file():
            return json.loads(path.read_text())
        checks = {f"loader {name}": _told(_loader, name, device) for name in loaders}
        checks["compiled steps"] = _told(_steps, device)
        red = [f"{name}: {told}" for name, told in checks.items() if told != "ok"]
        if red:
            raise RuntimeError(
                f"self-check of {facts['gpu'] or 'this machine'}: {'; '.join(red)}; nothing is timed here"
            )
        record = {"key": key, "facts": facts, "checks": checks}
        with suppress(OSError):
            write_json(path, record)
    return record


def _told(check: Callable[..., str], *of: Any) -> str:
    try:
        return check(*of)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _loader(name: str, device: torch.device) -> str:
    """Two epochs of a loader, in each dtype: images, labels and samples against the reference on the CPU."""
    rng = np.random.default_rng(0)
    split = Split(
        images=rng.integers(0, 256, (96, 32, 32, 3), dtype=np.uint8), labels=rng.integers(0, 10, 96)
    )
    order = Order(samples=96, global_batch_size=32, rank=0, world_size=1, seed=1, last_batch="drop")
    how = Augmentation(pad=4, pad_mode="reflect", flip="random", cutout=8)
    for dtype, tolerance in PIXEL_TOLERANCE.items():
        spec = LoaderSpec(
            device=device, dtype=dtype, mean=MEAN, std=STD, augmentation=how, threads=1
        )
        batches = []
        for batch in registry.resolve("loader", name)(split, spec).batches(
            order, 0, 2 * order.steps_per_epoch
        ):
            if device.type == "cuda":
                torch.cuda._sleep(
                    10_000_000
                )  # so that the stream reads a batch after the host has dropped it, as in training
            batches.append((batch.images.clone(), batch.labels.clone(), batch.samples.clone()))
        for step, (images, labels, samples) in enumerate(batches):
            rows = order.rows(step)
            wanted = torch.from_numpy(rows.samples)
            if not (
                torch.equal(samples.cpu(), wanted)
                and np.array_equal(labels.cpu(), split.labels[rows.samples])
            ):
                return f"other samples or labels than asked for at step {step}"
            recipe = Recipe(**vars(how), mean=MEAN, std=STD, dtype=torch.float32)
            expected = augment(
                torch.from_numpy(split.images), wanted, recipe, seed=rows.seed, epoch=rows.epoch
            )
            error = float((images.cpu().float() - expected).abs().max())
            if not error <= tolerance:
                return f"pixels differ by {error:.2g} in {dtype} at step {step}"
    return "ok"


def _steps(device: torch.device) -> str:
    """Losses of two SGD steps of the small CNN, compiled and eager, from the same weights on the same batch."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 3, 32, 32, generator=generator).to(device)
    labels = torch.randint(10, (64,), generator=generator).to(device)
    network = build("small_cnn", 10).to(device)
    eager, losses = copy.deepcopy(network), []
    compile_module(network, "default")
    for each in (eager, network):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        for _ in range(2):
            loss = F.cross_entropy(each(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    is_close = np.allclose(losses[2:], losses[:2], rtol=LOSS_TOLERANCE, atol=0)
    return "ok" if is_close else f"losses {losses[2:]} compiled, {losses[:2]} eager"
