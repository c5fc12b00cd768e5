"""Tokenizers: from signals to tokens of a learned codebook, and back."""

from neurosig.core.lazy import attach

_NAMES = {
    "NEURORVQ_CHANNELS": "neurosig.tokenizers.neurorvq_channels",
    "NeuroRVQTokenizer": "neurosig.tokenizers.neurorvq",
    "NeuroRVQTokenizerModule": "neurosig.tokenizers.neurorvq_module",
    "TFMTokenizer": "neurosig.tokenizers.tfm",
    "TFMTokenizerModule": "neurosig.tokenizers.tfm_module",
    "TokenFeatures": "neurosig.tokenizers.features",
    "TokenStore": "neurosig.tokenizers.token_store",
    "analyse_tokens": "neurosig.tokenizers.analysis",
    "distinctive_tokens": "neurosig.tokenizers.analysis",
    "load_tokenizer": "neurosig.tokenizers.tokenize",
    "motifs": "neurosig.tokenizers.analysis",
    "pretrain_tokenizer": "neurosig.tokenizers.pretraining",
    "split_codebooks": "neurosig.tokenizers.analysis",
    "take_codebook": "neurosig.tokenizers.analysis",
    "token_consistency": "neurosig.tokenizers.analysis",
    "token_histogram": "neurosig.tokenizers.analysis",
    "tokenize_recordings": "neurosig.tokenizers.tokenize",
}
__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
