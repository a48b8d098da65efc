"""In the Hub's place, on this machine: repositories in memory behind the requests that huggingface_hub makes."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

USER = "somebody"
TOKEN = "hf_standin"
LARGE = (".safetensors", ".bin", ".pt", ".npz")
"""Ends of names of files that go to large file storage, as the Hub's .gitattributes says."""
REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass
class Commit:
    """What a repository holds after a commit: contents by path."""

    sha: str
    message: str
    files: dict[str, bytes]


@dataclass
class Hub:
    """Repositories by name, oldest commit first, and the requests that nothing here answers."""

    url: str = ""
    repos: dict[str, list[Commit]] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def files(self, repo):
        """Return the contents of a repository's latest commit by path."""
        return self.repos[repo][-1].files

    def at(self, repo, revision):
        """Return a commit by its hash, or the latest for `main`."""
        if revision == "main":
            return self.repos[repo][-1]
        return next((commit for commit in self.repos[repo] if commit.sha == revision), None)

    def commit(self, repo, message, changes):
        """Add a commit in which some files have new contents, `None` for those that go."""
        files = {path: x for path, x in (self.files(repo) | changes).items() if x is not None}
        sha = hashlib.sha1(f"{repo} {len(self.repos[repo])} {message}".encode()).hexdigest()
        self.repos[repo].append(Commit(sha, message, files))
        return sha


