"""The steps of a first day on a GPU, by part: commands, limits, and why one cannot be run here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.experiment.machine_record import MachineFacts
from launch.gpu_day_files import read_part, read_throughput
from launch.gpu_day_run import Step

LOADERS = ("dali", "resident", "torch")
DALI = "nvidia.dali.plugin.pytorch"
TINY_DALI = "tiny_dali"  # the step, as tiny_steps names it
WEIGHTS = "resnet18_imagenet.safetensors"
STUDY = "resnet18_gpu"
RATE_ARM = "random"  # by whose rate the study's runs are sized
RUN_S = 5.5  # the train segment of a run of the study
LOOK_IMAGES = 2560  # the study's evaluation.every_samples, of which a run is a multiple
LEAST_IMAGES = 25_600
MOST_IMAGES = 128_000
TINY_S = 30  # of a tiny study, most of it importing and compiling; the first one checks the machine
SELF_CHECK_S = 45
TEST_PROCESSES = 12  # at most: each compiles kernels
# What a CPU can do in two minutes. No figure of these sizes says anything about a GPU.
SMALL = (
    "--precision=fp32",
    "--compile.enabled=false",
    "--hardware.cpu_threads=1",
    "--hardware.loader_threads=1",
    "--data.train_samples=256",
    "--data.val_samples=32",
    "--data.test_samples=32",
    "--train.global_batch_size=8",
    "--evaluation.batch_size=32",
)
SMALL_ARMS = (
    "--arms={plain: {}, resized: {model.input_size: 32}}",
    "--model.name=small_cnn",
    "--baseline=plain",
    "--primary.arm=resized",
    "--train.samples=800",
    "--evaluation.every_samples=400",
)
SMALL_RUN = (
    "--train.samples=64",
    "--train.global_batch_size=8",
    "--evaluation.every_samples=32",
    "--evaluation.batch_size=32",
    "--schedule.lr_warmup_steps=2",
    "--data.val_samples=32",
    "--data.test_samples=32",
)


@dataclass(frozen=True, kw_only=True)
class Day:
    """Say where the day runs and what is there.

    `out` gets the results, `work` is kept between parts. `machine` is what
    bench.experiment.machine wrote, blank where it wrote nothing.
    """

    python: str
    root: Path
    out: Path
    work: Path
    cores: int
    environment: Mapping[str, str]
    machine: MachineFacts
    rehearsal: bool

    def imports(self, module: str) -> bool:
        """Whether the machine step imported a module without an error."""
        check = self.machine.imports.get(module)
        return check is not None and check.error is None


def machine_steps(day: Day) -> list[Step]:
    """Look at the machine; the others are planned by what this finds."""
    module = (day.python, "-m", "bench.experiment.machine", "--json", str(day.out / "machine.json"))
    return [Step(name="machine", command=module, limit_s=60)]


def part_1_steps(day: Day) -> list[Step]:
    """List tests, self-check and tiny studies, throughput with a profile, kernels, doctor."""
    steps = [tests_step(day)]
    for loader in LOADERS:
        steps += tiny_steps(day, loader)
    doctor = Step(name="doctor", command=(day.python, "-m", "bench", "doctor"), limit_s=25)
    return [*steps, throughput_step(day), kernels_step(day), doctor]


def tests_step(day: Day) -> Step:
    """Run the tests marked gpu, of the files that have some; a rehearsal only collects them."""
    marked = []
    for path in sorted((day.root / "tests").rglob("test_*.py")):
        if "mark.gpu" in path.read_text():
            marked.append(str(path.relative_to(day.root)))
    command = [day.python, "-m", "pytest", "-p", "no:cacheprovider", "-m", "gpu", "--tb=short"]
    if day.rehearsal:
        command += ["--collect-only", "-q"]
    elif day.imports("xdist"):
        command += ["-n", str(min(TEST_PROCESSES, day.cores)), "--durations=8"]
    return Step(name="gpu_tests", command=(*command, *marked), limit_s=110, tail_lines=25)


def tiny_steps(day: Day, loader: str) -> list[Step]:
    """List one tiny study behind accelerate's launcher, self-check first, and its verification."""
    name = f"tiny_{loader}"
    output = day.out / name
    arguments = ["--blocks=1", f"--data.loader={loader}", f"--output={output}", *trackers(day)]
    if not day.rehearsal:
        arguments += ["--compile.enabled=true", "--precision=auto", "--hardware.cpu_threads=null"]
    else:
        arguments += SMALL_RUN
    skip = ""
    if loader == "dali" and not day.imports(DALI):
        skip = f"{DALI} cannot be imported"
    command = launched(day, "tests/experiments/tiny.yaml", *arguments)
    least_s = SELF_CHECK_S if loader == LOADERS[0] else TINY_S
    study = Step(name=name, command=command, limit_s=60, least_s=least_s, skip=skip)
    return [study, verify_step(day, name, output / "tiny")]


