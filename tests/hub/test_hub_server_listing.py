"""The server's list of models: in pages, with the properties that are asked for, and strict about its query."""

import json

import pytest
from hubserver.visitor import client, raw, serving

CARD = b"---\nlicense: mit\nlanguage:\n- en\n- sw\ntags:\n- bistill\n- pair:en-sw\n---\n# A pair\n"
FILES = {"README.md": CARD, "config.json": b'{"model_type": "bistill"}'}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serving(monkeypatch, tmp_path / "home", page_size=2) as server:
        for number in range(5):
            server.create(f"lab/pair-{number}", FILES)
            server.create(f"lab/other-{number}", {"README.md": b"no metadata"})
        yield server


def test_each_page_leads_to_the_next_with_the_same_query(hub):
    address = "/api/models?filter=bistill&filter=pair%3Aen-sw&expand=sha"
    pages = []
    while address:
        status, headers, body = raw(hub, "GET", address, user=None)
        assert status == 200
        pages.append([model["id"] for model in json.loads(body)])
        link = headers["Link"] or ""
        assert not link or link.endswith('>; rel="next"')
        address = link.removeprefix(f"<{hub.endpoint}").partition(">")[0]
    assert pages == [["lab/pair-0", "lab/pair-1"], ["lab/pair-2", "lab/pair-3"], ["lab/pair-4"]]


def test_a_limit_is_the_length_of_a_page_and_ends_the_client_s_reading(hub):
    found = client(hub, None).list_models(filter="bistill", limit=3)
    assert [model.id for model in found] == ["lab/pair-0", "lab/pair-1", "lab/pair-2"]
    (asked,) = hub.journal.matching("GET", "^/api/models$")
    assert dict(asked.query)["limit"] == "3"


def test_the_properties_that_are_asked_for_come_and_no_others(hub):
    (model,) = client(hub, None).list_models(search="pair-3", expand=["config", "gated", "lastModified", "sha", "tags"])
    head = hub.commits("lab/pair-3")[0]
    assert (model.sha, model.last_modified, model.gated) == (head.oid, head.date, False)
    assert model.config == {"model_type": "bistill"}
    assert {"bistill", "pair:en-sw", "en", "sw", "license:mit"} <= set(model.tags)
    assert (model.siblings, model.card_data, model.created_at) == (None, None, None)
    (model,) = client(hub, None).list_models(search="pair-3", expand=["siblings", "cardData"])
    assert {entry.rfilename for entry in model.siblings} == {".gitattributes", *FILES}
    assert model.card_data.language == ["en", "sw"]
    assert model.sha is None


def test_closed_models_are_told_apart(hub):
    hub.repositories["lab/pair-1"].gated = "auto"
    hub.repositories["lab/pair-2"].private = True
    api = client(hub, None)
    assert [model.id for model in api.list_models(filter="bistill", gated=True)] == ["lab/pair-1"]
    everyone = {model.id for model in api.list_models(filter="bistill")}
    hub.organization("lab", alice="read")
    members = {model.id for model in client(hub, "alice").list_models(filter="bistill")}
    assert members - everyone == {"lab/pair-2"}


@pytest.mark.parametrize(
    ("query", "status", "named"),
    [
        ("colour=red", 400, "colour"),
        ("expand=colour", 400, "colour"),
        ("full=perhaps", 400, "full"),
        ("limit=-1", 400, "limit"),
        ("author=lab&author=bob", 400, "author"),
        ("sort=likes", 501, "likes"),
    ],
)
def test_a_query_that_the_list_does_not_know_is_refused_by_name(hub, query, status, named):
    found, _, body = raw(hub, "GET", f"/api/models?{query}", user=None)
    assert found == status
    assert named in json.loads(body)["error"]
