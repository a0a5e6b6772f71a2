"""Serve the site to its writer: it is rendered again when its sources change, and the pages that are open then load themselves again."""
import http.server, subprocess, sys, threading, time
from pathlib import Path

from common import NBS, ROOT, BookError, say, shown

EVERY_S = .5
RELOAD = """<script>setInterval(async () => {
  try { if (await (await fetch("/__version")).text() !== "%s") location.reload(); } catch {}
}, 1000);</script>"""

def watched():
    "The files that the site is made from, each with its time and size."
    files = [p for p in NBS.rglob("*") if not any(o[0] == "." for o in p.relative_to(NBS).parts) and p.name != "nbdev.yml"]  # nbdev writes it
    for pattern in ("sirenbook/*.py", "tools/*.py", "tools/site/*", "*.md", "*.cff", "settings.ini"): files += ROOT.glob(pattern)
    seen = {}
    for path in files:
        try: stat = path.stat()
        except FileNotFoundError: continue
        seen[path] = stat.st_mtime_ns, stat.st_size
    return seen

def rendered(out):
    "Render the site in a process of its own, which reads modules anew; what went wrong in one sentence, if anything did."
    begin = time.time()
    done = subprocess.run([sys.executable, Path(__file__).with_name("book.py"), "site", "--out", out], capture_output=True, text=True)
    if done.returncode: return (done.stderr.strip().splitlines() or ["the renderer died"])[-1].removeprefix("book: ")
    for line in done.stdout.splitlines():
        if line.startswith("  note:"): say(line)
    say(f"{time.strftime('%H:%M:%S')}  rendered {shown(out)} in {time.time()-begin:.1f} s")

class Pages(http.server.SimpleHTTPRequestHandler):
    "The files of the site; only as they are sent do its pages get the script that loads them again."
    def do_GET(self):
        version, path = self.server.version, Path(self.translate_path(self.path))
        if self.path == "/__version": return self.send(version, "text/plain")
        for _ in range(20):  # between the old site and the new there is a moment without any
            if Path(self.directory).is_dir(): break
            time.sleep(.05)
        if path.is_dir() and self.path.split("?")[0].endswith("/"): path /= "index.html"
        if path.suffix != ".html" or not path.is_file(): return super().do_GET()
        self.send(path.read_text(encoding="utf-8").replace("</head>", RELOAD % version + "</head>", 1), "text/html")
    def send(self, text, kind):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def end_headers(self):
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()
    def log_message(self, *args): pass

class Server(http.server.ThreadingHTTPServer):
    def __init__(self, out, host, port):
        self.version = str(time.time_ns())
        try: super().__init__((host, port), lambda *args: Pages(*args, directory=str(out)))
        except (OSError, OverflowError) as e:
            raise BookError(f"nothing can be served at {host}, port {port} ({getattr(e, 'strerror', None) or e}); name another with --port") from None
    def handle_error(self, *args):
        if not isinstance(sys.exception(), ConnectionError): super().handle_error(*args)  # a reader who left is none

def serve(args):
    with Server(args.out, args.host, args.port) as server:
        say("Rendering ...")
        seen = watched()
        if wrong := rendered(args.out): raise BookError(wrong)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            say(f"Serving {shown(args.out)} at http://{args.host}:{server.server_port}/ and rendering again at each change. Stop with Ctrl-C.")
            while True:
                time.sleep(EVERY_S)
                if (now := watched()) == seen: continue
                seen = now  # what changes while it renders is a change of its own
                if wrong := rendered(args.out): say(f"Not rendered, the site stays as it was: {wrong}")
                else: server.version = str(time.time_ns())
        except KeyboardInterrupt: say("\nStopped.")
        server.shutdown()
