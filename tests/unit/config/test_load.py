"""Layers, overrides and checks: what a config accepts, and the line that says why it refuses."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from bench.config.load import arm_config, as_dict, dump, load, run_digest, stored_table
from bench.config.schema import section_keys
from tests.unit.config.studies import EMBEDDED, SECTIONS, STUDY, leaves, refusal, write


def test_layers_base_below_experiment_below_override(tmp_path):
    base = yaml.safe_load(Path("configs/base.yaml").read_text())
    path = write(tmp_path, optim={"lr": 0.5, "beta2": 0.9})
    assert load(path).optim.lr == 0.5
    config = load(path, ["--optim.beta2=0.95"])
    assert (config.optim.lr, config.optim.beta2) == (0.5, 0.95)
    assert config.optim.beta1 == base["optim"]["beta1"]  # a section is merged, not replaced
    assert config.blocks == base["blocks"]


def test_base_documents_every_key_that_has_a_default():
    base = yaml.safe_load(Path("configs/base.yaml").read_text())
    no_default = {
        "name",
        "question",
        "cost",
        "command",
        "expected",
        "arms",
        "baseline",
        "factors",
        "thresholds",
    }
    assert set(base) == set(section_keys()) - no_default
    for section in set(SECTIONS) - no_default:
        without_default = {"arm", "threshold"} if section == "primary" else set()
        assert set(base[section]) == set(section_keys(section)) - without_default, section


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("--optim.lr=1e-3", "optim.lr", 1e-3),
        ("--optim.lr=1", "optim.lr", 1.0),
        ("--train.samples=2048", "train.samples", 2048),
        ("--model.input_size=null", "model.input_size", None),
        ("--compile.enabled=false", "compile.enabled", False),
        ("--weights.tag='1'", "weights.tag", "1"),
        ('--weights.tag="a: b=c"', "weights.tag", "a: b=c"),
        ("--weights.tag=a=b", "weights.tag", "a=b"),
        ("--wandb.tags=[a, 'b c']", "wandb.tags", ["a", "b c"]),
        ("--wandb.tags=[]", "wandb.tags", []),
    ],
)
def test_an_override_is_typed(tmp_path, override, key, value):
    read_value = leaves(as_dict(load(write(tmp_path), [override])))[key]
    assert read_value == value
    assert type(read_value) is type(value)


def test_overrides_of_lists_and_of_whole_sections(tmp_path):
    config = load(write(tmp_path), ["--thresholds=[0.5, 0.8]", "--primary.threshold=0.8"])
    assert (config.thresholds, config.primary.threshold, config.primary.alpha) == (
        (0.5, 0.8),
        0.8,
        0.05,
    )


def test_an_override_does_not_outlive_its_config(tmp_path):
    path = write(tmp_path)
    before = load(path)
    assert load(path, ["--model.name=other", "--wandb.project=other"]) != before
    assert load(path) == before


def test_the_last_override_holds(tmp_path):
    assert load(write(tmp_path), ["--blocks=2", "--blocks=3"]).blocks == 3


def test_an_arms_own_override_can_be_overridden_and_a_misspelt_arm_is_refused():
    config = load(EMBEDDED, ["--arms.small_cnn.model.name=resnet34", "--arms.random.weights.tag=x"])
    assert arm_config(config, "small_cnn").model.name == "resnet34"
    assert config.arms["random"] == {"weights.tag": "x"}
    with pytest.raises(ValueError, match=r"no arm 'smal_cnn'.*did you mean 'small_cnn'"):
        load(EMBEDDED, ["--arms.smal_cnn.model.name=resnet34"])


@pytest.mark.parametrize("arms", ["", "arms: null\n", "arms: 3\n"])
def test_an_override_of_an_arm_is_refused_where_there_are_no_arms(tmp_path, arms):
    path = tmp_path / "none.yaml"
    path.write_text(f"name: none\n{arms}")
    assert refusal(path, "--arms.slow.optim.lr=1") == "arms.slow.optim.lr: no arm 'slow'; allowed: "


def test_a_bare_name_is_an_experiment_that_is_shipped():
    assert load("embedded") == load(EMBEDDED)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("--optm.lr=1", r"unknown key 'optm'; .*did you mean 'optim'\?"),
        ("--optim.lrr=1",
         r"unknown key 'optim.lrr'; allowed: beta1, beta2, layer_decay, lr, .*did you mean 'lr'\?"),
        ("--optim.=1", r"unknown key 'optim\.'"),
        ("--primary.treshold=0.5", r"unknown key 'primary.treshold'; .*did you mean 'threshold'\?"),
        ("--primary={arm: fast, treshold: 0.5}",
         r"unknown key 'primary.treshold'; .*did you mean 'threshold'\?"),
        ("--arms={slow: {}, fast: {optim.lrr: 1}}",
         r"arm fast: 'optim.lrr' is not a declared factor"),
        ("--data.flip=rnd", r"data.flip: 'rnd' is not allowed; allowed: alternating, none, random"),
        ("--precision=bf61", r"precision: 'bf61' is not allowed; .*did you mean 'bf16'\?"),
        ("--wandb.mode=ofline", r"wandb.mode: 'ofline' is not allowed; .*did you mean 'offline'\?"),
        ("--optim.lr=fast", r"optim.lr: 'fast': .*valid number"),
        ("--optim.lr=null", r"optim.lr: None: .*valid number"),
        ("--optim.lr=0", r"optim.lr: 0: .*greater than 0"),
        ("--optim.lr=.nan", r"optim.lr: nan: "),
        ("--optim.lr.x=3", r"optim.lr.x: optim.lr has no keys below it"),
        ("--optim=3", r"optim: 3: "),
        ("--optim=", r"optim: None: "),
        ("--optim={lr: 1}", r"key 'optim.name' is missing"),
        ("--blocks=0", r"blocks: 0: .*greater than 0"),
        ("--blocks=1.5", r"blocks: 1.5: .*valid integer"),
        ("--seed=-1", r"seed: -1: "),
        ("--seed=9223372036854775808", r"seed: 9223372036854775808: .*less than"),
        ("--trackers=wandb", r"trackers: 'wandb': "),
        ("--trackers=[wandbb]", r"trackers: no tracker 'wandbb'; .*did you mean 'wandb'\?"),
        ("--name=..", r"name: '\.\.': "),
        ("--name=a/b", r"name: 'a/b': "),
        ("--arms={slow: {}, 'a b': {}}", r"arms.a b: "),
        ("--arms={slow: {}, fast: {optim.lr: 2020-01-01}}", r"arms.fast.optim.lr: datetime.date"),
        ("--optim.lr=[1", r"override '--optim.lr=\[1': not valid YAML"),
        ("--optim={lr: 1, lr: 2}", r"key 'lr' is given twice"),
        ("--seed=2020-13-45", r"override '--seed=2020-13-45': not valid YAML"),
        ("--seed=!!map [1]", r"override '--seed=!!map \[1\]': not valid YAML"),
        ("--optim.lr", r"override '--optim.lr': expected --dotted.key=value"),
        ("optim.lr=1", r"override 'optim.lr=1': expected --dotted.key=value"),
        ("--=1", r"override '--=1': expected --dotted.key=value"),
        ("--baseline=slo", r"baseline: no arm 'slo'; allowed: fast, slow; did you mean 'slow'\?"),
        ("--primary.arm=fats",
         r"primary.arm: no arm 'fats'; allowed: fast, slow; did you mean 'fast'\?"),
        ("--primary.arm=slow", r"primary.arm: 'slow' is the baseline; allowed: fast"),
        ("--thresholds=[0.5, 0.3]", r"thresholds: \[0.5, 0.3\] must rise"),
        ("--thresholds=[0.3, 0.5, 0.5]", r"thresholds: \[0.3, 0.5, 0.5\] must rise"),
        ("--thresholds=[0.5, 1.0]", r"thresholds.1: 1.0: .*less than 1"),
        ("--thresholds=[]", r"primary.threshold: 0.5 is none of \[\]"),
        ("--primary.threshold=0.4", r"primary.threshold: 0.4 is none of \[0.3, 0.5\]"),
        ("--factors=[optim.lrr]",
         r"factors: 'optim.lrr' cannot be one; .*did you mean 'optim.lr'\?"),
        ("--factors=[optim.]", r"factors: 'optim\.' cannot be one"),
        ("--factors=[evaluation]", r"factors: 'evaluation' cannot be one"),
        ("--factors=[precision]", r"factors: 'precision' cannot be one"),
        ("--factors=[optim.beta1]",
         r"arm fast: 'optim.lr' is not a declared factor, .*unfair; allowed: optim.beta1"),
        ("--factors=[]", r"arm fast: 'optim.lr' is not a declared factor, .*unfair"),
        ("--data.source=digts", r"data.source: no source 'digts'; .*did you mean 'digits'\?"),
        ("--data.loader=resdent", r"data.loader: no loader 'resdent'; .*did you mean 'resident'\?"),
        ("--optim.name=adm", r"optim.name: no optimizer 'adm'; .*did you mean 'adam'\?"),
        ("--schedule.name=cosin", r"schedule.name: no schedule 'cosin'; .*did you mean 'cosine'\?"),
        ("--schedule.lr_warmup_steps=32",
         r"arm slow: schedule.lr_warmup_steps: 32 leaves none of 32 steps"),
        ("--finetune.head_first_steps=32",
         r"head_first_steps: 32 of 32 steps leave no step for the other layers"),
        ("--train.accumulate_steps=3",
         r"train.global_batch_size: 32 is no multiple of train.accumulate_steps 3; nearest: 33"),
        ("--weights.transform=shufled",
         r"weights.transform: 'shufled' is not allowed; .*did you mean 'shuffled'\?"),
        ("--weights.stem=croped",
         r"weights.stem: 'croped' is not allowed; .*did you mean 'crop'\?"),
        ("--optim.layer_decay=1.5", r"optim.layer_decay: 1.5: "),
        ("--weights.source=file",
         r"arm slow: weights.source: 'file' needs weights.file, which is null"),
        ("--weights.source=self",
         r"arm slow: weights.source: 'self' needs weights.recipe, which is null"),
        ("--controls={fast: equal}", r"controls: no arm 'fast' that could be one; allowed: $"),
        ("--controls={slow: never}", r"controls: no arm 'slow' that could be one"),
        ("--controls={other: never}", r"controls: no arm 'other' that could be one"),
        ("--controls={slow: same}", r"controls.slow: 'same' is not allowed; allowed: equal, never"),
        ("--reference={fsat: [1]}",
         r"reference: no arm 'fsat' .*; allowed: fast, slow; did you mean 'fast'\?"),
        ("--reference={fast: [0]}", r"reference.fast.0: 0: .*greater than 0"),
        ("--budgets=[512, 1024]",
         r"budgets: \[512, 1024\] are for kind annealed; anytime runs are judged at every look"),
        ("--imports=[no_such_module]",
         r"imports: cannot import 'no_such_module': ModuleNotFoundError"),
        ("--optim.lr='a\nb'", r"optim.lr: 'a b': "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_in_one_line(tmp_path, override, said):
    assert re.search(said, refusal(write(tmp_path), override))


@pytest.mark.parametrize(
    "budgets", ["[1024, 512]", "[512, 512, 1024]", "[100, 1024]", "[128, 512]", "[1024, 2048]"]
)
def test_budgets_are_looks_that_rise_to_the_whole_run(tmp_path, budgets):
    path = write(tmp_path, kind="annealed")
    said = (
        f"budgets: {budgets} must be multiples of evaluation.every_samples 128 "
        "that rise to train.samples 1024"
    )
    assert refusal(path, f"--budgets={budgets}") == said
    assert load(path, ["--budgets=[128, 512, 1024]"]).budgets == (128, 512, 1024)


def test_a_factor_that_starts_alike_does_not_cover_another_key(tmp_path):
    path = write(
        tmp_path, factors=["data.pad"], arms={"slow": {}, "fast": {"data.pad_mode": "zero"}}
    )
    assert "arm fast: 'data.pad_mode' is not a declared factor" in refusal(path)


def test_an_arm_is_checked_as_a_run(tmp_path):
    path = write(tmp_path, factors=["optim"], arms={"slow": {}, "fast": {"optim.nam": "adam"}})
    assert "arm fast: unknown key 'optim.nam'" in refusal(path)
    path = write(tmp_path, factors=["train"], arms={"slow": {}, "fast": {"train.samples": 1000}})
    assert "arm fast: train.samples: 1000 is no multiple" in refusal(path)


@pytest.mark.parametrize("steps", [0, 31])
def test_an_lr_warmup_may_leave_one_step(tmp_path, steps):
    assert (
        load(write(tmp_path), [f"--schedule.lr_warmup_steps={steps}"]).schedule.lr_warmup_steps
        == steps
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("configs/experiments/embeded.yaml", "did you mean 'configs/experiments/embedded.yaml'?"),
        ("embeded", "did you mean 'configs/experiments/embedded.yaml'?"),
        ("configs/experiments", "no config file 'configs/experiments'; "),
        ("no/such/folder.yaml", "no config file 'no/such/folder.yaml'; "),
        ("", "no config file"),
    ],
)
def test_a_missing_file_is_named_with_the_nearest(path, said):
    assert said in refusal(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: [", "not valid YAML"),
        ("a: 1\n b: 2", "not valid YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("? [a, b]\n: 3", "not valid YAML"),
        ("- 1", "expected keys and values, got list"),
        ("3", "expected keys and values, got int"),
        ("", "expected keys and values, got NoneType"),
        (f"{yaml.safe_dump(STUDY)}\n3: 4", "3: keys should be strings"),
        ("name: x", "key 'question' is missing"),
        ("seed: 1\noptim: {lr: 1}\nseed: 2", "key 'seed' is given twice"),
        ("optim: {lr: 1, lr: 2}", "key 'lr' is given twice"),
        (b"name: \xe9", "not valid YAML"),
        (b"\xff\xfe\x00", "not valid YAML"),
        ("a: &a [*a]", "aliases are not allowed"),
    ],
)
def test_a_file_that_holds_no_config_is_refused(tmp_path, content, said):
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert said in message


def test_python_tags_are_refused_and_do_nothing(tmp_path):
    trace = tmp_path / "trace"
    tag = f"!!python/object/apply:os.mkdir [{trace}]"
    path = tmp_path / "tags.yaml"
    path.write_text(f"name: {tag}\n")
    assert "python/object/apply" in refusal(path)
    assert "python/object/apply" in refusal(write(tmp_path), f"--name={tag}")
    assert not trace.exists()


def test_an_alias_bomb_is_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join([*lines, "name: *a11\n"]))
    message = refusal(path)
    assert "aliases are not allowed" in message
    assert len(message) < 1000


def test_a_config_is_frozen():
    config = load(EMBEDDED)
    for thing in (config, *(getattr(config, section) for section in SECTIONS)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, dataclasses.fields(thing)[0].name, "other")


def test_an_arm_is_the_shared_config_with_its_overrides_and_nothing_else():
    config = load(EMBEDDED)
    before = as_dict(config)
    for arm, overrides in config.arms.items():
        arm_tree = as_dict(arm_config(config, arm))
        arm_leaves = leaves(arm_tree)
        shared_leaves = leaves(before)
        different = {key: value for key, value in arm_leaves.items() if value != shared_leaves[key]}
        assert different == overrides
        for key in set(before) - set(SECTIONS):
            assert arm_tree[key] == before[key]
    assert as_dict(config) == before


def test_yaml_round_trips(tmp_path):
    for config in (
        load(EMBEDDED),
        load(write(tmp_path, question="Größer als π?"), ["--optim.lr=1e-7", "--wandb.tags=['1']"]),
    ):
        text = dump(as_dict(config))
        assert yaml.safe_load(text) == as_dict(config)
        again = tmp_path / "again.yaml"
        again.write_text(text, encoding="utf-8")
        assert load(again) == config
        assert run_digest(load(again)) == run_digest(config)
    assert "Größer als π?" in text


@dataclasses.dataclass(frozen=True)
class Row:
    parameters: int
    statistics: int
    forward_mmac: dict[int, float]


def test_a_stored_table_has_rows_of_the_types_asked_for():
    table = stored_table("counts", dict[str, dict[str, Row]])
    row = table["resnet18"]["stock"]
    assert row.parameters > 10**7
    assert row.forward_mmac[32] == 37.016576
    with pytest.raises(ValueError, match="small_cnn"):
        stored_table("counts", dict[str, Row])
