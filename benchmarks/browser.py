"""Chromium without a screen, for the tests and measurements of the page, with all that it complains of."""

import os
import shutil
from contextlib import contextmanager

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage"]
IS_REQUIRED = os.environ.get("TRL_3SPO_REQUIRE_BROWSER") == "1"
"""Whether tests fail, rather than being skipped, where there is no Chromium."""


@contextmanager
def browser():
    """Start Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@contextmanager
def opened(running, file, **settings):
    """Open a file offline; yield its page, and the list of what it has complained of and asked the network for."""
    context = running.new_context(offline=True, viewport={"width": 1440, "height": 900}, **settings)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("request", lambda request: complaints.extend([request.url] * request.url.startswith(("http", "ws"))))
    page.goto(file.resolve().as_uri())
    page.wait_for_selector("body[data-ready]")
    yield page, complaints
    context.close()
