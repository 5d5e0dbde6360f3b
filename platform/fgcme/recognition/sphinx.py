"""Recognition with PocketSphinx's own large vocabulary of US English: nothing to download, and often wrong.

Its three-word language model is of broadcast news and telephone calls. What it hears of acted speech, or of another
accent, is often another sentence; `RESULTS.md` says how often.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from fgcme.alignment.sphinx_decoder import normalise_level, to_pcm
from fgcme.audio import SAMPLE_RATE, Samples

_lock = threading.Lock()


class SphinxRecogniser:
    """Recognises with one decoder per process."""

    name = "sphinx"

    def recognise(self, samples: Samples) -> str:
        """The likeliest words; see `Recogniser.recognise`."""
        # A decoder holds one utterance, and a served model is called from several threads.
        with _lock:
            decoder = _decoder()
            # Forget the noise estimate of the previous utterance: it would change the words of this one.
            decoder.reinit_feat()
            decoder.start_utt()
            decoder.process_raw(to_pcm(normalise_level(samples)), full_utt=True)
            decoder.end_utt()
            found = decoder.hyp()
            return "" if found is None else str(found.hypstr)


@functools.cache
def _decoder() -> Any:
    import pocketsphinx

    return pocketsphinx.Decoder(loglevel="FATAL", samprate=SAMPLE_RATE)
