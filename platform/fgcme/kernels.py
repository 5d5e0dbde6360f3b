"""Compiled kernels: on a CPU, oneDNN keeps those for each length of input, and lengths of speech hardly come twice."""

from __future__ import annotations

import os


def keep_few_kernels(count: int) -> None:
    """Let oneDNN keep so many kernels and not a thousand, unless the environment says how many.

    Of a wav2vec 2.0 those for one length take 40 MB, of many trainings they are gigabytes. It counts if no network of
    this process has computed yet.
    """
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(cache, str(count))
