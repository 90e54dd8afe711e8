"""The commit of a Hub data set that was read is known, whatever branch was asked for, online, offline, as a stream."""

import shutil

import datasets
import httpx2
import huggingface_hub
import pytest
from datasets import Dataset, DatasetInfo, IterableDataset
from datasets.packaged_modules.parquet.parquet import Parquet
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import _http
from hypothesis import given
from hypothesis import strategies as st

from bistill_hub.errors import InputError
from bistill_hub.hub_commits import (
    HubUnreachableError,
    ask_for_commit,
    commit_in,
    commit_in_cache,
    commit_now,
    commit_of,
    commits_read,
    is_commit,
)
from bistill_hub.sources import LabelledSource, TextSource

ONE, OTHER = "0123456789" * 4, "ab" * 20
ROWS = {"tokens": [["Juma"], ["leo"]], "ner_tags": [["B-PER"], ["O"]]}

ids = st.from_regex(r"([A-Za-z0-9][A-Za-z0-9_-]{0,9}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,19}", fullmatch=True)
commits = st.text("0123456789abcdef", min_size=40, max_size=40)
files = st.sampled_from(["sw/test-00000-of-00001.parquet", "swa/test/0000.parquet", "data@home/test.json", "README.md"])
branches = st.sampled_from(["main", "refs%2Fconvert%2Fparquet", "v1.0", "0123abc", "refs/pr/1", "A" * 40])


def test_a_commit_is_forty_digits_and_nothing_shorter():
    assert is_commit(ONE)
    for other in (
        None,
        "",
        "main",
        "0123abc",
        ONE[1:],
        ONE + "0",
        ONE.upper().replace("0", "G"),
        "refs/convert/parquet",
    ):
        assert not is_commit(other)


class TestAddresses:
    @given(ids, commits, st.lists(files, min_size=1))
    def test_the_commit_is_read_out_of_the_files_of_the_data_set(self, dataset, commit, names):
        assert commit_in([f"hf://datasets/{dataset}@{commit}/{name}" for name in names], dataset) == commit

    @given(ids, commits, files, st.lists(branches), st.text(max_size=30))
    def test_whatever_else_was_read_changes_nothing(self, dataset, commit, name, others, noise):
        listed = [f"hf://datasets/{dataset}@{other}/{name}" for other in others]
        listed += [f"hf://datasets/{dataset}x@{OTHER}/{name}", f"https://host/{dataset}@{OTHER}/{name}", noise]
        assert commit_in(listed, dataset) is None
        assert commit_in([*listed, f"hf://datasets/{dataset}@{commit}/{name}"], dataset) == commit

    @given(ids, st.sets(commits, min_size=2, max_size=3), files)
    def test_files_of_several_commits_are_of_none(self, dataset, several, name):
        assert commit_in([f"hf://datasets/{dataset}@{commit}/{name}" for commit in several], dataset) is None


class TestWhatWasLoaded:
    def test_the_addresses_of_its_files_tell_its_commit(self):
        address = f"hf://datasets/org/ner@{ONE}/swa/test/0000.parquet"
        info = DatasetInfo(download_checksums={address: {"num_bytes": 1, "checksum": None}})
        assert commit_of(Dataset.from_dict(ROWS, info=info), "org/ner") == ONE
        assert commit_of(Dataset.from_dict(ROWS, info=info), "org/other") is None

    def test_a_local_file_has_none(self, tmp_path):
        Dataset.from_dict(ROWS).to_parquet(tmp_path / "rows.parquet")
        loaded = datasets.load_dataset(
            "parquet", data_files=str(tmp_path / "rows.parquet"), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert loaded.cache_files
        assert commit_of(loaded, "org/ner") is None
        assert commit_of(Dataset.from_dict(ROWS), "org/ner") is None


@pytest.fixture
def hub(monkeypatch):
    """A Hub that names the commits of branches, over the client's own requests."""
    branches, asked = {}, []

    def answer(request):
        _, of_dataset, name = request.url.raw_path.decode().partition("?")[0].partition("/api/datasets/")
        if of_dataset:  # the client has questions of its own
            asked.append(request.url)
        found = branches.get(name)
        if isinstance(found, Exception):
            raise found
        return httpx2.Response(200, json={"id": "org/ner", "sha": found}) if found else httpx2.Response(404)

    huggingface_hub.set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(answer)))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield branches, asked
    huggingface_hub.set_client_factory(_http.default_client_factory)


class TestAskingTheHub:
    def test_a_branch_is_asked_for_by_its_whole_name(self, hub):
        branches, asked = hub
        branches |= {"org/ner/revision/refs%2Fconvert%2Fparquet": ONE, "org/ner": OTHER}
        assert commit_now("org/ner", "refs/convert/parquet") == ONE
        assert commit_now("org/ner", None) == OTHER
        assert [dict(url.params) for url in asked] == [{"expand": "sha"}] * 2

    def test_a_commit_is_not_asked_for(self, hub):
        assert commit_now("org/ner", ONE) == ONE
        assert not hub[1]

    @pytest.mark.parametrize(
        "error", [httpx2.ConnectError("no route"), httpx2.ReadTimeout("slow"), OfflineModeIsEnabled("not wanted")]
    )
    def test_no_way_to_the_hub_is_told_apart_from_an_answer_that_says_nothing(self, hub, error):
        hub[0]["org/ner"] = error
        with pytest.raises(HubUnreachableError):
            ask_for_commit("org/ner", None, "dataset")
        assert ask_for_commit("org/missing", None, "dataset") is None

    @pytest.mark.parametrize("error", [httpx2.ConnectError("no route"), httpx2.ReadTimeout("slow"), None])
    def test_a_hub_that_does_not_answer_leaves_it_open(self, hub, error):
        hub[0]["org/ner"] = error
        assert commit_now("org/ner", None) is None
        assert commit_now("no id at all", None) is None


