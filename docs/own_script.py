"""headstart's DALI loader in a script of your own: PYTHONPATH=. accelerate launch docs/own_script.py"""

import torch
from accelerate import Accelerator
from torchvision.models import resnet18

from bench.data.batches import LoaderSpec
from bench.data.bridge import EpochLoader
from bench.data.order import Augmentation
from bench.data.source import Split

accelerator = Accelerator(rng_types=[])
images = torch.randint(256, (1024, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
split = Split(images=images.numpy(), labels=(images[:, 16, 16, 0].long() // 26).numpy())  # yours: uint8 [N, H, W, 3], int64 [N]
how = Augmentation(pad=4, pad_mode="reflect", flip="random", cutout=0)
where = {"device": accelerator.device, "dtype": torch.float32, "threads": 2}
spec = LoaderSpec(**where, mean=(0.5,) * 3, std=(0.25,) * 3, augmentation=how)
network, optimizer = accelerator.prepare(net := resnet18(num_classes=10), torch.optim.AdamW(net.parameters()))
ranks = {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
with EpochLoader(split, spec, batch_size=256, seed=0, loader="dali", **ranks) as loader:
    accelerator.register_for_checkpointing(loader)  # save_state and load_state then resume in the middle of an epoch
    for epoch in range(2):
        for batch in loader:
            loss = torch.nn.functional.cross_entropy(network(batch.images), batch.labels)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        accelerator.print(f"epoch {epoch}: {len(loader)} batches, last loss {loss.item():.3f}")
accelerator.end_training()
