"""Score records: what counts as retained, and files that are equal where the results are."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from bistill_hub.errors import InputError
from bistill_hub.evaluation.results import RESULTS_VERSION, Result, read_results, retention, write_results

TEACHER = Result(
    task="ner",
    task_version="1",
    model="teacher",
    weights_sha256="0" * 64,
    language="sw",
    role="target",
    dataset="Maelezo – é.conll",
    dataset_config=None,
    split=None,
    revision=f"sha256:{'1' * 64}",
    n=50,
    metric="f1",
    score=0.7,
    low=0.6,
    high=0.8,
    trivial=0.2,
    scores={"f1": 0.7, "precision": 0.1 + 0.2},
    seed=0,
)
STUDENT = replace(TEACHER, model="student", score=0.6, low=0.5, high=0.7)


class TestRetention:
    def test_it_is_counted_above_the_trivial_baseline(self):
        assert retention(STUDENT, TEACHER) == pytest.approx((0.6 - 0.2) / (0.7 - 0.2))

    def test_the_teacher_retains_all_and_a_guess_nothing(self):
        assert retention(TEACHER, TEACHER) == 1
        assert retention(replace(STUDENT, score=0.2), TEACHER) == 0

    def test_it_may_be_negative_or_above_one(self):
        assert retention(replace(STUDENT, score=0.1), TEACHER) == pytest.approx(-0.2)
        assert retention(replace(STUDENT, score=0.8), TEACHER) == pytest.approx(1.2)

    @pytest.mark.parametrize("low", [0.0, 0.19, 0.2])
    def test_there_is_none_where_the_teacher_s_lower_end_is_not_above_the_trivial_baseline(self, low):
        assert retention(STUDENT, replace(TEACHER, low=low)) is None

    def test_the_teacher_s_lower_end_alone_decides(self):
        assert retention(replace(STUDENT, low=0.0), replace(TEACHER, low=0.2001)) == pytest.approx(0.8)


class TestFile:
    def test_what_is_written_is_read_back_to_the_last_bit(self, tmp_path):
        write_results(tmp_path / "results.json", [TEACHER, STUDENT], {"torch": "2"})
        assert read_results(tmp_path / "results.json") == [TEACHER, STUDENT]

    def test_no_result_is_a_file_too(self, tmp_path):
        write_results(tmp_path / "results.json", [], {})
        assert read_results(tmp_path / "results.json") == []

    def test_equal_results_give_equal_bytes(self, tmp_path):
        turned = replace(TEACHER, scores=dict(reversed(TEACHER.scores.items())))
        write_results(tmp_path / "one.json", [TEACHER], {"torch": "2", "numpy": "1"})
        write_results(tmp_path / "other.json", iter([turned]), {"numpy": "1", "torch": "2"})
        assert (tmp_path / "one.json").read_bytes() == (tmp_path / "other.json").read_bytes()

    def test_it_is_json_that_people_can_read(self, tmp_path):
        write_results(tmp_path / "results.json", [TEACHER], {"torch": "2"})
        text = (tmp_path / "results.json").read_text(encoding="utf-8")
        assert TEACHER.dataset in text
        assert text.endswith("}\n")
        assert json.loads(text)["results_version"] == RESULTS_VERSION

    @pytest.mark.parametrize("version", [RESULTS_VERSION + 1, None])
    def test_another_version_is_refused_with_what_to_do(self, tmp_path, version):
        file = tmp_path / "results.json"
        file.write_text(json.dumps({"results_version": version, "results": [{"new": 1}]}), encoding="utf-8")
        with pytest.raises(InputError, match=rf"results\.json: results_version = {version}: .*\. Install the version"):
            read_results(file)

    def test_a_file_that_knows_of_no_commits_is_read(self, tmp_path):
        file = tmp_path / "results.json"
        write_results(file, [replace(TEACHER, revision="main", commit="a" * 40)], {})
        content = json.loads(file.read_text(encoding="utf-8"))
        assert content["results"][0].pop("commit") == "a" * 40
        file.write_text(json.dumps(content), encoding="utf-8")
        assert read_results(file) == [replace(TEACHER, revision="main")]

    def test_what_was_read_is_the_commit_where_it_is_known(self):
        assert replace(TEACHER, revision="main", commit="a" * 40).read_revision == "a" * 40
        assert replace(TEACHER, revision="main").read_revision == "main"
        assert replace(TEACHER, revision=None).read_revision is None

    def test_a_record_cannot_be_changed(self):
        with pytest.raises(FrozenInstanceError):
            TEACHER.score = 1.0
