"""Accounts, repositories as wholes, and their references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..discussions import written
from ..repositories import MAIN
from ..wire import Answer, Refusal, Request, endpoint
from .access import readable, signed_in, visible, writable

if TYPE_CHECKING:
    from ..server import HubServer


@endpoint("GET", path="/api/agent-harnesses")
def agent_harnesses(hub: HubServer, request: Request) -> Answer:
    """By which variables a coding agent is known: by none here, so that `hf` speaks as to a human. Client: `hf`."""
    return Answer.json({"standardEnvVars": [], "harnesses": {}})


@endpoint("GET", path="/api/whoami-v2")
def whoami(hub: HubServer, request: Request) -> Answer:
    """Whose token it is. Client: `HfApi.whoami`, `get_token_permission`."""
    sender = signed_in(request)
    organizations = [
        {"type": "org", "name": name, "fullname": name, "roleInOrg": members[sender.name]}
        for name, members in hub.accounts.organizations.items()
        if sender.name in members
    ]
    token = {"type": "access_token", "accessToken": {"displayName": sender.role, "role": sender.role}}
    return Answer.json(
        {
            "type": "user",
            "id": f"user-{sender.name}",
            "name": sender.name,
            "fullname": sender.name,
            "isPro": False,
            "orgs": organizations,
            "auth": token,
        }
    )


def _named(sender_name: str, body: dict[str, str | None]) -> tuple[str, str]:
    """Namespace and id of the repository that a body names; without an organisation it is the sender's own."""
    namespace, name = body.get("organization") or sender_name, body["name"]
    if not name or "/" in name:
        raise Refusal(400, f'"{name}" is not a name that a repository may have')
    if body.get("type", "model") != "model":
        raise Refusal(501, f'repositories of the type "{body["type"]}" are not served')
    return namespace, f"{namespace}/{name}"


@endpoint("POST", path="/api/repos/create", body=True)
def create(hub: HubServer, request: Request) -> Answer:
    """Make a repository, with a first commit that holds `.gitattributes`. Client: `HfApi.create_repo`.

    One that exists is 409, with its address: with `exist_ok=True` the client takes `url` from that answer too.
    """
    body = request.json({"name": str, "organization": (str, type(None))}, {"type": str, "visibility": str})
    sender = signed_in(request)
    namespace, identifier = _named(sender.name, body)
    if body.get("visibility", "public") not in ("public", "private"):
        raise Refusal(400, f'the body has the field "visibility" with the unknown value "{body["visibility"]}"')
    if not hub.accounts.may_write(sender, namespace):
        raise Refusal(403, f"{sender.name} has no right to create a model under the namespace {namespace}")
    url = f"{hub.endpoint}/{identifier}"
    if identifier in hub.repositories:
        raise Refusal(409, "You already created this model repo", fields={"url": url})
    hub.create(identifier, private=body.get("visibility") == "private", author=sender.name)
    return Answer.json({"url": url, "name": identifier, "id": identifier})


@endpoint("DELETE", path="/api/repos/delete", body=True)
def delete(hub: HubServer, request: Request) -> Answer:
    """Remove a repository. Client: `HfApi.delete_repo`."""
    body = request.json({"name": str, "organization": (str, type(None))}, {"type": str})
    namespace, identifier = _named(signed_in(request).name, body)
    del hub.repositories[writable(hub, request, namespace, identifier.partition("/")[2]).id]
    return Answer.json({})


@endpoint("PUT", path="/api/models/{namespace}/{name}/settings", body=True)
def settings(hub: HubServer, request: Request, namespace: str, name: str) -> Answer:
    """Make it private, public or gated. Client: `HfApi.update_repo_settings`."""
    repository = writable(hub, request, namespace, name)
    body = request.json({}, {"visibility": str, "gated": (str, bool)})
    if body.get("visibility", "public") not in ("public", "private"):
        raise Refusal(400, f'the body has the field "visibility" with the unknown value "{body["visibility"]}"')
    if body.get("gated", False) not in ("auto", "manual", False):
        raise Refusal(400, f'the body has the field "gated" with the unknown value "{body["gated"]}"')
    if "visibility" in body:
        repository.private = body["visibility"] == "private"
    if "gated" in body:
        repository.gated = body["gated"]
    return Answer.json({})


@endpoint("GET", path="/api/models/{namespace}/{name}/auth-check")
def may_read(hub: HubServer, request: Request, namespace: str, name: str) -> Answer:
    """Whether the sender may read the files. Client: `HfApi.auth_check`."""
    readable(hub, request, namespace, name)
    return Answer.json({})