def metadata_errors(content):
    """Return what the Hub refuses in the head of a card."""
    head = re.match(r"---\n(.*?)\n---", content, re.DOTALL)
    data = yaml.safe_load(head.group(1)) if head else {}
    errors = []
    bases = data.get("base_model") or []
    for base in [bases] if isinstance(bases, str) else bases:
        if not REPO_ID.fullmatch(base):
            errors.append(f'"base_model" with value "{base}" is not valid. Use a model id from https://hf.co/models.')
    for name in ("license", "library_name", "pipeline_tag"):
        if not isinstance(data.get(name, ""), str):
            errors.append(f'"{name}" must be a string')
    if not all(isinstance(tag, str) for tag in data.get("tags", [])):
        errors.append('"tags" must be strings')
    for model in data.get("model-index", []):
        for result in model["results"]:
            if not (result["task"]["type"] and result["dataset"]["type"] and result["dataset"]["name"]):
                errors.append('"model-index" lacks a task or a dataset')
            if not all("type" in metric and "value" in metric for metric in result["metrics"]):
                errors.append('"model-index" lacks a metric')
    return errors


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        """Stay silent."""

    def _answer(self, content=b"", status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, code):
        self._answer({"error": code}, 404, X_Error_Code=code)

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _handle(self):
        path = unquote(urlsplit(self.path).path)
        body = self._body()
        with self.hub.lock:
            for method, pattern, answer in ROUTES:
                found = re.fullmatch(pattern, path)
                if method == self.command.replace("HEAD", "GET") and found:
                    return answer(self, body, **found.groupdict())
            self.hub.unknown.append(f"{self.command} {path}")
            return self._missing("NoSuchRequest")

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def whoami(self, _):
        """Say whose token it is."""
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid credentials"}, 401)
        return self._answer(
            {"type": "user", "name": USER, "fullname": USER, "orgs": [], "auth": {"type": "access_token"}}
        )

    def create(self, body):
        """Make a repository, which only the owner of the token may."""
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid credentials"}, 401)
        asked = json.loads(body)
        repo = f"{asked.get('organization') or USER}/{asked['name']}"
        is_new = repo not in self.hub.repos
        if is_new:
            self.hub.repos[repo] = [Commit("0" * 40, "initial commit", {})]
        answer = {"url": f"{self.hub.url}/{repo}", "name": repo, "id": repo}
        return self._answer(answer, 200 if is_new else 409)

    def validate(self, body):
        """Check the head of a card."""
        errors = metadata_errors(json.loads(body)["content"])
        answer = {"errors": [{"message": error} for error in errors], "warnings": []}
        return self._answer(answer, 400 if errors else 200)

    def preupload(self, body, repo, revision):
        """Say which files are large."""
        files = [
            {"path": x["path"], "uploadMode": "lfs" if x["path"].endswith(LARGE) else "regular", "shouldIgnore": False}
            for x in json.loads(body)["files"]
        ]
        return self._answer({"files": files})

    def batch(self, body, repo):
        """Say where to put large files that are not there yet."""
        objects = [
            {"oid": x["oid"], "size": x["size"]}
            | (
                {}
                if x["oid"] in self.hub.large
                else {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{x['oid']}"}}}
            )
            for x in json.loads(body)["objects"]
        ]
        return self._answer({"transfer": "basic", "objects": objects})

    def put(self, body, oid):
        """Take a large file, whose name has to be its digest."""
        if hashlib.sha256(body).hexdigest() != oid:
            return self._answer({"error": "another digest"}, 400)
        self.hub.large[oid] = body
        return self._answer()

    def commit(self, body, repo, revision):
        """Take a commit in lines of JSON."""
        changes, message = {}, ""
        for line in body.splitlines():
            entry = json.loads(line)
            kind, value = entry["key"], entry["value"]
            if kind == "header":
                message = value["summary"]
            elif kind == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                changes[value["path"]] = self.hub.large[value["oid"]]
            elif kind == "deletedFile":
                changes[value["path"]] = None
            else:
                return self._answer({"error": f"{kind} is not known here"}, 400)
        sha = self.hub.commit(repo, message, changes)
        return self._answer({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})

    def _found(self, repo, revision):
        if repo not in self.hub.repos:
            return self._missing("RepoNotFound")
        return self.hub.at(repo, revision) or self._missing("RevisionNotFound")

    def info(self, _, repo, revision="main"):
        """Describe a repository."""
        if commit := self._found(repo, revision):
            siblings = [{"rfilename": path} for path in commit.files]
            self._answer({"id": repo, "modelId": repo, "sha": commit.sha, "siblings": siblings, "tags": []})

    def tree(self, _, repo, revision, folder=""):
        """List the files in a folder."""
        if commit := self._found(repo, revision):
            inside = {path: x for path, x in commit.files.items() if path.startswith(f"{folder}/" if folder else "")}
            if folder and not inside:
                return self._missing("EntryNotFound")
            files = [{"type": "file", "path": path, "size": len(x), "oid": _oid(x)} for path, x in inside.items()]
            return self._answer(files)
        return None

    def resolve(self, _, repo, revision, file):
        """Give out a file."""
        if commit := self._found(repo, revision):
            if file not in commit.files:
                return self._answer(b"", 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit.sha)
            content = commit.files[file]
            return self._answer(content, X_Repo_Commit=commit.sha, ETag=f'"{_oid(content)}"')
        return None


def _oid(content):
    return hashlib.sha256(content).hexdigest()


_REPO, _REVISION = "(?P<repo>[^/]+/[^/]+)", "(?P<revision>[^/]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("POST", f"/api/models/{_REPO}/preupload/{_REVISION}", _Handler.preupload),
    ("POST", f"/api/models/{_REPO}/commit/{_REVISION}", _Handler.commit),
    ("POST", f"/{_REPO}[.]git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", _Handler.put),
    ("GET", f"/api/models/{_REPO}", _Handler.info),
    ("GET", f"/api/models/{_REPO}/revision/{_REVISION}", _Handler.info),
    ("GET", f"/api/models/{_REPO}/tree/{_REVISION}(/(?P<folder>.+))?", _Handler.tree),
    ("GET", f"/{_REPO}/resolve/{_REVISION}/(?P<file>.+)", _Handler.resolve),
]


@contextmanager
def hub_stand_in():
    """Yield a Hub that listens on this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def environment(hub, home):
    """Return the environment variables of a process for which the stand-in is the Hub.

    Args:
        hub: The stand-in.
        home: Folder for its cache.
    """
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