def verify_step(day: Day, study: str, folder: Path) -> Step:
    """Make every published number of a study again from its ledgers."""
    command = (day.python, "-m", "bench", "verify", str(folder))
    return Step(name=f"verify_{study}", command=command, limit_s=30, needs=study)


def throughput_step(day: Day) -> Step:
    """Measure each arm by loader and beside a bare loop, and profile one."""
    command = (*throughput(day, "gpu_throughput", "throughput"), "--profile")
    if day.rehearsal:
        command = (*command, "plain", "--seconds=0.05", *SMALL, *SMALL_ARMS)
    else:
        command = (*command, "resnet18_128", "--seconds=1.5", "--precision=auto")
    return Step(name="throughput", command=command, limit_s=130, least_s=75, tail_lines=30)


def throughput(day: Day, experiment: str, name: str) -> tuple[str, ...]:
    """Return the command that measures an experiment's arms into NAME/throughput.json."""
    figures = day.out / name / "throughput.json"
    loaders = "dali,resident" if day.imports(DALI) else "resident"
    module = (day.python, "-m", "bench.experiment.throughput", experiment)
    return (*module, "--json", str(figures), f"--loaders={loaders}")


def kernels_step(day: Day) -> Step:
    """Time kernels beside plain torch and a copy of the same bytes; a rehearsal only collects."""
    cases = "32px-fp16 or 64px-fp16-cutout0"
    collected = ("--collect-only",) if day.rehearsal else ()
    command = (
        *(day.python, "-m", "pytest", "-p", "no:cacheprovider", "-m", "benchmark"),
        *("--show-capture=no", "--benchmark-quiet"),
        f"--benchmark-json={day.out / 'kernels.json'}",
        *("tests/benchmarks/test_kernels.py", "-k", cases, *collected),
    )
    return Step(name="kernels", command=command, limit_s=60, least_s=35, tail_lines=25)


def rate_steps(day: Day) -> list[Step]:
    """Measure the rate of the study's own network and batch, by which its runs are sized."""
    command = (*throughput(day, STUDY, "rate"), f"--only={RATE_ARM}")
    command = (*command, "--no-bare", "--evaluate")
    if day.rehearsal:
        sizes = ("--train.samples=512", "--evaluation.every_samples=256", "--model.input_size=32")
        command = (*command, "--data.source=synthetic", "--seconds=0.05", *SMALL, *sizes)
    else:
        command = (*command, "--data.source=synthetic", "--seconds=1.5", "--layer=gpu_1")
    return [Step(name="rate", command=command, limit_s=70, tail_lines=6)]


def study_steps(day: Day) -> list[Step]:
    """List the study of seven blocks, its report and its verification."""
    skip = missing_data(day) or missing_weights(day)
    steps = study_with(day, "study", (), skip)
    if missing_weights(day) and not missing_data(day) and not day.rehearsal:
        letters = "configs/weights/resnet18_letters.yaml"
        arms = (
            f"--arms={{letters: {{weights.source: self, weights.recipe: {letters}}}, random: {{}}}}"
        )
        others = (arms, "--primary.arm=letters", f"--name={STUDY}_letters")
        steps += study_with(day, "study_letters", others, "")
    return steps


