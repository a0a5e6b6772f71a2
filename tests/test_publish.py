"""What is around the book: how it is cited, how it is published, and the pages that are no
chapters."""

import functools, json, re, shutil, subprocess, sys, zipfile
from configparser import ConfigParser
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest, yaml
from conftest import Quiet
from shared import ROOT, Server

def read(name): return (ROOT/name).read_text(encoding="utf-8")

def settings():
    ini = ConfigParser(delimiters=["="])
    ini.read(ROOT/"settings.ini", encoding="utf-8")
    return ini["DEFAULT"]

SETTINGS = settings()
PUBLISHED = SETTINGS.getboolean("published")
sys.path.insert(0, str(ROOT/"tools"))
import finish, pages as rendering  # noqa: E402
ADDRESS = SETTINGS["doc_host"] + SETTINGS["doc_baseurl"]
BASE = SETTINGS["doc_baseurl"].rstrip("/") + "/"
TARGETS = set(re.findall(r"^([a-z]+):(?!=)", read("Makefile"), re.M))


# ---- citing

CITATION = {  # key of CITATION.cff, and what it says
    "cff-version": "1.2.0",
    "type": "software",
    "title": SETTINGS["title"],
    "version": SETTINGS["version"],
    "license": {"apache2": "Apache-2.0"}[SETTINGS["license"]],
    "authors": [{"name": SETTINGS["author"]}],
    **({"repository-code": SETTINGS["git_url"], "url": ADDRESS} if PUBLISHED else {}),
    "keywords": SETTINGS["keywords"].split(),
}

def test_citation_agrees_with_the_settings():
    cff = yaml.safe_load(read("CITATION.cff"))
    assert {key: cff.get(key) for key in CITATION} == CITATION
    assert cff["message"] and cff["abstract"].startswith(SETTINGS["description"])
    assert f"\n## {cff['version']}" in read("CHANGELOG.md"), (
        "the changelog says nothing of this version"
    )
    assert not cff.keys() - CITATION.keys() - {"message", "abstract", "date-released"}, (
        "keys that nobody checks"
    )


def test_about_cites_as_the_citation_file_does():
    about, cff = read("nbs/about.qmd"), yaml.safe_load(read("CITATION.cff"))
    entry = re.search(r"^@software\{sirenbook,\n(.*?)^\}", about, re.M | re.S)[1]
    fields = {
        key: value.strip("{}")
        for key, value in re.findall(r"^\s*(\w+)\s*=\s*(\{.*\}),?$", entry, re.M)
    }
    year = SETTINGS["copyright"].split()[0]
    wanted = dict(
        author=cff["authors"][0]["name"],
        title=cff["title"],
        version=cff["version"],
        year=year,
        license=cff["license"],
        url=ADDRESS,   # the site leaves it out until it is published
    )
    assert fields == wanted
    assert (
        f"{wanted['author']}, *{wanted['title']}*, version {wanted['version']}, {year}, "
        f"<{wanted['url']}>."
        in about
    )


# ---- what the texts around the book promise

@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "nbs/about.qmd"])
def test_targets_of_make_that_a_text_names_exist(name):
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", read(name), re.M))
    assert named <= TARGETS, f"the Makefile has no {named - TARGETS}"

def test_about_names_the_directives_in_use():
    "Both renderers read them; a new one is tried with both and then named."
    cells = [
        c
        for nb in (ROOT / "nbs").glob("*.ipynb")
        for c in json.loads(nb.read_text(encoding="utf-8"))["cells"]
    ]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    used = set(re.findall(r"^#\s*\|\s*([\w-]+)", code, re.M))
    named = set(
        re.findall(
            r"`([\w-]+)`", re.search(r"cell directives(.*?)\.", read("nbs/about.qmd"), re.S)[1]
        )
    )
    assert used <= named, f"used, and not named: {used - named}"

AVOIDED = re.compile(r"^:::|(?<![\w`])@(?:fig|tbl|eq|sec)-\w|\[@\w|\{\{< (?!include )", re.M)

@pytest.mark.parametrize(
    "page", sorted(p.name for kind in ("*.ipynb", "*.qmd") for p in (ROOT / "nbs").glob(kind))
)
def test_no_construct_that_one_renderer_alone_reads(page):
    text = read(f"nbs/{page}")
    if page.endswith("ipynb"):
        text = "\n\n".join(
            "".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown"
        )
    assert not AVOIDED.findall(text)
    assert not re.search(r"^```\{(?:python|r|julia|ojs|mermaid)\b", text, re.M), (
        "a cell that runs outside a notebook"
    )


