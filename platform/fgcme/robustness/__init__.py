"""How much worse a model answers on recordings and transcripts that are worse than its corpus's."""

from fgcme.robustness.degradation import CLEAN, DEGRADATIONS
from fgcme.robustness.table import ROBUSTNESS, Condition, choose_utterances, condition_rows, summarise_conditions
from fgcme.robustness.word_errors import WORD_ERROR_RATES, with_word_errors, word_error_title

__all__ = [
    "CLEAN",
    "DEGRADATIONS",
    "ROBUSTNESS",
    "WORD_ERROR_RATES",
    "Condition",
    "choose_utterances",
    "condition_rows",
    "summarise_conditions",
    "with_word_errors",
    "word_error_title",
]
