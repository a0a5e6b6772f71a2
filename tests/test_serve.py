"""The site as its writer sees it: served, rendered again as a notebook is saved, and loaded again by the page that is open."""
import re, signal, socket, subprocess, sys, time
from urllib.request import urlopen

import pytest
from shared import is_sentence
from test_freshness import tiny_book, write_nb

PATIENCE_S = 60

class Served:
    "The tiny book, served on a free port."
    def __init__(self, root):
        self.root = tiny_book(root)
        self.process = subprocess.Popen([sys.executable, "tools/book.py", "serve", "--port", "0"], cwd=root, text=True,
            stdout=open(root/"said", "w"), stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # what runs the tests may have it ignored
        self.url = self.until(lambda: re.search(r"http://\S+/", self.said()), "it was not served")[0]
    def said(self): return (self.root/"said").read_text()
    def page(self, name="index.html"): return urlopen(self.url + name, timeout=PATIENCE_S).read().decode()
    def until(self, answer, otherwise):
        end = time.time() + PATIENCE_S
        while time.time() < end:
            if found := answer(): return found
            time.sleep(.1)
        self.process.kill()
        pytest.fail(f"{otherwise}; it said:\n{self.said()}")
    def write(self, name, prose): write_nb(self.root/"nbs"/f"{name}.ipynb", f"# {prose}")

@pytest.fixture
def served(tmp_path):
    book = Served(tmp_path)
    yield book
    book.process.kill()
    book.process.wait()

def test_a_saved_notebook_is_served(served):
    version = served.page("__version")
    assert "Home" in served.page("") and version in served.page(""), "the page cannot tell that it is old"
    served.write("index", "Home again")
    served.until(lambda: "Home again" in served.page(), "the new text did not come")
    served.until(lambda: served.page("__version") != version, "the pages that are open were not told")

def test_only_what_is_served_holds_the_script(served):
    assert "__version" in served.page() and "__version" not in (served.root/"_docs"/"index.html").read_text()
    rest = re.sub(r"<script>.*?</script>", "", served.page(), flags=re.S)
    assert rest == (served.root/"_docs"/"index.html").read_text()

def test_a_broken_notebook_leaves_the_old_site(served):
    version = served.page("__version")
    (served.root/"nbs"/"01_small.ipynb").write_text("{")
    served.until(lambda: "Not rendered" in served.said(), "nothing was said of the broken notebook")
    line = next(line for line in served.said().splitlines() if "Not rendered" in line)
    assert "01_small.ipynb is not a notebook" in line and "Traceback" not in served.said()
    assert "Small" in served.page("01_small.html") and served.page("__version") == version
    served.write("01_small", "Small and mended")
    served.until(lambda: "mended" in served.page("01_small.html"), "it did not get over it")

def test_it_rests_when_nothing_changes(served):
    version = served.page("__version")
    time.sleep(3)
    assert served.page("__version") == version, "it renders again for what rendering itself writes"

def test_a_change_while_it_renders_is_rendered_too(served):
    pages = served.root/"tools"/"pages.py"
    pages.write_text(pages.read_text().replace("    shutil.rmtree(out", "    import time; time.sleep(2)\n    shutil.rmtree(out"))
    served.write("index", "First")
    served.until(lambda: (served.root/"new"/"index.html").is_file() and "First" in (served.root/"new"/"index.html").read_text(), "it did not begin")
    served.write("index", "Second")
    served.until(lambda: "Second" in served.page(), "the change that came meanwhile was lost")

def test_interrupting_ends_it_calmly(served):
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in served.said() and served.said().endswith("Stopped.\n")

def test_a_port_in_use_is_named(tmp_path):
    root = tiny_book(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([sys.executable, "tools/book.py", "serve", "--port", port], cwd=root, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1 and port in done.stderr and is_sentence(done.stderr.strip())
    assert not (root/"_docs").exists(), "it rendered before it looked"

def test_an_open_page_loads_itself_again(served, browser):
    page = browser.new_page()
    page.goto(served.url)
    assert "Home" in page.inner_text("body")
    served.write("index", "Seen without a hand")
    page.wait_for_function("document.body.innerText.includes('without a hand')", timeout=1000 * PATIENCE_S)
    page.close()