# ---- the pages that are no chapters

def test_changelog_is_the_file(site):
    page = (site/"changelog.html").read_text(encoding="utf-8")
    headings = [re.sub("<[^>]+>", "", h) for h in re.findall(r"<h[12]\b.*?</h[12]>", page, re.S)]
    wanted = re.findall(r"^##? (.+)$", read("CHANGELOG.md"), re.M)
    assert [h for h in headings if h in wanted] == wanted, (
        "each heading of CHANGELOG.md stands once in its page, in order"
    )
    assert "<title>Changelog" in page

class UnderAPath(Quiet):
    """Serves a site under a path, and the site's 404 page for whatever is not there, as GitHub
    Pages does."""

    home = "/"
    def translate_path(self, path):
        return (
            super().translate_path("/" + path.removeprefix(self.home))
            if path.startswith(self.home)
            else f"{self.directory}/nothing"
        )

    def send_error(self, code, *args):
        body = (Path(self.directory)/"404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

@pytest.fixture
def serve(site):
    "`serve(home)` serves the site under the path `home` and gives the address of its server."
    with ExitStack() as servers:
        def serve(home):
            handler = type("Handler", (UnderAPath,), {"home": home})
            return servers.enter_context(Server(functools.partial(handler, directory=str(site)))).at
        yield serve

@pytest.fixture
def page(browser):
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(15000)
    yield page
    context.close()

LOOK = (
    "(() => { const s = getComputedStyle(document.body); return [s.fontFamily, "
    "s.backgroundColor, s.color, s.lineHeight]; })()"
)


def dead_links(page, site, home):
    "The links of a page to its own server that do not lead to a file of the site."
    links = page.eval_on_selector_all("a[href]", "links => links.map(a => a.href)")
    paths = [
        urlsplit(link).path for link in links if urlsplit(link).netloc == urlsplit(page.url).netloc
    ]
    assert paths
    return [
        p
        for p in paths
        if p != urlsplit(page.url).path
        and not (p.startswith(home) and (site / p.removeprefix(home)).exists())
    ]


@pytest.mark.parametrize("home", [BASE, "/"])
@pytest.mark.parametrize("at", ["nothing", "no/such/page", "no/such/folder/"])
def test_a_page_that_is_not_there_leads_home(serve, page, site, home, at):
    address, trouble = serve(home), []
    page.goto(f"{address}{home}index.html")
    look, lost = page.evaluate(LOOK), f"{address}{home}{at}"
    page.on("pageerror", lambda e: trouble.append(f"script: {e}"))
    page.on(
        "console",
        lambda m: (
            m.type == "error"
            and m.location["url"] != lost
            and trouble.append(f"{m.text} ({m.location['url']})")
        ),
    )
    assert page.goto(lost).status == 404
    assert "no such page" in page.locator("main h1").inner_text().lower()
    assert page.evaluate(LOOK) == look, "the stylesheets of the site were not found"
    inside = page.eval_on_selector_all(
        "a[href*='#quarto-document-content']", "links => links.map(a => a.pathname)"
    )
    assert set(inside) <= {f"{home}{at}"}, "a link within the page leaves it"
    assert not (dead := dead_links(page, site, home)), f"links that lead nowhere: {dead}"
    if home == BASE: assert not trouble, "\n".join(trouble)
    page.locator("#quarto-search input").fill("spectrogram")
    page.locator(".sb-results [role=option]").first.wait_for(timeout=5000)
    assert not (dead := dead_links(page, site, home)), (
        f"what the search found leads nowhere: {dead}"
    )
    page.locator("main a").first.click()
    page.wait_for_url(f"{address}{home}index.html")

def test_the_404_page_opens_as_a_file(page, site):
    page.goto((site/"index.html").as_uri())
    look = page.evaluate(LOOK)
    page.goto((site/"404.html").as_uri())
    assert page.evaluate(LOOK) == look
    assert page.locator("main a").first.evaluate("a => a.href") == (site/"index.html").as_uri()

def test_the_404_page_is_not_among_the_pages(site):
    assert "404.html" not in (site/"search-index.js").read_text(encoding="utf-8")
    assert (site/"sitemap.xml").exists() == PUBLISHED, "a map of a site that has no address"
    if not PUBLISHED: return
    rows = ElementTree.parse(site/"sitemap.xml").getroot()
    assert len(rows) == len([*site.glob("*.html")]) - 1
    assert all(row[0].tag.endswith("loc") and "404.html" not in row[0].text for row in rows)


# ---- nothing that points nowhere

ADDRESSES = [SETTINGS["git_url"], SETTINGS["doc_host"]]

def test_no_page_leads_to_what_is_not_published(site):
    if PUBLISHED: return
    found = [
        (page.name, link)
        for page in site.glob("*.html")
        for address in ADDRESSES
        for link in re.findall(rf"{re.escape(address)}[^\s\"<]*", page.read_text(encoding="utf-8"))
    ]
    assert not found

def test_no_text_around_the_book_leads_there_either():
    if PUBLISHED: return
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md"):
        assert not [a for a in ADDRESSES if a in read(name)], name

REPO = SETTINGS["git_url"]
LINKS = (
    f'<a href="{REPO}/blob/main/LICENSE">licence</a> <a class="x" href="{REPO}/issues">issues</a> '
    f'<a href="{REPO}/blob/main/sirenbook/signals.py#L7">line</a> <a href="signals.html">here</a>'
)

def test_links_to_files_lead_to_copies_until_the_repository_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(finish, "PUBLISHED", False)
    assert finish.at_home(LINKS, tmp_path) == (
        '<a href="files/LICENSE">licence</a> issues '
        '<a href="files/sirenbook/signals.py">line</a> <a href="signals.html">here</a>')
    assert (tmp_path/"files"/"LICENSE").read_bytes() == (ROOT/"LICENSE").read_bytes()

def test_once_published_the_links_return(tmp_path, monkeypatch):
    for module in (finish, rendering): monkeypatch.setattr(module, "PUBLISHED", True)
    assert finish.at_home(LINKS, tmp_path) == LINKS
    line = finish.under_title("<main></main>", ROOT/"nbs"/"01_signals.ipynb", 25)
    assert f'<a href="{REPO}/blob/main/nbs/01_signals.ipynb">the notebook on GitHub</a>' in line
    about = read("nbs/about.qmd")
    assert rendering.installed(about) == about
    monkeypatch.setattr(rendering, "PUBLISHED", False)
    assert SETTINGS["doc_host"] not in rendering.installed(about)


# ---- installing

def texts():
    "What a person reads: by its name, the text."
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "data/README.md",
        "benchmarks/README.md",
    ):
        yield name, read(name)
    for path in (*(ROOT/"nbs").glob("*.qmd"), *(ROOT/"sirenbook").rglob("*.py")):
        yield path.name, path.read_text(encoding="utf-8")
    for path in (ROOT/"nbs").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.name, "\n".join("".join(c["source"]) for c in cells)

