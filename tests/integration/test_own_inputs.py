"""What people bring of their own, each by config alone: a folder of images, another network of timm's."""

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
        tree[section] = {**tree.get(section, {}), **changes} if isinstance(changes, dict) else changes
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tree | {"name": "mine", "blocks": 1, "output": str(tmp_path / "runs")}))
    return path


def runs(tmp_path: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in (tmp_path / "runs" / "mine").glob("*/result.json")]


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
    own = study(tmp_path, data=data | dict.fromkeys(("train_samples", "val_samples", "test_samples")))
    done = bench("run", str(own), env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    results = runs(tmp_path)
    assert {result["arm"] for result in results} == {"slow", "fast"}
    dataset = results[0]["start"]["dataset"]
    assert dataset["name"].startswith("photos:")
    assert [dataset[split] for split in ("train", "val", "test")] == [240, 30, 30]
    assert max(look["correct"] / look["total"] for result in results for look in result["looks"]) > 0.9
    assert "photos:" in (tmp_path / "runs" / "mine" / "report.md").read_text()


def test_a_small_vision_transformer_of_timm(tmp_path):
    own = study(tmp_path, model={"name": "test_vit", "input_size": 48}, arms={"slow": {}, "fast": {"optim.lr": 2e-3}})
    done = bench("run", str(own), env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    results = runs(tmp_path)
    assert [result["status"] for result in results] == ["completed", "completed"]
    network = results[0]["start"]["network"]
    assert (network["name"], network["input_size"], network["normalization_of"]) == ("test_vit", 48, "weights")
    for result in results:
        assert result["looks"][-1]["loss"] < result["looks"][0]["loss"]
