"""Fingerprints of predictions: enough to compare a model's answers with earlier ones, without publishing either.

Answers may be spans of a data set's text, which is not ours to publish, and a tag for each of 100,000 words is more
than a results file should hold. Four bytes an example tell whether two predictions are the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from typing import Any

DIGEST_BYTES = 4


def prediction_digests(predictions: Iterable[Any]) -> str:
    """Fingerprint predictions: of each, the first bytes of the SHA-256 of its JSON form.

    Args:
        predictions: One an example, in the test set's order; JSON values.

    Returns:
        `DIGEST_BYTES` bytes an example, in base64.
    """
    return base64.b64encode(b"".join(map(_digest, predictions))).decode("ascii")


def _digest(prediction: Any) -> bytes:
    text = json.dumps(prediction, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES]


def count_equal(recorded: str, found: str) -> int:
    """Count the examples whose predictions are the same; one that either lacks is not.

    Args:
        recorded: What `prediction_digests` returned once.
        found: What it returned another time, for the same test set.

    Raises:
        ValueError: one of them is not base64.
    """
    try:
        ours, theirs = (base64.b64decode(text, validate=True) for text in (recorded, found))
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
    starts = range(0, min(len(ours), len(theirs)) - DIGEST_BYTES + 1, DIGEST_BYTES)
    return sum(ours[start : start + DIGEST_BYTES] == theirs[start : start + DIGEST_BYTES] for start in starts)
