"""To the unmodified client, the server of these tests is a Hub: pushes, rights, listings, downloads, pull requests."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from fresh import run_fresh
from hubserver import environment
from hubserver.objects import Commit, File
from hubserver.visitor import (
    additions,
    client,
    nothing_changes,
    own,
    regular,
    send_commit,
    serving,
    write,
)
from huggingface_hub import (
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    ModelCard,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

CARD = b"---\nlicense: mit\nlanguage:\n- en\n- sw\ntags:\n- bistill\n---\n# A pair\n"
WEIGHTS = bytes(range(256)) * 8
FILES = {
    "README.md": CARD,
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": WEIGHTS,
    "tasks/ner/delta.safetensors": b"a delta",
    "tasks/ner/results.json": b"[]",
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path / "home") as server:
        yield server


# Names of objects. The expected ones were made with git itself: `git add`, `git write-tree`, `git commit-tree`.


def test_blobs_trees_and_commits_are_named_as_git_names_them():
    tree = {
        "a.txt": File(b"top\n"),
        "a/b/c.txt": File(b"hello\n"),
        "a/z": File(b"x"),
        "model.safetensors": File(b"weights", lfs=True),
    }
    date = datetime(2026, 1, 1, tzinfo=UTC)
    first = Commit(tree=tree, parents=(), title="First", description="", author="alice", date=date)
    second = Commit(
        tree=tree, parents=(first.oid,), title="Second", description="With words.", author="alice", date=date
    )
    assert tree["a/b/c.txt"].oid == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert tree["model.safetensors"].oid == "c6a67be4f3ef29ed4a07b4f2446625126a25cfda"
    assert first.tree_oids == {
        "": "d48c358a40980eab9c31a64746d24f150c15ef48",
        "a": "54b32fd11d00238cf3f988da4b0b075fc1ecc462",
        "a/b": "2bcada35da78a7011b5497fcf851bb11e2353a39",
    }
    assert (first.oid, second.oid) == (
        "d6bea556f8454bf53ce1dbba642d10777055d01d",
        "bed82f60d8294afaf455952f02c05a64358012d8",
    )


# Publishing.


def test_a_folder_is_published_in_one_commit_and_comes_back_byte_by_byte(hub, tmp_path):
    api = client(hub, "alice")
    url = api.create_repo("alice/pair")
    made = api.upload_folder(
        repo_id="alice/pair",
        folder_path=write(tmp_path / "folder", FILES),
        commit_message="Publish the pair",
        commit_description="All of it.",
    )
    assert (url.repo_id, made.repo_url.repo_id, made.pr_url) == ("alice/pair", "alice/pair", None)
    newest, first = hub.commits("alice/pair")
    assert (newest.oid, newest.title, newest.description, newest.author) == (
        made.oid,
        "Publish the pair",
        "All of it.",
        "alice",
    )
    assert newest.parents == (first.oid,)
    assert first.parents == ()
    assert own(hub.files("alice/pair")) == FILES
    snapshot = snapshot_download("alice/pair", endpoint=hub.endpoint, cache_dir=tmp_path / "cache")
    assert snapshot.endswith(made.oid)
    assert own({path: (tmp_path / "cache" / snapshot / path).read_bytes() for path in hub.files("alice/pair")}) == FILES


def test_large_files_are_uploaded_before_the_commit_and_once_only(hub):
    api = client(hub, "alice")
    api.create_repo("alice/pair")
    api.create_commit("alice/pair", additions(FILES), commit_message="First")
    api.create_commit("alice/pair", additions({"copy.safetensors": WEIGHTS}), commit_message="Second")
    steps = [entry.path.split("/")[-1] for entry in hub.journal.matching("POST", "preupload|batch|verify|commit")]
    assert steps[:3] == ["main", "batch", "verify"]
    assert steps[-3:] == ["main", "batch", "main"]
    assert len(hub.journal.matching("PUT")) == 2
    assert all("authorization" not in entry.headers for entry in hub.journal.matching("PUT"))
    assert hub.repositories["alice/pair"].resolve("main").tree["copy.safetensors"].lfs


def test_what_has_not_changed_makes_no_commit(hub):
    api = client(hub, "alice")
    hub.create("alice/pair", FILES)
    with nothing_changes(hub):
        made = api.create_commit("alice/pair", additions(FILES), commit_message="Again")
    assert made.oid == hub.commits("alice/pair")[0].oid
    api.create_commit("alice/pair", additions({**FILES, "config.json": b"{}"}), commit_message="Again")
    (sent,) = hub.journal.matching("POST", "/commit/main")
    assert b"config.json" in sent.raw["body"]
    assert b"README.md" not in sent.raw["body"]


def test_files_and_folders_are_removed_and_copied(hub):
    hub.create("alice/pair", FILES)
    operations = [
        CommitOperationDelete("tasks/"),
        CommitOperationDelete("config.json"),
        CommitOperationCopy("model.safetensors", "base.safetensors"),
        CommitOperationCopy("README.md", "docs/card.md"),
    ]
    client(hub, "alice").create_commit("alice/pair", operations, commit_message="Rearrange")
    assert own(hub.files("alice/pair")) == {
        "README.md": CARD,
        "base.safetensors": WEIGHTS,
        "docs/card.md": CARD,
        "model.safetensors": WEIGHTS,
    }


def test_removing_what_is_not_there_is_refused(hub):
    hub.create("alice/pair", FILES)
    with nothing_changes(hub), pytest.raises(RemoteEntryNotFoundError, match="differentiate file and folder"):
        client(hub, "alice").create_commit(
            "alice/pair", [CommitOperationDelete("tasks")], commit_message="Remove a folder as a file"
        )


def test_a_commit_on_a_parent_that_is_not_the_head_is_refused(hub):
    hub.create("alice/pair", FILES)
    api = client(hub, "alice")
    head = hub.commits("alice/pair")[0].oid
    hub.commit("alice/pair", {"config.json": b"{}"})
    with nothing_changes(hub), pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit("alice/pair", additions({"new.txt": b"n"}), commit_message="Late", parent_commit=head)
    head = hub.commits("alice/pair")[0].oid
    made = api.create_commit("alice/pair", additions({"new.txt": b"n"}), commit_message="Now", parent_commit=head)
    assert hub.commits("alice/pair")[0].oid == made.oid


def test_the_branch_that_moves_just_before_the_commit_is_noticed_by_its_parent(hub):
    hub.create("alice/pair", FILES)
    head = hub.commits("alice/pair")[0].oid
    hub.faults.before("POST", "/commit/main", lambda: hub.commit("alice/pair", {"new.txt": b"theirs"}, author="bob"))
    with pytest.raises(HfHubHTTPError, match="412"):
        client(hub, "alice").create_commit(
            "alice/pair", additions({"new.txt": b"ours"}), commit_message="Mine", parent_commit=head
        )
    assert hub.commits("alice/pair")[0].author == "bob"
    assert hub.read("alice/pair", "new.txt") == b"theirs"


def test_two_who_commit_on_the_same_parent_at_once_do_not_both_succeed(hub):
    hub.create("alice/pair", FILES)
    head = hub.commits("alice/pair")[0].oid
    line = regular("new.txt")
    header = {"summary": "Race", "description": "", "parentCommit": head}
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: send_commit(hub, line, header=header)[0], range(8)))
    assert sorted(statuses) == [200] + [412] * 7
    assert len(hub.commits("alice/pair")) == 3


def test_the_size_above_which_a_file_is_large_and_the_patterns_can_be_chosen(monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path, lfs_patterns=["*.weights"], lfs_threshold=10) as hub:
        hub.create("alice/pair")
        files = {"a.safetensors": b"short", "b.txt": b"longer than ten", "c.weights": b"short", "d.weights": b""}
        client(hub, "alice").create_commit("alice/pair", additions(files), commit_message="Files")
        tree = hub.repositories["alice/pair"].resolve("main").tree
    assert [path for path, file in sorted(tree.items()) if file.lfs] == ["b.txt", "c.weights"]


def test_files_that_gitignore_names_are_left_out(hub):
    hub.create("alice/pair")
    files = {".gitignore": b"*.log\n__pycache__/\n", "a.log": b"x", "code/__pycache__/a.py": b"x", "a.txt": b"x"}
    client(hub, "alice").create_commit("alice/pair", additions(files), commit_message="Files")
    assert sorted(own(hub.files("alice/pair"))) == [".gitignore", "a.txt"]


# Who may do what.


def test_whoami_tells_the_user_and_the_token(hub):
    hub.organization("lab", alice="write", bob="read")
    told = client(hub, "alice").whoami()
    assert (told["name"], told["auth"]["accessToken"]["role"]) == ("alice", "write")
    assert [(entry["name"], entry["roleInOrg"]) for entry in told["orgs"]] == [("lab", "write")]
    reader = HfApi(endpoint=hub.endpoint, token=hub.user("bob").read_token)
    assert reader.whoami()["auth"]["accessToken"]["role"] == "read"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(endpoint=hub.endpoint, token="hf_nobody").whoami()


def test_a_repository_that_exists_is_a_conflict_unless_it_may_exist(hub):
    api = client(hub, "alice")
    api.create_repo("alice/pair")
    with nothing_changes(hub):
        with pytest.raises(HfHubHTTPError, match="409"):
            api.create_repo("alice/pair")
        assert api.create_repo("alice/pair", exist_ok=True).repo_id == "alice/pair"
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("bob/pair")
    hub.create("bob/pair")
    assert api.create_repo("bob/pair", exist_ok=True).repo_id == "bob/pair"


def test_members_who_may_write_push_for_an_organisation_and_others_do_not(hub):
    hub.organization("lab", alice="write", bob="read")
    client(hub, "alice").create_repo("lab/pair", private=True)
    client(hub, "alice").create_commit("lab/pair", additions(FILES), commit_message="Publish")
    assert client(hub, "bob").model_info("lab/pair").private is True
    read_only = HfApi(endpoint=hub.endpoint, token=hub.user("alice").read_token)
    with nothing_changes(hub):
        for api in (client(hub, "bob"), read_only):
            with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
                api.create_commit("lab/pair", additions({"new.txt": b"x"}), commit_message="Push")
            with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
                api.create_tag("lab/pair", tag="v1")
            api.auth_check("lab/pair")
            with pytest.raises(HfHubHTTPError, match="403 Forbidden"):
                api.auth_check("lab/pair", write=True)


@pytest.mark.parametrize(("name", "status"), [("eve", 404), (None, 401)])
def test_a_private_repository_looks_like_a_missing_one(hub, tmp_path, name, status):
    hub.create("alice/secret", FILES, private=True)
    api = client(hub, name)
    for repo_id in ("alice/secret", "alice/missing"):
        for ask in (
            lambda repo_id=repo_id: api.model_info(repo_id),
            lambda repo_id=repo_id: list(api.list_repo_tree(repo_id)),
            lambda repo_id=repo_id: api.create_commit(repo_id, additions({"a": b"x"}), commit_message="Push"),
            lambda repo_id=repo_id: api.hf_hub_download(repo_id, "README.md", cache_dir=tmp_path / "cache"),
        ):
            with pytest.raises(RepositoryNotFoundError) as raised:
                ask()
            assert raised.value.response.status_code == status
    assert list(api.list_models(author="alice")) == []
    assert [model.id for model in client(hub, "alice").list_models(author="alice")] == ["alice/secret"]


def test_a_gated_repository_is_seen_by_all_and_read_by_those_who_were_granted_access(hub, tmp_path):
    hub.create("alice/pair", FILES)
    client(hub, "alice").update_repo_settings("alice/pair", gated="manual")
    bob = client(hub, "bob")
    assert bob.model_info("alice/pair").gated == "manual"
    for api in (bob, client(hub, None)):
        with pytest.raises(GatedRepoError):
            api.hf_hub_download("alice/pair", "config.json", cache_dir=tmp_path)
    hub.repositories["alice/pair"].granted.add("bob")
    assert bob.hf_hub_download("alice/pair", "config.json", cache_dir=tmp_path).endswith("config.json")


def test_a_repository_is_made_private_and_removed_by_its_owner(hub):
    hub.create("alice/pair", FILES)
    with pytest.raises(HfHubHTTPError, match="403"):
        client(hub, "bob").delete_repo("alice/pair")
    client(hub, "alice").update_repo_settings("alice/pair", private=True)
    assert not client(hub, "bob").repo_exists("alice/pair")
    client(hub, "alice").delete_repo("alice/pair")
    client(hub, "alice").delete_repo("alice/pair", missing_ok=True)
    assert hub.state() == {}


# Reading.


def test_a_model_is_described_with_its_card_its_files_and_their_hashes(hub):
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(24)
    hub.create("alice/pair", {**FILES, "model.safetensors": weights})
    info = client(hub, None).repo_info("alice/pair", files_metadata=True)
    assert (info.id, info.author, info.sha) == ("alice/pair", "alice", hub.commits("alice/pair")[0].oid)
    assert info.card_data.language == ["en", "sw"]
    assert info.tags == ["bert", "bistill", "en", "sw", "license:mit"]
    assert info.config == {"model_type": "bert"}
    assert info.xetEnabled is False
    files = {entry.rfilename: entry for entry in info.siblings}
    assert sorted(own(files)) == sorted(FILES)
    assert files["README.md"].size == len(CARD)
    assert files["README.md"].blob_id == hashlib.sha1(b"blob %d\0" % len(CARD) + CARD).hexdigest()
    assert files["README.md"].lfs is None
    assert files["model.safetensors"].lfs.sha256 == hashlib.sha256(weights).hexdigest()
    assert files["model.safetensors"].lfs.size == files["model.safetensors"].size == len(weights)
    asked = client(hub, None).model_info("alice/pair", expand=["sha", "safetensors"])
    assert (asked.sha, asked.safetensors.total, asked.tags) == (info.sha, 6, None)


def test_trees_are_listed_in_pages_and_folders_by_themselves(monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path, page_size=2) as hub:
        hub.create("alice/pair", FILES)
        api = client(hub, None)
        whole = list(api.list_repo_tree("alice/pair", recursive=True, expand=True))
        assert len(hub.journal.matching("GET", "/tree/main")) == 4
        top = [entry.path for entry in api.list_repo_tree("alice/pair")]
        inside = list(api.list_repo_tree("alice/pair", "tasks/ner"))
        with pytest.raises(RemoteEntryNotFoundError):
            list(api.list_repo_tree("alice/pair", "tasks/pos"))
        commits = [api.list_repo_commits("alice/pair")[index].title for index in (0, 1)]
    assert [entry.path for entry in whole] == sorted([".gitattributes", *FILES, "tasks", "tasks/ner"])
    assert top == [".gitattributes", "README.md", "config.json", "model.safetensors", "tasks"]
    assert [entry.path for entry in inside] == ["tasks/ner/delta.safetensors", "tasks/ner/results.json"]
    assert (inside[0].lfs.sha256, inside[0].size) == (hashlib.sha256(b"a delta").hexdigest(), 7)
    assert inside[1].blob_id == hashlib.sha1(b"blob 2\0[]").hexdigest()
    assert whole[0].last_commit.title == "initial commit"
    assert whole[1].last_commit.title == commits[0] == "Change files"
    assert commits[1] == "initial commit"


def test_paths_are_described_and_missing_ones_left_out(hub):
    hub.create("alice/pair", FILES)
    hub.commit("alice/pair", {"config.json": b"{}"}, title="Change the configuration")
    asked = ["config.json", "tasks", "missing.txt", "README.md"]
    found = client(hub, None).get_paths_info("alice/pair", asked, expand=True)
    assert [entry.path for entry in found] == ["config.json", "tasks", "README.md"]
    assert [entry.last_commit.title for entry in found] == ["Change the configuration", "Change files", "Change files"]
    with pytest.raises(HfHubHTTPError, match="413"):
        client(hub, None).get_paths_info("alice/pair", [f"file{number}" for number in range(1001)])


def test_a_file_is_downloaded_at_any_revision_and_cached_under_its_hash(hub, tmp_path):
    hub.create("alice/pair", FILES)
    first = hub.commits("alice/pair")[0].oid
    api = client(hub, "alice")
    api.create_tag("alice/pair", tag="v1.0", tag_message="The first")
    api.create_branch("alice/pair", branch="next/one", revision=first)
    hub.commit("alice/pair", {"config.json": b"{}"})
    old, new = FILES["config.json"], b"{}"
    for revision, content in ((None, new), ("v1.0", old), (first, old), (first[:8], old), ("next/one", old)):
        place = {"endpoint": hub.endpoint, "cache_dir": tmp_path / "cache", "revision": revision}
        with open(hf_hub_download("alice/pair", "config.json", **place), "rb") as file:
            assert file.read() == content
        hf_hub_download("alice/pair", "model.safetensors", **place)
    blobs = {path.name for path in (tmp_path / "cache/models--alice--pair/blobs").iterdir()}
    git = {hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() for content in (old, new)}
    assert blobs == git | {hashlib.sha256(WEIGHTS).hexdigest()}
    assert len(hub.journal.matching("GET", "resolve/.*/model.safetensors")) == 1


def test_missing_revisions_and_files_are_told_apart(hub, tmp_path):
    hub.create("alice/pair", FILES)
    api = client(hub, None)
    assert (api.file_exists("alice/pair", "README.md"), api.file_exists("alice/pair", "none.md")) == (True, False)
    assert (api.revision_exists("alice/pair", "main"), api.revision_exists("alice/pair", "v9")) == (True, False)
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download("alice/pair", "README.md", revision="v9", cache_dir=tmp_path)
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download("alice/pair", "none.md", cache_dir=tmp_path)
    commit = hub.commits("alice/pair")[0].oid
    assert (tmp_path / "models--alice--pair/.no_exist" / commit / "none.md").exists()


def test_branches_and_tags_come_and_go(hub):
    hub.create("alice/pair", FILES)
    api = client(hub, "alice")
    head = hub.commits("alice/pair")[0].oid
    api.create_tag("alice/pair", tag="v1")
    api.create_branch("alice/pair", branch="next")
    for create in (api.create_tag, api.create_branch):
        name = {"tag": "v1"} if create == api.create_tag else {"branch": "next"}
        with pytest.raises(HfHubHTTPError, match="409"):
            create("alice/pair", **name)
        create("alice/pair", **name, exist_ok=True)
    made = api.create_commit("alice/pair", additions({"a": b"x"}), commit_message="On a branch", revision="next")
    refs = api.list_repo_refs("alice/pair", include_pull_requests=True)
    assert [(entry.name, entry.target_commit) for entry in refs.branches] == [("main", head), ("next", made.oid)]
    assert [(entry.ref, entry.target_commit) for entry in refs.tags] == [("refs/tags/v1", head)]
    assert refs.pull_requests == []
    api.delete_tag("alice/pair", tag="v1")
    api.delete_branch("alice/pair", branch="next")
    assert hub.state()["alice/pair"]["refs"] == {"refs/heads/main": head}
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag("alice/pair", tag="v1")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.delete_branch("alice/pair", branch="main")
    with pytest.raises(RevisionNotFoundError):
        api.create_commit("alice/pair", additions({"a": b"x"}), commit_message="Nowhere", revision="next")


def test_models_are_found_by_author_words_and_tags(hub):
    hub.create("alice/bistill-en-sw", FILES)
    hub.create("bob/bistill-en-qu", {"README.md": CARD.replace(b"- sw", b"- qu").replace(b"# A", b"# Another")})
    hub.create("bob/other", {"README.md": b"no metadata"})
    api = client(hub, None)

    def found(**wanted):
        return [model.id for model in api.list_models(**wanted)]

    assert found(author="bob") == ["bob/bistill-en-qu", "bob/other"]
    assert found(search="BISTILL") == ["alice/bistill-en-sw", "bob/bistill-en-qu"]
    assert found(filter=["bistill", "sw"]) == ["alice/bistill-en-sw"]
    assert found(filter="license:mit", sort="created_at", limit=1) == ["bob/bistill-en-qu"]
    assert found(filter="license:gpl-3.0") == []
    (full,) = api.list_models(author="alice", full=True, cardData=True, fetch_config=True)
    assert full.card_data.license == "mit"
    assert full.config == {"model_type": "bert"}
    assert "model.safetensors" in [entry.rfilename for entry in full.siblings]
    (brief,) = api.list_models(author="alice")
    assert (brief.siblings, brief.card_data, brief.sha) == (None, None, None)


def test_another_process_loads_by_id_with_a_cold_cache(hub, tmp_path):
    hub.create("lab/pair", {"config.json": b'{"model_type": "bert", "hidden_size": 24, "num_attention_heads": 2}'})
    code = "from transformers import AutoConfig; print(AutoConfig.from_pretrained('lab/pair').hidden_size)"
    env = {**os.environ, **environment(hub, tmp_path / "home", hub.user("alice"))}
    done = run_fresh(code, env=env)
    assert done.stdout.split()[-1] == "24"
    assert {entry.headers["authorization"] for entry in hub.journal.exchanges} == {"Bearer <alice>"}


# Cards.


def test_a_card_in_order_is_pushed_and_one_that_is_not_is_refused(hub):
    hub.create("alice/pair", FILES)
    ModelCard(CARD.decode() + "More.\n").push_to_hub("alice/pair", token=hub.user("alice").token)
    assert hub.read("alice/pair", "README.md") == CARD + b"More.\n"
    with nothing_changes(hub):
        with pytest.raises(ValueError, match="license"):
            ModelCard(CARD.decode().replace("mit", "my-own")).validate()
        broken = {"README.md": CARD.replace(b"mit", b"[mit")}
        with pytest.raises(ValueError, match=r"(?s)Invalid metadata.*YAML"):
            client(hub, "alice").create_commit("alice/pair", additions(broken), commit_message="Break the card")
        with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
            client(hub, "alice")._validate_yaml("# No metadata\n")


def test_results_in_a_card_need_their_task_data_and_metrics(hub):
    index = "---\nmodel-index:\n- name: pair\n  results:\n  - task: {type: ner}\n    metrics: [{type: f1}]\n---\n"
    with pytest.raises(ValueError, match=r"(?s)dataset.type.*dataset.name.*metrics\[0\].value"):
        client(hub, None)._validate_yaml(index)


# Pull requests.


def test_a_task_is_added_to_somebody_elses_pair_by_a_pull_request(hub):
    hub.create("alice/pair", FILES)
    task = {"tasks/qa/delta.safetensors": b"another delta", "tasks/qa/results.json": b"[1]"}
    bob = client(hub, "bob")
    with nothing_changes(hub), pytest.raises(HfHubHTTPError, match="403"):
        bob.create_commit("alice/pair", additions(task), commit_message="Add qa")
    reader = HfApi(endpoint=hub.endpoint, token=hub.user("bob").read_token)
    with nothing_changes(hub), pytest.raises(HfHubHTTPError, match="allows reading only"):
        reader.create_commit("alice/pair", additions(task), commit_message="Add qa", create_pr=True)
    with nothing_changes(hub), pytest.raises(HfHubHTTPError, match="allows reading only"):
        reader.create_pull_request("alice/pair", "Add qa")
    head = hub.commits("alice/pair")[0].oid
    made = bob.create_commit(
        "alice/pair", additions(task), commit_message="Add qa", commit_description="Question answering.", create_pr=True
    )
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    assert own(hub.files("alice/pair")) == FILES
    assert own(hub.files("alice/pair", "refs/pr/1")) == {**FILES, **task}
    asked = bob.get_discussion_details("alice/pair", 1)
    assert (asked.title, asked.status, asked.author, asked.is_pull_request) == ("Add qa", "open", "bob", True)
    assert (asked.target_branch, asked.conflicting_files, asked.merge_commit_oid) == ("refs/heads/main", [], None)
    assert [event.type for event in asked.events] == ["comment", "commit"]
    assert (asked.events[0].content, asked.events[1].oid) == ("Question answering.", made.oid)
    assert "+[1]" in asked.diff
    with pytest.raises(HfHubHTTPError, match="403"):
        bob.merge_pull_request("alice/pair", 1)
    client(hub, "alice").merge_pull_request("alice/pair", 1, comment="Thank you.")
    newest = hub.commits("alice/pair")[0]
    assert (newest.title, newest.parents) == ("Add qa (#1)", (head,))
    assert own(hub.files("alice/pair")) == {**FILES, **task}
    merged = bob.get_discussion_details("alice/pair", 1)
    assert (merged.status, merged.merge_commit_oid) == ("merged", newest.oid)
    assert [event.type for event in merged.events[2:]] == ["status-change", "comment"]


def test_a_draft_is_filled_opened_and_merged_onto_a_branch_that_moved(hub):
    hub.create("alice/pair", FILES)
    bob = client(hub, "bob")
    draft = bob.create_pull_request("alice/pair", "Add words", description="Soon.")
    assert (draft.status, draft.git_reference) == ("draft", "refs/pr/1")
    with nothing_changes(hub), pytest.raises(BadRequestError, match="it is draft"):
        client(hub, "alice").merge_pull_request("alice/pair", 1)
    bob.create_commit("alice/pair", additions({"words.txt": b"a"}), commit_message="One", revision="refs/pr/1")
    bob.create_commit("alice/pair", additions({"words.txt": b"ab"}), commit_message="Two", revision="refs/pr/1")
    with pytest.raises(HfHubHTTPError, match="403"):
        client(hub, "eve").create_commit(
            "alice/pair", additions({"x": b"x"}), commit_message="Not mine", revision="refs/pr/1"
        )
    bob.change_discussion_status("alice/pair", 1, "open")
    hub.commit("alice/pair", {"config.json": b"{}"})
    client(hub, "alice").merge_pull_request("alice/pair", 1)
    assert own(hub.files("alice/pair")) == {**FILES, "config.json": b"{}", "words.txt": b"ab"}
    assert len(hub.commits("alice/pair")) == 4
    with nothing_changes(hub), pytest.raises(HfHubHTTPError, match="is merged"):
        bob.create_commit("alice/pair", additions({"x": b"x"}), commit_message="Late", revision="refs/pr/1")


def test_a_pull_request_in_conflict_is_not_merged(hub):
    hub.create("alice/pair", FILES)
    client(hub, "bob").create_commit(
        "alice/pair", additions({"config.json": b"[]"}), commit_message="Theirs", create_pr=True
    )
    hub.commit("alice/pair", {"config.json": b"{}"})
    assert client(hub, "bob").get_discussion_details("alice/pair", 1).conflicting_files == ["config.json"]
    with nothing_changes(hub), pytest.raises(HfHubHTTPError, match=r"conflicts in config\.json"):
        client(hub, "alice").merge_pull_request("alice/pair", 1)


def test_a_pull_request_starts_at_the_parent_that_it_names(hub):
    hub.create("alice/pair", FILES)
    old = hub.commits("alice/pair")[0].oid
    hub.commit("alice/pair", {"config.json": b"{}"})
    client(hub, "bob").create_commit(
        "alice/pair", additions({"new.txt": b"n"}), commit_message="From before", create_pr=True, parent_commit=old
    )
    assert [commit.oid for commit in hub.commits("alice/pair", "refs/pr/1")][1] == old
    with nothing_changes(hub), pytest.raises(RevisionNotFoundError):
        client(hub, "bob").create_commit(
            "alice/pair", additions({"new.txt": b"n"}), commit_message="No branch", create_pr=True, revision=old
        )


def test_discussions_are_listed_talked_in_renamed_and_closed(hub):
    hub.create("alice/pair", FILES)
    bob, alice = client(hub, "bob"), client(hub, "alice")
    for number in range(11):
        bob.create_discussion("alice/pair", f"Question {number}")
    alice.create_pull_request("alice/pair", "Answer")
    assert [entry.num for entry in bob.get_repo_discussions("alice/pair")] == list(range(12, 0, -1))
    assert [entry.num for entry in bob.get_repo_discussions("alice/pair", discussion_type="pull_request")] == [12]
    assert bob.comment_discussion("alice/pair", 1, "Is it so?").content == "Is it so?"
    assert bob.rename_discussion("alice/pair", 1, "A question").new_title == "A question"
    with pytest.raises(HfHubHTTPError, match="403"):
        client(hub, "eve").change_discussion_status("alice/pair", 1, "closed")
    assert alice.change_discussion_status("alice/pair", 1, "closed", comment="It is.").new_status == "closed"
    closed = bob.get_repo_discussions("alice/pair", discussion_status="closed", author="bob")
    assert [(entry.num, entry.title) for entry in closed] == [(1, "A question")]
    events = bob.get_discussion_details("alice/pair", 1).events
    assert [event.type for event in events] == ["comment", "comment", "title-change", "comment", "status-change"]
    with pytest.raises(BadRequestError, match="is no pull request"):
        alice.merge_pull_request("alice/pair", 1)