@endpoint("GET", path="/api/models/{namespace}/{name}/auth-check/write")
def may_write(hub: HubServer, request: Request, namespace: str, name: str) -> Answer:
    """Whether the sender may change them. Client: `HfApi.auth_check(write=True)`."""
    writable(hub, request, namespace, name)
    return Answer.json({})


@endpoint("GET", path="/api/models/{namespace}/{name}/refs", query=["include_prs"])
def refs(hub: HubServer, request: Request, namespace: str, name: str) -> Answer:
    """Branches and tags, and on request pull requests. Client: `HfApi.list_repo_refs`."""
    repository = visible(hub, request, namespace, name)
    found: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": []}
    places = {"refs/heads/": "branches", "refs/tags/": "tags"}
    if request.flag("include_prs"):
        found["pullRequests"] = []
        places["refs/pr/"] = "pullRequests"
    for ref, oid in repository.refs.items():
        for prefix, place in places.items():
            if ref.startswith(prefix):
                found[place].append({"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid})
    return Answer.json(found)


@endpoint("GET", path="/api/models/{namespace}/{name}/commits/{revision}", query=["expand[]", "cursor"])
def commits(hub: HubServer, request: Request, namespace: str, name: str, revision: str) -> Answer:
    """The commits up to a revision, newest first, page by page. Client: `HfApi.list_repo_commits`."""
    repository = visible(hub, request, namespace, name)
    formatted = request.values("expand[]")
    if any(value != "formatted" for value in formatted):
        raise Refusal(400, f'the query parameter "expand[]" has the unknown value {formatted}')
    entries = []
    for commit in repository.history(repository.resolve(revision)):
        entry: dict[str, Any] = {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.description,
            "authors": [{"user": commit.author}],
            "date": written(commit.date),
        }
        if formatted:
            entry["formatted"] = {"title": commit.title, "message": commit.description}
        entries.append(entry)
    return hub.page(request, entries)


@endpoint("POST", path="/api/models/{namespace}/{name}/branch/{branch}", body=True)
def create_branch(hub: HubServer, request: Request, namespace: str, name: str, branch: str) -> Answer:
    """Begin a branch at a revision, `main` if none is given. Client: `HfApi.create_branch`."""
    repository = writable(hub, request, namespace, name)
    start = repository.resolve(request.json({}, {"startingPoint": str}).get("startingPoint", "main"))
    return _new_ref(repository.refs, f"refs/heads/{branch}", start.oid)


@endpoint("DELETE", path="/api/models/{namespace}/{name}/branch/{branch}")
def delete_branch(hub: HubServer, request: Request, namespace: str, name: str, branch: str) -> Answer:
    """Remove a branch other than `main`. Client: `HfApi.delete_branch`."""
    repository = writable(hub, request, namespace, name)
    if f"refs/heads/{branch}" == MAIN:
        raise Refusal(403, "the default branch cannot be removed")
    return _remove_ref(repository.refs, f"refs/heads/{branch}")


@endpoint("POST", path="/api/models/{namespace}/{name}/tag/{revision}", body=True)
def create_tag(hub: HubServer, request: Request, namespace: str, name: str, revision: str) -> Answer:
    """Tag a revision. Client: `HfApi.create_tag`."""
    repository = writable(hub, request, namespace, name)
    body = request.json({"tag": str}, {"message": str})
    return _new_ref(repository.refs, f"refs/tags/{body['tag']}", repository.resolve(revision).oid)


@endpoint("DELETE", path="/api/models/{namespace}/{name}/tag/{tag}")
def delete_tag(hub: HubServer, request: Request, namespace: str, name: str, tag: str) -> Answer:
    """Remove a tag. Client: `HfApi.delete_tag`."""
    return _remove_ref(writable(hub, request, namespace, name).refs, f"refs/tags/{tag}")


def _new_ref(refs: dict[str, str], ref: str, oid: str) -> Answer:
    if ref in refs:
        raise Refusal(409, f"Reference already exists: {ref}")
    refs[ref] = oid
    return Answer.json({})


def _remove_ref(refs: dict[str, str], ref: str) -> Answer:
    if ref not in refs:
        raise Refusal(404, f"Reference does not exist: {ref}", code="RevisionNotFound")
    del refs[ref]
    return Answer.json({})
