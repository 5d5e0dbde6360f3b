"""A prepared corpus in the formats of others: its words and their times, labels, speakers, without its features."""

from fgcme.interchange.contract import About, PreparedUtterance, TimedWord, Told
from fgcme.interchange.formats import FORMATS, Format, find_writer
from fgcme.interchange.rows import read_utterances

__all__ = ["FORMATS", "About", "Format", "PreparedUtterance", "TimedWord", "Told", "find_writer", "read_utterances"]