def study_with(day: Day, name: str, others: tuple[str, ...], skip: str) -> list[Step]:
    """List a study with these overrides, into NAME, and what follows it."""
    loader, _ = study_loader(day)
    arguments = [f"--output={day.out / name}", f"--data.loader={loader}", *trackers(day), *others]
    if day.rehearsal:
        arguments += ["--blocks=1", "--model.input_size=32", *SMALL, *SMALL_RUN]
    else:
        arguments += ["--layer=gpu_1", f"--train.samples={images_of_a_run(day)}"]
    study = STUDY
    for argument in others:
        if argument.startswith("--name="):
            study = argument.removeprefix("--name=")
    folder = day.out / name / study
    command = launched(day, STUDY, *arguments)
    report = (day.python, "-m", "bench", "report", str(folder))
    return [
        Step(name=name, command=command, limit_s=190, skip=skip, tail_lines=40),
        Step(name=f"report_{name}", command=report, limit_s=40, least_s=8, needs=name),
        replace(verify_step(day, name, folder), least_s=8),
    ]


def study_loader(day: Day) -> tuple[str, str]:
    """Choose the loader of part 2, and say why."""
    if not day.imports(DALI):
        return "resident", f"{DALI} cannot be imported"
    dali = day.machine.dali_batch
    if dali is not None and dali.error is not None:
        return "resident", f"DALI made no batch: {dali.error}"
    part_1 = read_part(day.work / "part_1.json")
    if part_1 is not None:
        status = part_1.statuses.get(TINY_DALI)
        if status in ("red", "killed"):
            return "resident", f"{TINY_DALI} was {status} in part 1 of {part_1.date}"
    return "dali", "the default"


def images_of_a_run(day: Day) -> int:
    """Return as many images as take RUN_S at the measured rate, within the study's bounds."""
    figures = read_throughput(day.out / "rate" / "throughput.json")
    if figures is None or RATE_ARM not in figures.arms:
        return LEAST_IMAGES
    arm = figures.arms[RATE_ARM]
    loader, _ = study_loader(day)
    timing = arm.loaders.get(loader, arm.harness)
    images = round(RUN_S * timing.images_per_s / LOOK_IMAGES) * LOOK_IMAGES
    return min(MOST_IMAGES, max(LEAST_IMAGES, images))


def missing_data(day: Day) -> str:
    """Say why there is no CIFAR-10 here; empty where there is."""
    folder = day.environment.get("CIFAR10_DIR")
    if not folder:
        return "no CIFAR-10: CIFAR10_DIR names no folder"
    if not Path(folder).is_dir():
        return f"no CIFAR-10: CIFAR10_DIR is {folder}, which is no folder"
    return ""


def missing_weights(day: Day) -> str:
    """Say why there are no ImageNet weights here; empty where there are."""
    folder = day.environment.get("HEADSTART_WEIGHTS_DIR", "")
    if folder and Path(folder, WEIGHTS).is_file():
        return ""
    return f"no ImageNet weights: {WEIGHTS} is not in HEADSTART_WEIGHTS_DIR ({folder or 'not set'})"


def trackers(day: Day) -> list[str]:
    """Choose W&B offline where it is there, else the console alone."""
    if day.imports("wandb"):
        return ["--trackers=[console,wandb]", "--wandb.mode=offline"]
    return ["--trackers=[console]"]


def launched(day: Day, experiment: str, *arguments: str) -> tuple[str, ...]:
    """Put `bench run` behind accelerate's launcher, on one GPU or, in a rehearsal, on the CPU."""
    file = "cpu" if day.rehearsal else "single_gpu"
    return (
        *(day.python, "-m", "accelerate.commands.launch", "--quiet"),
        *("--config_file", f"launch/accelerate/{file}.yaml", "--num_processes", "1"),
        *("-m", "bench", "run", experiment, *arguments),
    )
