"""A small platform with cases that wait, hashing that costs nothing, and a browser where there is one."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import uvicorn
from argon2 import PasswordHasher
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from pipelines.accounts import factors
from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import sweep
from pipelines.web.access import SESSION_COOKIE
from pipelines.web.app import create_app
from tests.conftest import Clock, fresh_workspace, made_home, use_fakes
from tests.fakes import person, picture
from tests.pipelines.web.browsing import Coming
from tests.pipelines.web.visiting import Visitor, session, visitor
from tests.platform_actions import NAME, enrol, source_of, upload


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 with the least costs there are: what it costs is not what these tests are about."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(factors, "_hasher", lambda: hasher)
    factors._nobody.cache_clear()


def fill(workspace: Workspace, uploads: Path) -> None:
    """One person, found in two pictures of a model with a name beside one, in a single picture, and in a mature one."""
    enrol(workspace, person(1))
    upload(uploads, "m-a.png", picture(person(1), person(150)), parent_model="m-1", uploader="u-1")
    upload(uploads, "m-b.png", picture(person(2), person(1)), parent_model="m-1", uploader="u-2")
    upload(uploads, "m-c.png", picture(person(3)), parent_model="m-1", uploader="u-1")
    upload(uploads, "named.png", picture(person(4)), uploader="u-3", prompt=f"a portrait of {NAME}, golden hour")
    upload(uploads, "single.png", picture(person(1), person(160)), uploader="u-4")
    upload(uploads, "mature.png", picture(person(1), person(170)), uploader="u-5", nsfw_level="X")
    sweep(workspace, source_of(uploads), day=None)


@cache
def filled_home() -> Path:
    """A home on SQLite with the platform, made once for each process; its uploads stay beside it."""
    folder = Path(tempfile.mkdtemp(prefix="platform"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "uploads").mkdir()
    with fresh_workspace(folder / "home", now=Clock()) as workspace:
        fill(use_fakes(workspace), folder / "uploads")
    return folder / "home"


def is_copied(request: pytest.FixtureRequest) -> bool:
    """Whether a test begins with a copy of the filled home. One that changes uploads has its own, as has PostgreSQL."""
    names = request.fixturenames
    return "platform" in names and "uploads" not in names and request.getfixturevalue("database_kind") == "sqlite"


@pytest.fixture
def home_to_copy(request: pytest.FixtureRequest) -> Path:
    return filled_home() if is_copied(request) else made_home()


@pytest.fixture
def platform(request: pytest.FixtureRequest, workspace: Workspace) -> Workspace:
    """The platform of :func:`fill`."""
    if not is_copied(request):
        fill(workspace, request.getfixturevalue("uploads"))
    return workspace


@pytest.fixture
def ann(platform: Workspace) -> Visitor:
    """A reviewer."""
    return visitor(platform, "ann", ["reviewer"])


@pytest.fixture
def bob(platform: Workspace) -> Visitor:
    """Another reviewer."""
    return visitor(platform, "bob", ["reviewer"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Where there is none, the tests in it are skipped and say so."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (apt install chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def serving(workspace: Workspace) -> Iterator[str]:
    """The address of the pages, served as `likeness review` serves them."""
    config = uvicorn.Config(create_app(lambda: workspace), host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server, socket = uvicorn.Server(config), config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=30)
    socket.close()


@pytest.fixture
def complaints() -> list[str]:
    """What browsers wrote to their consoles, content policy included."""
    return []


@pytest.fixture
def come(browser: Browser, workspace: Workspace, serving: str, complaints: list[str]) -> Iterator[Coming]:
    """Lets somebody come in with a browser of their own, whose every complaint fails the test."""
    contexts: list[BrowserContext] = []

    def come_in(name: str, *roles: str, **options: str) -> Page:
        context = browser.new_context(base_url=serving, viewport={"width": 1440, "height": 900}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        context.add_cookies([{"name": SESSION_COOKIE, "value": session(workspace, name, *roles), "url": serving}])
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield come_in
    for context in contexts:
        context.close()
    assert complaints == [], "neither the console nor the content policy reports anything"
