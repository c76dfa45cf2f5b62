"""One arm, compiled, whose parts are timed one by one: harness, loaders, bare loop, resize."""

import dataclasses
import time
from collections.abc import Iterator
from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import registry
from bench.config.schema import ExperimentConfig
from bench.data.batches import Batch
from bench.experiment.assemble import Assembler
from bench.experiment.inputs import Inputs, make_order
from bench.experiment.steploop import StepLoop, TrainingStep, device_ms, time_loop
from bench.experiment.throughput_records import LoopTiming
from bench.models.networks import Resized, build, wrap
from bench.models.weights import random_weights
from bench.runtime.distributed import World
from kernels.compiling import with_own_code

WARM_UP_STEPS = 3  # the first compiles
HALF_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ENDLESS = 10**6  # steps, more than any loop makes


class ArmMeter:
    """One arm, assembled and compiled, whose parts can be timed one by one. One process only."""

    def __init__(
        self,
        config: ExperimentConfig,
        world: World,
        inputs: Inputs,
        *,
        precision: str,
        seconds: float,
    ) -> None:
        """Compile the arm's step; each loop then takes about so many seconds.

        `config` is an arm's; `precision` is the one that `world` was opened in. Raises ValueError
        for an arm that trains its head alone, on stored features.
        """
        # Loaders are built one by one, where they are timed; a red one must not end the arm.
        data = dataclasses.replace(config.data, loader="resident")
        config = dataclasses.replace(config, data=data)
        assembly = Assembler(world, inputs).assemble(config, random_weights())
        if assembly.features:
            raise ValueError("finetune.layers: 'head' trains on stored features; allowed: all")
        self.config = config
        self.precision = precision
        self.world = world
        self.program = assembly.program
        self._assembly = assembly
        self._seconds = seconds
        self._images = config.train.global_batch_size
        self._order = make_order(config, assembly.dataset, seed=0, rank=0, world_size=1)
        self._noise = self._noise_batch()
        self.input_size = assembly.network.input_size
        self.compile_s = self._compile()

    def _compile(self) -> float:
        """Make the first steps, which compile; return their seconds."""
        self.program.reset(self.program.raw.state_dict())
        start_s = time.perf_counter()
        StepLoop(repeat(self._noise), self.program.step).run(WARM_UP_STEPS)
        self.world.synchronize()
        return time.perf_counter() - start_s

    def _noise_batch(self) -> Batch:
        height, width = self._assembly.dataset.train.images.shape[1:3]
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(self._images, 3, height, width, generator=generator)
        labels = torch.randint(
            len(self._assembly.dataset.classes), (self._images,), generator=generator
        )
        device = self.world.device
        dtype = self._assembly.loader_spec.dtype
        images = images.to(device, dtype, memory_format=torch.channels_last)
        return Batch(images=images, labels=labels.to(device), samples=torch.arange(self._images))

    def _time(self, batches: Iterator[Batch], step: TrainingStep) -> LoopTiming:
        loop = StepLoop(batches, step)
        return time_loop(loop, images=self._images, world=self.world, seconds=self._seconds)

    def harness(self) -> LoopTiming:
        """Time the program's step on one batch again and again."""
        return self._time(repeat(self._noise), self.program.step)

    def batches(self, loader: str) -> Iterator[Batch]:
        """Yield a loader's training batches without end."""
        train = self._assembly.dataset.train
        make_loader = registry.resolve("loader", loader)
        return make_loader(train, self._assembly.loader_spec).batches(self._order, 0, ENDLESS)

    def loader(self, name: str) -> LoopTiming:
        """Time the program's step on a loader's batches."""
        return self._time(self.batches(name), self.program.step)

    def loader_alone(self, name: str) -> LoopTiming:
        """Time the loader's batches with nothing trained on them."""
        return self._time(self.batches(name), lambda batch, number: None)

    def bare(self) -> LoopTiming:
        """Time the same network, loss, optimizer and precision in a plain PyTorch loop.

        It takes one batch again and again.
        """
        classes = len(self._assembly.dataset.classes)
        step = bare_step(self.config, self.precision, self.world.device, classes)
        return self._time(repeat(self._noise), step)

    def resize_ms(self) -> float | None:
        """Return the milliseconds of the antialiased resize of one batch, None without one."""
        model = self.config.model
        if model.input_size is None:
            return None
        resize = Resized(nn.Identity(), model.input_size, model.interpolation)
        return device_ms(lambda: resize(self._noise.images), self.world)

    def evaluation_images_per_s(self) -> float:
        """Return the images of val scored in a second, after a first pass that compiles."""
        self.program.evaluate(self._assembly.val)
        start_s = time.perf_counter()
        self.program.evaluate(self._assembly.val)
        return len(self._assembly.dataset.val.labels) / (time.perf_counter() - start_s)


def bare_step(
    config: ExperimentConfig, precision: str, device: torch.device, classes: int
) -> TrainingStep:
    """Make the step that a plain PyTorch script would have: no accelerate, schedule or average."""
    raw = build(config.model.name, classes, config.model.stem)
    network = wrap(raw, config.model).to(device).to(memory_format=torch.channels_last)
    optimizer = registry.resolve("optimizer", config.optim.name)(raw, config.optim)
    half_type = HALF_TYPES.get(precision)
    scaler = torch.amp.GradScaler(device.type, enabled=half_type == torch.float16)

    def mean_loss(images: Tensor, labels: Tensor) -> Tensor:
        logits = network(images).float()
        return F.cross_entropy(logits, labels, label_smoothing=config.train.label_smoothing)

    loss_of = mean_loss
    if config.compile.enabled:
        loss_of = torch.compile(with_own_code(mean_loss), fullgraph=True, dynamic=False)

    def step(batch: Batch, number: int) -> None:
        with torch.autocast(device.type, dtype=half_type, enabled=half_type is not None):
            loss = loss_of(batch.images, batch.labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return step
