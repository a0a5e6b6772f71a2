"""What the tests of the site share: the site itself, a server for it, and a browser."""
import functools, http.server, os, shutil, subprocess, sys

import pytest
from filelock import FileLock
from shared import ROOT, Server

BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome"

@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the site, rendered once from the outputs that are stored in the notebooks, for
    all processes that share the tests."""
    room = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ: room = room.parent
    out = room/"site"/"docs"
    with FileLock(room/"site.lock"):
        if not out.exists():
            done = subprocess.run(
                [sys.executable, ROOT / "tools" / "book.py", "site", "--out", out],
                capture_output=True,
                text=True,
                cwd=ROOT,
            )
            if done.returncode:
                pytest.fail(f"the site could not be rendered: {done.stderr.strip()}", pytrace=False)
    return out

class Quiet(http.server.SimpleHTTPRequestHandler):
    "Serves the site, and a page with one word on it to compare with."
    def do_GET(self):
        if self.path != "/bare.html": return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>bare</title><p>bare")
    def log_message(self, *args): pass

@pytest.fixture(scope="session")
def address(site):
    "The address of a server of the site."
    with Server(functools.partial(Quiet, directory=str(site))) as server: yield f"{server.at}/"

@pytest.fixture(scope="session")
def browser():
    "A Chromium without a window."
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        sentence = (
            f"there is no browser here (looked for {', '.join(BROWSERS)}), so the site was "
            f"not looked at"
        )
        pytest.fail(sentence) if os.environ.get("CI", "").lower() in (
            "1",
            "true",
            "yes",
        ) else pytest.skip(sentence)
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        b = p.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--autoplay-policy=no-user-gesture-required",
            ],
        )
        yield b
        b.close()

@pytest.fixture
def visit(browser, address):
    """`visit(name, width)` opens a page of the site with the network shut; whatever it complains
    of is in `page.trouble`."""
    contexts = []
    def visit(name, width=1280, height=900, theme="light"):
        context = browser.new_context(viewport=dict(width=width, height=height), color_scheme=theme)
        contexts.append(context)
        page = context.new_page()
        page.trouble = []
        page.set_default_timeout(15000)
        def gate(route):
            url = route.request.url
            if url.startswith((address, "data:", "blob:")): return route.continue_()
            page.trouble.append(f"asked the network for {url}")
            route.abort()
        context.route("**/*", gate)
        page.on(
            "console", lambda m: m.type == "error" and page.trouble.append(f"console: {m.text}")
        )
        page.on("pageerror", lambda e: page.trouble.append(f"script: {e}"))
        page.on(
            "response", lambda r: r.status >= 400 and page.trouble.append(f"{r.status} for {r.url}")
        )
        page.goto(address + name, wait_until="load")
        return page
    yield visit
    for context in contexts: context.close()
