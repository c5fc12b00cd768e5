"""Tokenizers: from signals to tokens of a learned codebook, and back."""

from neurosig.core.lazy import attach

_NAMES = {
    "NEURORVQ_CHANNELS": "neurosig.tokenizers.neurorvq_channels",
    "NeuroRVQTokenizerModule": "neurosig.tokenizers.neurorvq_module",
    "TFMTokenizerModule": "neurosig.tokenizers.tfm_module",
}
__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
