import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bistill_hub.evaluation.digests import DIGEST_BYTES, count_equal, prediction_digests

PREDICTIONS = st.lists(
    st.one_of(
        st.text(), st.integers(), st.lists(st.sampled_from(["O", "B-PER"])), st.dictionaries(st.text(), st.text())
    )
)


def test_four_bytes_of_the_hash_of_each_predictions_json():
    digests = base64.b64decode(prediction_digests([["O", "B-PER"], "jibu lenye é"]))
    expected = [hashlib.sha256(text.encode()).digest()[:4] for text in ('["O","B-PER"]', '"jibu lenye é"')]
    assert digests == b"".join(expected)


@given(PREDICTIONS)
def test_equal_predictions_are_all_counted_and_each_takes_four_bytes(predictions):
    digests = prediction_digests(predictions)
    assert count_equal(digests, prediction_digests(list(predictions))) == len(predictions)
    assert len(base64.b64decode(digests)) == DIGEST_BYTES * len(predictions)


@given(PREDICTIONS, st.data())
def test_predictions_are_compared_place_by_place(predictions, data):
    changed = [[one, "changed"] if data.draw(st.booleans()) else one for one in predictions]
    same = sum(one is other for one, other in zip(predictions, changed, strict=True))
    assert count_equal(prediction_digests(predictions), prediction_digests(changed)) == same


@given(PREDICTIONS, st.integers(min_value=0))
def test_what_one_of_them_lacks_is_not_equal(predictions, kept):
    fewer = prediction_digests(predictions[:kept])
    assert count_equal(prediction_digests(predictions), fewer) == min(kept, len(predictions))


def test_what_is_not_base64_is_refused():
    with pytest.raises(ValueError, match="base64"):
        count_equal("no digest!", "")
