"""What the day would run: by what is there, and in a rehearsal."""

import json
from dataclasses import asdict, replace

import pytest

from bench.config.load import load
from bench.experiment.machine_record import DaliCheck
from bench.experiment.throughput import parser
from launch.gpu_day_run import Outcome
from launch.gpu_day_steps import (
    SMALL,
    WEIGHTS,
    images_of_a_run,
    machine_steps,
    part_1_steps,
    rate_steps,
    study_loader,
    study_steps,
)
from tests.unit.launch.day import make_day, make_summary, timing, write_figures

DALI = "nvidia.dali.plugin.pytorch"


PART_1_S = 310
PART_2_S = 230
TESTS_S = 60  # in twelve processes
PART_1 = [
    "gpu_tests", "tiny_dali", "verify_tiny_dali", "tiny_resident", "verify_tiny_resident",
    "tiny_torch", "verify_tiny_torch", "throughput", "kernels", "doctor",
]  # fmt: skip


def by_name(steps):
    return {step.name: step for step in steps}


@pytest.fixture
def files(tmp_path):
    """Images and weights, as the environment names them."""
    (tmp_path / "data").mkdir()
    (tmp_path / WEIGHTS).touch()
    return {"CIFAR10_DIR": str(tmp_path / "data"), "HEADSTART_WEIGHTS_DIR": str(tmp_path)}


def test_part_1_in_its_order(tmp_path):
    steps = part_1_steps(make_day(tmp_path))
    assert [step.name for step in steps] == PART_1
    assert not any(step.skip for step in steps)
    assert by_name(steps)["verify_tiny_torch"].needs == "tiny_torch"


def test_what_must_be_run_leaves_time_for_the_tests(tmp_path, files):
    day = make_day(tmp_path, environment=files)
    assert sum(step.least_s for step in part_1_steps(day)) <= PART_1_S - TESTS_S - 30
    assert sum(step.limit_s for step in rate_steps(day)) <= PART_2_S - 160


def test_without_dali_its_study_is_skipped_and_resident_is_measured_alone(tmp_path):
    steps = by_name(part_1_steps(make_day(tmp_path, DALI)))
    assert steps["tiny_dali"].skip == f"{DALI} cannot be imported"
    assert steps["tiny_resident"].skip == ""
    assert "--loaders=resident" in steps["throughput"].command
    with_dali = by_name(part_1_steps(make_day(tmp_path)))
    assert "--loaders=dali,resident" in with_dali["throughput"].command


def test_without_wandb_studies_report_to_the_console(tmp_path):
    step = by_name(part_1_steps(make_day(tmp_path, "wandb")))["tiny_resident"]
    assert "--trackers=[console]" in step.command
    assert "--wandb.mode=offline" not in step.command


