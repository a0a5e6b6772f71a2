"""`make serve`, by smalldocs' preview: the site rendered again at each change, and open pages
reload."""

import re, signal, socket, subprocess, sys, time
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from test_freshness import tiny_book, write_nb

PATIENCE_S = 60

def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken: return taken.getsockname()[1]

class Served:
    "The tiny book, served on a free port."
    def __init__(self, root):
        self.root, port = tiny_book(root), free_port()
        self.url = f"http://127.0.0.1:{port}/"
        self.process = subprocess.Popen(
            [sys.executable, "tools/book.py", "serve", "--port", str(port)], cwd=root, text=True,
            stdout=open(root.parent/"said", "w"), stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # pytest may ignore it
        self.until(lambda: self.url in self.said(), "it was not served")
    def said(self): return (self.root.parent/"said").read_text()
    def page(self, name="index.html"):
        try: return urlopen(self.url + name, timeout=PATIENCE_S).read().decode()
        except URLError: return ""  # between the old site and the new
    def version(self): return self.page("__smalldocs__/version")
    def until(self, answer, otherwise):
        end = time.time() + PATIENCE_S
        while time.time() < end:
            if found := answer(): return found
            time.sleep(.1)
        self.process.kill()
        pytest.fail(f"{otherwise}; it printed:\n{self.said()}")
    def write(self, name, prose): write_nb(self.root/"nbs"/f"{name}.ipynb", f"# {prose}")

@pytest.fixture
def served(tmp_path):
    book = Served(tmp_path/"book")
    yield book
    book.process.kill()
    book.process.wait()

def test_a_saved_notebook_is_served(served):
    version = served.version()
    assert "Home" in served.page("") and version
    served.write("index", "Home again")
    served.until(lambda: "Home again" in served.page(), "the new text did not come")
    served.until(lambda: served.version() != version, "the pages that are open were not told")

def test_the_site_in_docs_is_left_alone(served):
    "What is served lies in a folder of its own, since its pages hold a script that reloads them."
    assert "__smalldocs__" in served.page() and not (served.root/"_docs").exists()
    assert (served.root/"_preview"/"index.html").is_file()

def test_a_broken_notebook_leaves_the_old_site(served):
    version = served.version()
    (served.root/"nbs"/"01_small.ipynb").write_text("{")
    served.until(
        lambda: "is not a notebook" in served.said(), "nothing was said of the broken notebook"
    )
    assert "book: 01_small.ipynb is not a notebook" in served.said()
    assert "Traceback" not in served.said()
    assert "Small" in served.page("01_small.html") and served.version() == version
    served.write("01_small", "Small and mended")
    served.until(lambda: "mended" in served.page("01_small.html"), "it did not recover")

def test_it_rests_when_nothing_changes(served):
    version = served.version()
    time.sleep(3)
    assert served.version() == version, "it renders again for what rendering itself writes"

def test_a_change_while_it_renders_is_rendered_too(served):
    pages = served.root/"tools"/"pages.py"
    slow = "    import time; time.sleep(2)\n    shutil.rmtree(out"
    pages.write_text(pages.read_text().replace("    shutil.rmtree(out", slow))
    served.write("index", "First")
    new = served.root/"new"/"index.html"
    served.until(lambda: new.is_file() and "First" in new.read_text(), "it did not begin")
    served.write("index", "Second")
    served.until(lambda: "Second" in served.page(), "the change that came meanwhile was lost")

def test_interrupting_ends_it_calmly(served):
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(PATIENCE_S) == 0 and "Traceback" not in served.said()

def test_a_port_in_use_is_named(tmp_path):
    root = tiny_book(tmp_path/"book")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "tools/book.py", "serve", "--port", port]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode and "Traceback" not in done.stderr
    assert re.search(rf"port {port} is in use; give another with --port", done.stderr)

def test_an_open_page_reloads_itself(served, browser):
    page = browser.new_page()
    page.goto(served.url)
    assert "Home" in page.inner_text("body")
    page.wait_for_timeout(1500)  # it asks for the version first
    served.write("index", "Seen without a hand")
    there = "document.body.innerText.includes('without a hand')"
    page.wait_for_function(there, timeout=1000 * PATIENCE_S)
    page.close()
