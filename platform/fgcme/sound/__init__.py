"""Sound files: decoded to their real end, whatever their headers say, and made one channel."""

from fgcme.sound.decoding import MIXED, Decoded, Samples, decode, duration_of
from fgcme.sound.source import AudioError, Source, check_source

__all__ = ["MIXED", "AudioError", "Decoded", "Samples", "Source", "check_source", "decode", "duration_of"]
