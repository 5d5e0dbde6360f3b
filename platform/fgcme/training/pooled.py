"""What every epoch would pool alike is pooled once, before the first; and the moments of pooled values are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import psutil
import torch
from torch import Tensor, nn

from fgcme.data import Batch, FoldLoaders, Missing, RaggedLoader
from fgcme.model import Network, StandardisePooled
from fgcme.model.pooling import PoolsFrames


@torch.no_grad()
def keep_pooled(model: Network, loaders: FoldLoaders, device: torch.device) -> bool:
    """Pool once what every epoch would pool alike, if it fits; from then on the fold's batches hold that and no frames.

    Args:
        model: on the device.
        loaders: the fold.
        device: where the model computes, and where the pooled vectors stay.

    Returns:
        Whether it did.
    """
    pooling = model.fixed_pooling
    if pooling is None or not loaders.train.pools_alike:
        return False
    parts = [loaders.train, loaders.dev]
    # Moments of speakers need the test part too, which is else read once: from its frames, as new speech will be.
    if loaders.test.inputs.speakers is not None:
        parts.append(loaders.test)
    parts = [part for part in parts if len(part)]
    sizes = [each.size for each in pooling.poolings()]
    byte_count = sum(part.inputs.pooled_bytes(sizes, lacking) for part in parts for lacking in tables_of(part))
    if not fits_on_device(byte_count, free_bytes(device)):
        return False
    model.eval()
    standardise = nn.Identity() if model.standardise.is_identity else model.standardise

    def pool(batch: Batch) -> tuple[Tensor, ...]:
        there = batch.to(device)
        return pooling.pool(replace(there, frames=standardise(there.frames)))

    pools_alike_in_every_fold = model.standardise.is_identity and not loaders.train.inputs.model_input.speakers
    if not (pools_alike_in_every_fold and share_pooled(pooling, parts, pool, device)):
        for part in parts:
            for lacking in tables_of(part):
                part.inputs.keep_pooled(part.pooled(pool, lacking), lacking)
    for part in parts:
        if "sound" in part.losses:
            # As nothing is read, all are alike.
            part.inputs.keep_silence([vectors[:1] for vectors in next(part.pooled(pool, "sound"))])
    return True


def tables_of(part: RaggedLoader) -> list[Missing | None]:
    """What recordings may lack in training whose segments then are reduced to vectors of their own."""
    return [lacking for lacking in part.losses if lacking != "sound"]


def share_pooled(
    pooling: PoolsFrames,
    parts: Sequence[RaggedLoader],
    pool: Callable[[Batch], tuple[Tensor, ...]],
    device: torch.device,
) -> bool:
    """Take the pooled vectors from files that all trainings on the corpus share; the first of them writes the files.

    Args:
        pooling: pools frames in the same way in every fold.
        parts: of the fold, not empty.
        pool: from a batch to the vectors of its segments.
        device: where the vectors are from now on.

    Returns:
        Whether there are such files, and the device has room for them.
    """
    corpus, poolings = RaggedLoader(parts[0].inputs.of_corpus(), batch_size=1), pooling.poolings()
    sizes, names = [each.size for each in poolings], [repr(each) for each in poolings]
    wanted = sorted({lacking for part in parts for lacking in tables_of(part)}, key=str)
    if not fits_on_device(sum(corpus.inputs.pooled_bytes(sizes, lacking) for lacking in wanted), free_bytes(device)):
        return False
    shared = {}
    for lacking in wanted:
        of_each = ([vectors.cpu().numpy() for vectors in pooled] for pooled in corpus.pooled(pool, lacking))
        mapped = corpus.inputs.map_pooled(names, sizes, of_each, lacking)
        if mapped is None:
            return False
        shared[lacking] = [torch.from_numpy(each).to(device) for each in mapped]
    for part in parts:
        for lacking in tables_of(part):
            part.inputs.share_pooled(corpus.inputs, shared[lacking], lacking)
    return True


@torch.no_grad()
def watch_pooled(model: Network, loaders: FoldLoaders, device: torch.device) -> None:
    """Let a model take the moments of its pooled values: of the training part, and of speakers that batches tell apart.

    Args:
        model: on the device.
        loaders: the fold.
        device: where the model computes.
    """
    modules = [module for module in model.modules() if isinstance(module, StandardisePooled)]
    model.eval()

    def watch(parts: Sequence[RaggedLoader], speakers: int | None = None) -> None:
        with ExitStack() as watching:
            for module in modules:
                watching.enter_context(module.watch(speakers))
            for part in parts:
                for positions in part.plan(seed=None):
                    model(part.batch(positions).to(device))

    if not modules:
        return
    watch([loaders.train])
    parts = [part for part in (loaders.train, loaders.dev, loaders.test) if len(part)]
    numbers = [part.inputs.speakers for part in parts if part.inputs.speakers is not None]
    if numbers:
        watch(parts, 1 + max(int(part.max()) for part in numbers))


def fits_on_device(byte_count: int, available: int) -> bool:
    """Whether frames, or what is pooled of them, are kept on a device: they may take a quarter of its free memory.

    The rest is for the training itself, and for other trainings on the same device.

    >>> fits_on_device(100, available=400), fits_on_device(101, available=400)
    (True, False)
    """
    return 4 * byte_count <= available


def free_bytes(device: torch.device) -> int:
    """Free memory of a GPU, or what is available of the machine's."""
    return int(torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available)