class TestReading:
    @pytest.fixture
    def loaded(self, monkeypatch):
        """What `datasets` is asked for, and a table that says nothing of its commit."""
        asked = []

        def load(*names, streaming=False, **options):
            if "revision" not in options:  # a file
                return Dataset.from_dict({"text": ["a"]})
            asked.append(options["revision"])
            table = Dataset.from_dict(ROWS)
            return table.to_iterable_dataset() if streaming else table

        monkeypatch.setattr(datasets, "load_dataset", load)
        return asked

    @pytest.mark.parametrize("streaming", [False, True])
    def test_the_commit_that_a_branch_names_is_what_is_read(self, hub, loaded, streaming):
        hub[0]["org/ner/revision/refs%2Fconvert%2Fparquet"] = ONE
        source = LabelledSource(
            dataset="org/ner", split="test", revision="refs/convert/parquet", streaming=streaming, limit=1
        )
        with commits_read() as found:
            assert source.table().num_rows == 1
        assert (loaded, found) == ([ONE], [ONE])
        assert source.revision == "refs/convert/parquet"

    def test_what_nobody_knows_is_read_as_it_was_asked_for(self, loaded):
        with commits_read() as found:
            LabelledSource(dataset="org/ner", split="test", revision="v1").table()
        assert (loaded, found) == (["v1"], [None])

    def test_a_folder_of_that_name_has_no_commit(self, hub, loaded, tmp_path, monkeypatch):
        hub[0]["org/ner"] = ONE
        (tmp_path / "org" / "ner").mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        with commits_read() as found:
            LabelledSource(dataset="org/ner", split="test").table()
        assert (loaded, found, hub[1]) == ([None], [None], [])

    def test_text_and_files_are_no_labels_of_the_hub(self, hub, loaded, tmp_path):
        hub[0]["org/text"] = ONE
        (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
        with commits_read() as found:
            LabelledSource(path=str(tmp_path / "rows.jsonl")).table()
            with pytest.raises(InputError, match="no such column"):  # so it was read
                list(TextSource(dataset="org/text", split="train").lines())
        assert (loaded, found, hub[1]) == ([None], [], [])


class TestModelsInTheCache:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        model = tmp_path / "models--org--teacher"
        for commit, branch in ((ONE, "main"), (OTHER, "v1")):
            file = model / "snapshots" / commit / "sub" / "config.json"
            file.parent.mkdir(parents=True)
            file.write_text("{}")
            (model / "refs").mkdir(exist_ok=True)
            (model / "refs" / branch).write_text(commit)

    def test_the_commit_is_that_of_the_branch(self):
        assert commit_in_cache("org/teacher", "sub/config.json", None) == ONE
        assert commit_in_cache("org/teacher", "sub/config.json", "v1") == OTHER

    @pytest.mark.parametrize(
        "words",
        [
            ("org/teacher", "config.json", None),
            ("org/teacher", "sub/config.json", "v2"),
            ("org/other", "sub/config.json", None),
            ("no id at all", "sub/config.json", None),
        ],
    )
    def test_what_is_not_there_has_none(self, words):
        assert commit_in_cache(*words) is None


class TestTheCache:
    @pytest.fixture
    def cached(self, tmp_path, monkeypatch):
        """Leaves a data set at a commit where `datasets` has it after a download, written by its own builder."""
        cache = tmp_path / "cache"
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
        Dataset.from_dict(ROWS).to_parquet(tmp_path / "rows.parquet")

        def leave(commit):
            builder = Parquet(
                cache_dir=str(tmp_path / "made"),
                dataset_name="ner",
                config_name="default",
                config_id="default",
                hash=commit,
                data_files={"test": str(tmp_path / "rows.parquet")},
            )
            builder.download_and_prepare()
            assert (tmp_path / "made" / "ner" / "default" / "0.0.0" / commit).is_dir()
            shutil.copytree(tmp_path / "made" / "ner", cache / "org___ner")

        return leave

    def test_without_a_network_the_commit_of_the_cache_is_told(self, cached):
        cached(ONE)
        with commits_read() as found:
            LabelledSource(dataset="org/ner", split="test").table()
            LabelledSource(dataset="org/ner", split="test", revision=ONE).table()
        assert found == [ONE, ONE]

    def test_another_commit_than_the_one_that_was_asked_for_is_refused(self, cached):
        cached(ONE)
        source = LabelledSource(dataset="org/ner", split="test", revision=OTHER)
        with pytest.raises(InputError, match=f"org/ner/test@{OTHER}: revision = '{OTHER}': .* is of the commit {ONE}"):
            source.table()


def test_commits_are_collected_by_the_innermost_who_asks(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: IterableDataset.from_generator(lambda: iter([])))
    source = LabelledSource(dataset="org/ner", split="test", revision=ONE, streaming=True)
    with commits_read() as outer:
        with commits_read() as inner:
            source.table()
        assert (outer, inner) == ([], [ONE])
    source.table()
    assert outer == []