def test_every_install_line_works_from_a_copy():
    "It installs a dot, with extras or without, a file, or another project by its name; never ours."
    wrong = [f"{name}: {line}" for name, text in texts()
             for line in re.findall(r"pip install[^\n`]*", text)
             if re.search(r"""pip install ([^&]* )?["'\\]*sirenbook\b""", line)]
    assert not wrong, f"no package index has it: {wrong}"

def test_the_site_takes_the_install_line_from_the_settings(monkeypatch):
    given = 'pip install .\npip install ".[train]" and `pip install .`, '
    given += 'pip install -e ".[dev]", pip install ./x'
    assert rendering.installed(given) == given or SETTINGS["install"] != "."
    monkeypatch.setitem(rendering.SETTINGS, "install", "sirenbook")
    assert rendering.installed(given) == (
        'pip install sirenbook\npip install "sirenbook[train]" and '
        '`pip install sirenbook`, pip install -e ".[dev]", pip install ./x'
    )
    assert (SETTINGS["install"] == "sirenbook") == PUBLISHED, "one of them was forgotten"

def test_the_wheel_holds_the_package(tmp_path):
    "What `make wheel` runs gives one file with every module, the weights and the tables."
    run = re.search(
        r"^wheel:.*\n.*\n\t@\$\(BIN\)/python (-m pip wheel .*)$", read("Makefile"), re.M
    )[1]
    shutil.copytree(
        ROOT / "sirenbook", tmp_path / "sirenbook", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in (
        "setup.py",
        "pyproject.toml",
        *re.findall(r"\S+\.\w+|LICENSE", read("MANIFEST.in")),
    ):
        shutil.copy(ROOT/name, tmp_path)
    command = [sys.executable, *run.split(), "--no-build-isolation"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    wheel, = (tmp_path/"dist").glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("sirenbook/")}
    there = {p.relative_to(ROOT).as_posix() for p in (ROOT/"sirenbook").rglob("*")
             if p.suffix in (".py", ".csv", ".json", ".tflite")}
    assert there <= held, f"not in the wheel: {there - held}"


# ---- publishing

def workflow(name): return yaml.safe_load(read(f".github/workflows/{name}.yml"))

@pytest.fixture(scope="module")
def jobs():
    "The jobs of the workflow that tests and publishes the book."
    return workflow("book")["jobs"]

GATE = "sed -n 's/^published *= */published=/p' settings.ini >> \"$GITHUB_OUTPUT\""

def test_what_publishes_waits_for_the_settings(jobs, tmp_path):
    """The site and the package are published once settings.ini says so, which the jobs read
    themselves."""
    release = workflow("release")["jobs"]
    for job, publishing in ((jobs["test"], jobs["deploy"]), (release["build"], release["upload"])):
        step, = [s for s in job["steps"] if s.get("id") == "settings"]
        assert step["run"].splitlines()[0] == GATE
        assert job["outputs"] == {"published": "${{ steps.settings.outputs.published }}"}
        assert re.search(r"needs\.(test|build)\.outputs\.published == 'True'", publishing["if"])
    ask = GATE.partition(" >>")[0]
    said = subprocess.run(["sh", "-c", ask], cwd=ROOT, capture_output=True, text=True).stdout
    assert said == f"published={PUBLISHED}\n"

def test_the_package_is_uploaded_by_trusted_publishing():
    upload = workflow("release")["jobs"]["upload"]
    assert workflow("release")[True] == {"push": {"tags": ["v*"]}}
    assert upload["permissions"] == {"id-token": "write"} and upload["environment"] == "release"
    assert not re.search("password|secrets", str(workflow("release")))
    assert "twine check" in read(".github/workflows/release.yml") and "release.yml" in read(
        "CONTRIBUTING.md"
    )


def steps(job, action=""): return [s for s in job["steps"] if s.get("uses", "").startswith(action)]

def test_workflow_runs_targets_that_exist(jobs):
    commands = "\n".join(s.get("run", "") for job in jobs.values() for s in steps(job))
    run = re.findall(r"\bmake ([a-z]+)", commands)
    assert {"test", "site"} <= set(run) <= TARGETS and run.index("test") < run.index("site")
    for program in re.findall(r"\btools/\S+", commands):
        assert (ROOT / program).is_file(), f"{program} is not there"


def test_only_a_tested_main_is_published(jobs):
    book = workflow("book")
    assert book[True] == {
        "push": {"branches": ["main"]},
        "pull_request": None,
    }  # YAML reads `on` as true
    deploy, main = jobs["deploy"], f"github.ref == 'refs/heads/{SETTINGS['branch']}'"
    assert deploy["needs"] == "test" and deploy["if"].startswith(f"{main} && ")
    assert deploy["permissions"] == {"pages": "write", "id-token": "write"}
    assert book["permissions"] == {"contents": "read"}
    assert "permissions" not in jobs["test"], "what runs the code of a pull request may only read"
    assert (
        deploy["environment"]["name"] == "github-pages"
        and len(steps(deploy, "actions/deploy-pages@")) == 1
    )


def test_what_is_published_is_what_was_rendered(jobs):
    names = [s.get("run") or s.get("uses", "") for s in jobs["test"]["steps"]]
    upload, = steps(jobs["test"], "actions/upload-pages-artifact@")
    assert upload["with"]["path"] == SETTINGS["doc_path"]
    assert upload["if"] == jobs["deploy"]["if"].replace("needs.test", "steps.settings")
    assert names.index("make site") < names.index(upload["uses"])

def test_every_job_ends_and_every_action_has_a_version(jobs):
    for name, job in (*jobs.items(), *workflow("release")["jobs"].items()):
        assert job.get("timeout-minutes", 0) > 0, f"{name} may run for hours"
        for step in steps(job, "actions/"):
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), step["uses"]
    setup, = steps(jobs["test"], "actions/setup-python@")
    assert (
        setup["with"]["cache"] == "pip"
        and setup["with"]["cache-dependency-path"] == "constraints.txt"
    )