def test_tests_run_in_processes_where_xdist_is(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("@pytest.mark.gpu")
    (tmp_path / "tests" / "test_b.py").write_text("nothing")
    command = by_name(part_1_steps(make_day(tmp_path)))["gpu_tests"].command
    assert command[command.index("-n") + 1] == "12"
    assert command[-1] == "tests/test_a.py"
    assert "-n" not in by_name(part_1_steps(make_day(tmp_path, "xdist")))["gpu_tests"].command


def test_a_rehearsal_is_small_and_on_the_cpu(tmp_path):
    day = make_day(tmp_path, rehearsal=True)
    steps = by_name([*part_1_steps(day), *rate_steps(day), *study_steps(day)])
    for name in ("throughput", "rate", "study"):
        assert set(SMALL) <= set(steps[name].command)
    assert "--collect-only" in steps["gpu_tests"].command
    for name in ("tiny_dali", "study"):
        assert "launch/accelerate/cpu.yaml" in steps[name].command


def test_a_gpu_gets_the_full_sizes(tmp_path, files):
    day = make_day(tmp_path, environment=files)
    steps = by_name([*part_1_steps(day), *rate_steps(day), *study_steps(day)])
    for step in steps.values():
        assert not set(SMALL) & set(step.command)
    assert "launch/accelerate/single_gpu.yaml" in steps["study"].command


def test_what_a_gpu_would_be_asked_for_is_a_config(tmp_path, files):
    """Every experiment with its overrides, in full size and in a rehearsal."""
    images = {"CIFAR10_DIR": files["CIFAR10_DIR"]}
    for rehearsal in (False, True):
        loaded = []
        day = make_day(tmp_path, environment=images, rehearsal=rehearsal)
        for step in [*part_1_steps(day), *rate_steps(day), *study_steps(day)]:
            if "run" in step.command or "bench.experiment.throughput" in step.command:
                loaded.append(load_command(step.command).name)
        letters = [] if rehearsal else ["resnet18_gpu_letters"]
        studies = ["gpu_throughput", "resnet18_gpu", "resnet18_gpu"]
        assert loaded == ["tiny", "tiny", "tiny", *studies, *letters]


def load_command(command):
    """The config that a command would load."""
    word = "run" if "run" in command else "bench.experiment.throughput"
    place = command.index(word)
    args, overrides = parser().parse_known_args([*command[place + 1 :], "--json=needed"])
    return load(args.experiment, overrides)


def test_missing_images_and_weights_are_reasons_and_nothing_takes_their_place(tmp_path, files):
    none = by_name(study_steps(make_day(tmp_path)))
    assert none["study"].skip == "no CIFAR-10: CIFAR10_DIR names no folder"
    assert "study_letters" not in none
    assert none["report_study"].needs == "study"
    nowhere = make_day(tmp_path, environment={"CIFAR10_DIR": "/nowhere"})
    assert "/nowhere, which is no folder" in by_name(study_steps(nowhere))["study"].skip
    images = {"CIFAR10_DIR": files["CIFAR10_DIR"]}
    steps = by_name(study_steps(make_day(tmp_path, environment=images)))
    assert steps["study"].skip.startswith(f"no ImageNet weights: {WEIGHTS} is not in")
    assert "--name=resnet18_gpu_letters" in steps["study_letters"].command
    assert steps["verify_study_letters"].command[-1].endswith("study_letters/resnet18_gpu_letters")
    both = by_name(study_steps(make_day(tmp_path, environment=files)))
    assert (both["study"].skip, "study_letters" in both) == ("", False)


def test_part_2_takes_resident_where_dali_is_not_there_or_was_red(tmp_path):
    assert study_loader(make_day(tmp_path)) == ("dali", "the default")
    assert study_loader(make_day(tmp_path, DALI)) == ("resident", f"{DALI} cannot be imported")
    day = make_day(tmp_path)
    assert "--data.loader=dali" in by_name(study_steps(day))["study"].command
    red = replace(day.machine, dali_batch=DaliCheck(error="no kernel image"))
    reason = "DALI made no batch: no kernel image"
    assert study_loader(replace(day, machine=red)) == ("resident", reason)
    write_part_1(day, "red")
    assert study_loader(day) == (
        "resident",
        f"tiny_dali was red in part 1 of {make_summary().date}",
    )
    assert "--data.loader=resident" in by_name(study_steps(day))["study"].command
    write_part_1(day, "ok")
    assert study_loader(day) == ("dali", "the default")


def write_part_1(day, status: str) -> None:
    """What part 1 leaves of its DALI study."""
    outcome = Outcome(
        name="tiny_dali", status=status, seconds=1.0, limit_s=9.0, reason="", log="tiny_dali.txt"
    )
    summary = make_summary(steps=(outcome,))
    (day.work / "part_1.json").write_text(json.dumps(asdict(summary)))


def test_a_run_has_as_many_images_as_the_rate_allows(tmp_path):
    day = make_day(tmp_path)
    assert images_of_a_run(day) == 25_600
    write_figures(day.out, "rate")
    assert images_of_a_run(day) == 53_760  # 5.5 s at dali's 10,000 images/s, in looks of 2,560
    assert f"--train.samples={53_760}" in by_name(study_steps(day))["study"].command
    write_figures(day.out, "rate", loaders={"resident": timing(1)}, harness=timing(90_000))
    assert images_of_a_run(day) == 128_000
    write_figures(day.out, "rate", loaders={"dali": timing(1)})
    assert images_of_a_run(day) == 25_600


def test_a_machine_that_told_nothing_has_no_imports(tmp_path):
    day = make_day(tmp_path)
    assert day.imports("torch")
    assert not day.imports("kornia")
    assert machine_steps(day)[0].command[-1] == str(day.out / "machine.json")
