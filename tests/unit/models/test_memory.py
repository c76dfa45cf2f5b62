"""What a rank is said to hold: by hand what belongs to parameters, and what a real pass keeps
what belongs to images.
"""

import pytest
import torch

from bench.config.load import load
from bench.models.memory import memory_bytes
from bench.models.networks import build, checkpoint_activations

# of the small CNN
PARAMETERS = 551_018
STATISTICS = 448
HEAD = 128 * 10 + 10


def memory(*overrides, size=32):
    return memory_bytes(load("small_cnn", [f"--{text}" for text in overrides]), size)


@pytest.mark.parametrize(
    ("overrides", "trained", "moments", "copies"),
    [
        (("optim.name=adamw", "schedule.average_decay=0.0"), PARAMETERS, 2, 0),
        (("optim.name=adam", "schedule.average_decay=0.9"), PARAMETERS, 2, 1),
        (
            (
                "optim.name=sgd",
                "optim.momentum=0.9",
                "schedule.average_decay=0.9",
                "train.restore_best=true",
            ),
            PARAMETERS,
            1,
            2,
        ),
        (("optim.name=sgd", "optim.momentum=0.0", "schedule.average_decay=0.0"), PARAMETERS, 0, 0),
        (("optim.name=adamw", "finetune.layers=head", "schedule.average_decay=0.0"), HEAD, 2, 0),
    ],
)
def test_what_belongs_to_parameters_by_hand(overrides, trained, moments, copies):
    estimate = memory(*overrides)
    assert estimate.pop("activations") > 0
    network_bytes = 4 * (PARAMETERS + STATISTICS)
    assert estimate == {
        "parameters": network_bytes,
        "gradients": 4 * trained,
        "optimizer": 4 * moments * trained,
        "copies": copies * network_bytes,
    }


def really_saved(name, images, *, half, again):
    """Bytes of all storages that a pass on the CPU keeps, but those of parameters and buffers."""
    network = build(name, 10).train()
    saved = {}
    if again:
        checkpoint_activations(network, name)
    network_tensors = {tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())}

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        logits = network(images)
    assert logits.requires_grad
    return sum(size for key, size in saved.items() if key not in network_tensors)


@pytest.mark.parametrize(("precision", "half"), [("fp32", False), ("bf16", True), ("auto", True)])
@pytest.mark.parametrize(
    ("name", "size", "again"),
    [("small_cnn", 32, False), ("test_vit", 160, False), ("test_vit", 160, True)],
)
def test_activations_are_what_a_real_pass_keeps(name, size, again, precision, half):
    overrides = (
        f"model.name={name}",
        f"model.checkpoint_activations={str(again).lower()}",
        f"precision={precision}",
        "hardware.world_size=2",
        "train.accumulate_steps=4",
        "train.global_batch_size=64",
        "evaluation.every_samples=640",
        "train.samples=12800",
    )
    estimate = memory(*overrides, size=size)
    real = really_saved(name, torch.randn(64 // 2 // 4, 3, size, size), half=half, again=again)
    assert estimate["activations"] == pytest.approx(real, rel=0.01)


def test_a_frozen_body_keeps_nothing_and_checkpointing_keeps_little():
    assert memory("finetune.layers=head")["activations"] < memory()["activations"] / 100
    plain = memory("model.name=test_vit", "model.checkpoint_activations=false", size=160)
    again = memory("model.name=test_vit", "model.checkpoint_activations=true", size=160)
    assert again.pop("activations") < plain.pop("activations") / 3
    assert again == plain
