"""What people bring or choose, each by config alone: a folder of images, another network of timm's,
a loader.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.commands import ROOT, TINY, bench, environment


def study(tmp_path: Path, **sections) -> Path:
    """The tiny study with other keys, as a YAML file of its own."""
    tree = yaml.safe_load((ROOT / TINY).read_text())
    for section, changes in sections.items():
        if isinstance(changes, dict):
            tree[section] = {**tree.get(section, {}), **changes}
        else:
            tree[section] = changes
    tree |= {"name": "mine", "blocks": 1, "output": str(tmp_path / "runs")}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def runs(tmp_path: Path) -> list[dict]:
    paths = (tmp_path / "runs" / "mine").glob("*/result.json")
    return [json.loads(path.read_text()) for path in paths]


@pytest.fixture
def photos(tmp_path) -> Path:
    """Images of many sizes in two classes that their brightness tells apart."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("bright", 180)):
        folder = tmp_path / "photos" / "train" / name
        folder.mkdir(parents=True)
        for number in range(150):
            height, width = rng.integers(20, 60, 2)
            pixels = (level + rng.integers(-50, 50, (height, width, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.{'jpg' if number % 2 else 'png'}")
    return tmp_path / "photos"


def test_a_folder_of_images_of_any_size(tmp_path, photos):
    data = {"source": "image_folder", "dir": str(photos), "image_size": 32, "pad": 2}
    every_image = {"train_samples": None, "val_samples": None, "test_samples": None}
    experiment = study(tmp_path, data=data | every_image)
    done = bench("run", str(experiment), env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    results = runs(tmp_path)
    assert {result["arm"] for result in results} == {"slow", "fast"}
    dataset = results[0]["start"]["dataset"]
    assert dataset["name"].startswith("photos:")
    assert [dataset[split] for split in ("train", "val", "test")] == [240, 30, 30]
    accuracies = []
    for result in results:
        accuracies += [look["correct"] / look["total"] for look in result["looks"]]
    assert max(accuracies) > 0.9
    assert "photos:" in (tmp_path / "runs" / "mine" / "report.md").read_text()


def test_a_small_vision_transformer_of_timm(tmp_path):
    experiment = study(
        tmp_path,
        model={"name": "test_vit", "input_size": 48},
        arms={"slow": {}, "fast": {"optim.lr": 2e-3}},
    )
    done = bench("run", str(experiment), env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    results = runs(tmp_path)
    assert [result["status"] for result in results] == ["completed", "completed"]
    network = results[0]["start"]["network"]
    assert (network["name"], network["input_size"], network["normalization_of"]) == (
        "test_vit",
        48,
        "weights",
    )
    for result in results:
        assert result["looks"][-1]["loss"] < result["looks"][0]["loss"]


def test_from_one_seed_every_loader_gives_the_same_curves(tmp_path):
    """Two epochs with all augmentations, the incomplete last batch trained on too."""
    data = {
        "pad_mode": "reflect",
        "flip": "alternating",
        "cutout": 6,
        "last_batch": "partial",
        "train_samples": 500,
    }
    arms = {"dali": {}, "resident": {"data.loader": "resident"}, "torch": {"data.loader": "torch"}}
    primary = {"arm": "resident", "threshold": 0.5}
    experiment = study(
        tmp_path, data=data, arms=arms, baseline="dali", factors=["data.loader"], primary=primary
    )
    tree = yaml.safe_load(experiment.read_text())
    experiment.write_text(yaml.safe_dump(tree | {"arms": arms}))  # no arms of the tiny study
    done = bench("run", str(experiment), env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    curves = {result["arm"]: result["looks"] for result in runs(tmp_path)}
    assert set(curves) == set(arms)
    assert [look["samples"] for look in curves["dali"]] == [128, 256, 384, 500, 628, 756, 884, 1000]
    for arm in ("resident", "torch"):
        for look, other in zip(curves[arm], curves["dali"], strict=True):
            assert (look["step"], look["epoch"], look["samples"]) == (
                other["step"],
                other["epoch"],
                other["samples"],
            )
            assert look["loss"] == pytest.approx(other["loss"], rel=1e-3)
            assert abs(look["correct"] - other["correct"]) <= 1
