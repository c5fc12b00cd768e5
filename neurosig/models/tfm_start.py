"""What `TFMClassifier` starts from: a tokenizer, and an encoder that has learned before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from neurosig.core.channel_names import listed
from neurosig.core.errors import StorageError, UsageError
from neurosig.core.hub import local_folder
from neurosig.models.stored_estimator import estimator_in
from neurosig.models.tfm_embedder import TFMEmbedder
from neurosig.models.tfm_encoder import TFMEncoder
from neurosig.tokenizers.tfm import TFMTokenizer

__all__ = ["encoder_of", "source_of"]


def source_of(pretrained: Any, classifier: Any) -> Any:
    """The fitted estimator that `pretrained` stands for.

    Parameters
    ----------
    pretrained : TFMTokenizer, TFMEmbedder, TFMClassifier, FrozenEstimator of one, path-like or None
        What was learned before, or its folder.
    classifier : type
        `TFMClassifier`, which is not known here.

    Returns
    -------
    TFMTokenizer, TFMEmbedder, TFMClassifier or None

    Raises
    ------
    UsageError
        If it is something else, or not fitted.
    StorageError
        If the folder holds something else, or is damaged.
    """
    if pretrained is None:
        return None
    if isinstance(pretrained, FrozenEstimator):
        pretrained = pretrained.estimator
    if isinstance(pretrained, str | os.PathLike):
        place = local_folder(pretrained)
        holds = estimator_in(place)
        if holds not in (None, *(kind.__name__ for kind in (TFMTokenizer, TFMEmbedder, classifier))):
            raise StorageError(
                f"{pretrained} holds a {holds}; TFMClassifier starts from a TFMTokenizer, TFMEmbedder or TFMClassifier"
            )
        for kind in (TFMTokenizer, TFMEmbedder):
            try:
                kind._format.read_config(place)
            except StorageError:
                continue
            return kind.from_pretrained(place)
        return classifier.from_pretrained(place)
    if not isinstance(pretrained, TFMTokenizer | TFMEmbedder | classifier):
        raise UsageError(
            "pretrained must be a fitted TFMTokenizer, TFMEmbedder or TFMClassifier, or the folder of one, got "
            f"{type(pretrained).__name__}"
        )
    try:
        check_is_fitted(pretrained)
    except NotFittedError as error:
        raise UsageError(
            f"the pretrained {type(pretrained).__name__} is not fitted; scikit-learn's clone unfits estimators among "
            "the parameters: wrap it in sklearn.frozen.FrozenEstimator, or give the folder that save_pretrained wrote"
        ) from error
    return pretrained


def encoder_of(source: Any, asked: Mapping[str, Any] | None) -> tuple[TFMEncoder, dict[str, Any]]:
    """A copy of a fitted encoder, and its options.

    Parameters
    ----------
    source : TFMEmbedder or TFMClassifier
        Whose encoder it is.
    asked : dict or None
        Options that it is expected to have.

    Returns
    -------
    TFMEncoder, dict

    Raises
    ------
    UsageError
        If it was made with others, or is the network of another system.
    """
    if isinstance(source, TFMEmbedder):
        learned, options = source.module_.encoder, dict(source._config)
    else:
        learned, options = source.net_.module_, dict(source.net_.module_params)
    if not isinstance(learned, TFMEncoder):
        raise UsageError(f"the pretrained classifier's encoder is a {type(learned).__name__}, not its own")
    if others := sorted(name for name, value in (asked or {}).items() if options.get(name, value) != value):
        raise UsageError(f"the pretrained encoder was made with another {listed(others)}; leave it out")
    options |= dict(asked or {})
    module = TFMEncoder(n_outputs=learned.final_layer.out_features, **options)
    module.load_state_dict(learned.state_dict())
    return module, options
