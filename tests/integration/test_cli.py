"""The verbs as a user types them: what they cost, what they print, and one line with exit code 2
for wrong input. Reports and their checks are in test_cli_report.py.
"""

import json
import re
import resource
import subprocess
import sys

import pytest

from tests.commands import ROOT, bench, environment

EMBEDDED = "configs/experiments/embedded.yaml"
# CPU seconds, where 0.1 and 0.5 are usual, and importing torch would add 2.5.
HELP_CPU_S = 1.0
PLAN_CPU_S = 2.5
CPU_CHOICE = f"launch/accelerate/cpu.yaml 1 - {EMBEDDED}\n"


@pytest.fixture
def env(tmp_path):
    """A machine without GPU, data or weights."""
    return environment(tmp_path, CUDA_VISIBLE_DEVICES="", RANK=None)


def children_cpu_s() -> float:
    """CPU seconds of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def with_cpu_s(*arguments: str, env: dict[str, str]) -> tuple[float, str]:
    """The CPU seconds of a verb, which other processes do not add to, and what it printed."""
    before_s = children_cpu_s()
    done = bench(*arguments, env=env)
    assert done.returncode == 0, done.stderr
    return children_cpu_s() - before_s, done.stdout


def imported(*arguments: str, env: dict[str, str]) -> set[str]:
    """The top-level modules that a verb imports."""
    code = (
        "import sys\nfrom bench.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=True
    )
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_help_answers_at_once(env):
    cpu_s, text = with_cpu_s("--help", env=env)
    assert cpu_s < HELP_CPU_S
    for name in ("run", "plan", "report", "doctor"):
        assert re.search(rf"^ +{name} ", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "parameters"), [((), "11,181,642"), (["--json"], "11181642")]
)
def test_plan_answers_soon(env, arguments, parameters):
    cpu_s, text = with_cpu_s("plan", EMBEDDED, *arguments, env=env)
    assert cpu_s < PLAN_CPU_S
    assert parameters in text


def test_the_cpu_seconds_are_the_verbs(env):
    code = "import time\nwhile time.process_time() < 0.5: pass"
    before_s = children_cpu_s()
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    assert children_cpu_s() - before_s >= 0.5


def test_help_and_plan_import_no_torch(env):
    assert "argparse" in imported("--help", env=env)
    assert not {"torch", "numpy", "pydantic", "yaml"} & imported("--help", env=env)
    for arguments in ((), ("--json",)):
        modules = imported("plan", EMBEDDED, *arguments, env=env)
        assert "numpy" in modules  # so that what is looked for can be found
        assert not {"torch", "timm", "accelerate", "wandb", "nvidia"} & modules


def test_the_plan_as_json(env):
    done = bench("plan", EMBEDDED, "--json", "--blocks=2", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert [(row["arm"], row["parameters"]) for row in record["arms"]] == [
        ("pretrained", 11_181_642),
        ("random", 11_181_642),
        ("small_cnn", 551_018),
    ]
    assert [len(block) for block in record["blocks"]] == [3, 3]
    assert record["config"]["blocks"] == 2


def test_the_plan_as_text(verb):
    code, out, err = verb("plan", EMBEDDED)
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines()) <= 130
    for part in ("11,181,642", "551,018", "7 blocks of 3 runs (21 runs)"):
        assert part in out


def test_overrides_may_stand_before_and_after_the_experiment(verb):
    code, out, _ = verb("plan", "--blocks=2", EMBEDDED, "--json", "--optim.lr=1e-2")
    config = json.loads(out)["config"]
    assert (code, config["blocks"], config["optim"]["lr"]) == (0, 2, 0.01)


def test_build_counts_what_the_table_does_not_hold(verb):
    arguments = ("plan", EMBEDDED, "--model.name=test_resnet.r160_in1k", "--json")
    assert json.loads(verb(*arguments)[1])["arms"][1]["parameters"] is None
    code, out, _ = verb(*arguments, "--build")
    rows = {row["arm"]: row for row in json.loads(out)["arms"]}
    assert code == 0
    assert rows["random"]["parameters"] == 373_658  # as timm builds it with ten classes
    assert rows["random"]["train_pflop_all_runs"] > 0
    assert rows["small_cnn"]["parameters"] == 551_018
    assert rows["small_cnn"]["memory_bytes"]["optimizer"] == 8 * 551_018
    assert rows["random"]["iso_flops"] is None


def test_iso_flops_tells_what_a_rank_holds_and_the_sizes_to_type(verb):
    code, out, _ = verb(
        "plan", EMBEDDED, "--iso-flops", "small_cnn", "--arms.random.model.input_size=64"
    )
    assert code == 0
    assert out.endswith(
        "\n--arms.pretrained.model.input_size=32: 0.95x the FLOPs an image of small_cnn"
        "\n--arms.random.model.input_size=32: 0.95x the FLOPs an image of small_cnn\n"
    )
    heading, *_ = (line for line in out.splitlines() if line.startswith("arm "))
    assert heading.endswith("  GB a rank (estimate)")


def test_build_needs_a_size(verb):
    code, _, err = verb("plan", EMBEDDED, "--data.source=image_folder", "--build")
    assert (code, err) == (
        2,
        "headstart: --build: the size of 'image_folder' images is not stored; "
        "give --model.input_size\n",
    )


def test_fetch_says_in_one_sentence_what_is_missing(verb):
    code, out, err = verb("plan", "small_cnn", "--fetch", "--data.download=false")
    assert (code, out, err.count("\n")) == (2, "", 1)
    for way in ("data.dir", "CIFAR10_DIR", "data.download"):
        assert way in err
    assert verb("plan", EMBEDDED, "--fetch")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", EMBEDDED, "--optm.lr=1"), "unknown key 'optm'"),
        (("plan", "configs/experiments/embeded.yaml"), f"did you mean '{EMBEDDED}'?"),
        (("doctor", "--chose"), "bench doctor: unknown argument '--chose'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(env, arguments, message):
    done = bench(*arguments, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("headstart: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "required: VERB"),
        (("paln", EMBEDDED), "invalid choice: 'paln'"),
        (("plan",), "required: experiment"),
        (("plan", EMBEDDED, "extra"), "override 'extra': expected --dotted.key=value"),
        (
            ("plan", EMBEDDED, "--optim.lr", "1"),
            "override '--optim.lr': expected --dotted.key=value",
        ),
        (("plan", EMBEDDED, "--clock=trian"), "no clock 'trian'"),
        (("plan", EMBEDDED, "--jsn"), "override '--jsn': expected --dotted.key=value"),
        (
            ("plan", EMBEDDED, "--build", "--model.name=resnet19"),
            "no network 'resnet19'; nearest: 'resnet18'",
        ),
        (
            ("plan", EMBEDDED, "--iso-flops", "smal_cnn"),
            "--iso-flops: no arm 'smal_cnn'; allowed: ",
        ),
        (("run", EMBEDDED, "--optim.lr=0"), "optim.lr: 0: "),
        (("report",), "required: directory"),
        (("report", "configs"), "configs: no plan.json, so no experiment was started here"),
        (("report", "no/such/folder"), "no/such/folder: no plan.json"),
        (("report", "configs", "--optim.lr=1"), "bench report: unknown argument '--optim.lr=1'"),
        (("doctor", "--gpus", "3"), "GPUS=3: this machine has 0 CUDA GPUs; allowed: none"),
        (("doctor", "--gpus", "all"), "GPUS=all: expected a whole number"),
        (("doctor", "--gpus"), "--gpus: expected one argument"),
    ],
)
def test_whatever_is_wrong_is_one_line_and_exit_code_2(verb, arguments, message):
    code, out, err = verb(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("headstart: ")
    assert err.count("\n") == 1
    assert message in err


def test_only_the_first_rank_of_a_machine_complains(verb, monkeypatch):
    monkeypatch.setenv("RANK", "8")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert "optm" in verb("plan", EMBEDDED, "--optm.lr=1")[2]
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert verb("plan", EMBEDDED, "--optm.lr=1") == (2, "", "")


def test_ctrl_c_says_how_to_go_on(verb, monkeypatch):
    def stop(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.verbs.plan", stop)
    code, _, err = verb("plan", EMBEDDED)
    assert (code, err.count("\n")) == (130, 1)
    assert "stopped" in err


def test_the_doctor_shows_the_machine_and_the_table(verb):
    code, out, err = verb("doctor")
    assert (code, err) == (0, "")
    running = f"running {EMBEDDED} with launch/accelerate/cpu.yaml, 1 process\n"
    for part in ("a GPU  ", "no: none", "no: set CIFAR10_DIR", running):
        assert part in out
    assert "the first that lacks nothing is taken of pretrained_vs_random, " in out


def test_the_doctor_does_not_choose_what_is_named(verb):
    out = verb("doctor", "configs/experiments/small_cnn.yaml")[1]
    assert "is taken" not in out
    assert (
        "running configs/experiments/small_cnn.yaml with launch/accelerate/cpu.yaml, 1 process"
        in out
    )


def test_the_doctors_choice_is_one_line_for_the_shell(env):
    done = bench("doctor", "--choose", "--gpus", "", EMBEDDED, env=env)
    assert (done.returncode, done.stdout) == (0, CPU_CHOICE)
    assert "running" in done.stderr


def test_the_doctor_chooses_when_nothing_is_named(verb):
    code, out, err = verb("doctor", "--choose", "--gpus", "", "")
    assert (code, out) == (0, CPU_CHOICE)
    assert "is taken" in err


def test_an_experiment_may_be_named_without_its_folder(verb):
    assert verb("doctor", "--choose", "embedded")[:2] == (
        0,
        "launch/accelerate/cpu.yaml 1 - embedded\n",
    )
    assert verb("plan", "embedded") == verb("plan", EMBEDDED)
    assert f"did you mean '{EMBEDDED}'?" in verb("plan", "embeded")[2]
