"""Self-contained pages and figures that show results."""

from neurosig.core.lazy import attach

_NAMES = {
    "token_report": "neurosig.reports.tokens",
    "write_benchmark_report": "neurosig.reports.benchmark",
    "write_decode_report": "neurosig.reports.decode",
    "write_token_report": "neurosig.reports.tokens",
}
__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
