"""What a rank is said to hold.

What belongs to parameters is counted by hand, and what belongs to images in a real pass.
"""

import pytest
import torch

from bench.config.load import load
from bench.models.memory import memory_bytes
from bench.models.networks import build, checkpoint_activations

# Numbers of the small CNN.
PARAMETERS = 551_018
STATISTICS = 448
HEAD = 128 * 10 + 10
ADAM_MOMENTS = 2


def memory(*overrides, size=32):
    return memory_bytes(load("small_cnn", [f"--{text}" for text in overrides]), size)


@pytest.mark.parametrize(
    ("overrides", "trained", "moments", "copies"),
    [
        pytest.param(
            ["optim.name=adamw", "schedule.average_decay=0.0"],
            PARAMETERS,
            ADAM_MOMENTS,
            0,
            id="adamw",
        ),
        pytest.param(
            ["optim.name=adam", "schedule.average_decay=0.9"],
            PARAMETERS,
            ADAM_MOMENTS,
            1,
            id="adam and an average",
        ),
        pytest.param(
            [
                "optim.name=sgd",
                "optim.momentum=0.9",
                "schedule.average_decay=0.9",
                "train.restore_best=true",
            ],
            PARAMETERS,
            1,
            2,
            id="sgd with momentum, an average and the best",
        ),
        pytest.param(
            ["optim.name=sgd", "optim.momentum=0.0", "schedule.average_decay=0.0"],
            PARAMETERS,
            0,
            0,
            id="sgd without momentum",
        ),
        pytest.param(
            ["optim.name=adamw", "finetune.layers=head", "schedule.average_decay=0.0"],
            HEAD,
            ADAM_MOMENTS,
            0,
            id="adamw of the head alone",
        ),
    ],
)
def test_what_belongs_to_parameters_by_hand(overrides, trained, moments, copies):
    rank_memory = memory(*overrides)
    assert rank_memory.pop("activations") > 0
    state_bytes = 4 * (PARAMETERS + STATISTICS)
    assert rank_memory == {
        "parameters": state_bytes,
        "gradients": 4 * trained,
        "optimizer": 4 * moments * trained,
        "copies": copies * state_bytes,
    }


def really_saved(name, images, *, half, again):
    """Bytes of all storages that a pass on the CPU keeps, but those of parameters and buffers."""
    network = build(name, 10).train()
    if again:
        checkpoint_activations(network, name)
    state_pointers = {tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    bytes_by_pointer = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        bytes_by_pointer[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        logits = network(images)
    assert logits.requires_grad
    kept = bytes_by_pointer.keys() - state_pointers
    return sum(bytes_by_pointer[pointer] for pointer in kept)


@pytest.mark.parametrize(("precision", "half"), [("fp32", False), ("bf16", True), ("auto", True)])
@pytest.mark.parametrize(
    ("name", "size", "again"),
    [("small_cnn", 32, False), ("test_vit", 160, False), ("test_vit", 160, True)],
)
def test_activations_are_what_a_real_pass_keeps(name, size, again, precision, half):
    rank_memory = memory(
        f"model.name={name}",
        f"model.checkpoint_activations={str(again).lower()}",
        f"precision={precision}",
        "hardware.world_size=2",
        "train.accumulate_steps=4",
        "train.global_batch_size=64",
        "evaluation.every_samples=640",
        "train.samples=12800",
        size=size,
    )
    images = torch.randn(64 // 2 // 4, 3, size, size)  # of a rank's step, in four parts
    real = really_saved(name, images, half=half, again=again)
    assert rank_memory["activations"] == pytest.approx(real, rel=0.01)


def test_a_frozen_body_keeps_nothing():
    assert memory("finetune.layers=head")["activations"] < memory()["activations"] / 100


def test_checkpointing_keeps_little():
    stored = memory("model.name=test_vit", "model.checkpoint_activations=false", size=160)
    again = memory("model.name=test_vit", "model.checkpoint_activations=true", size=160)
    assert again.pop("activations") < stored.pop("activations") / 3
    assert again == stored
