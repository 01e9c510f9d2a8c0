"""Ask pip about many worlds: one process, one fork for each, because importing pip takes longer than deciding.

    python pipdriver.py REQUEST ANSWER

Runs on the host and in containers, in any Python from 3.9 on, with the pip that Python finds (20.3 or newer).
The request is a JSON object: `jobs`, each a list of pip's arguments and the file for its output; `parallel`;
`serve`, a tree of static files to be served on the loopback, whose URL replaces INDEX in arguments; `path`,
where a pip lies that goes before the interpreter's own. The answer has `pip` (its version) and `codes` by
output file.
"""

import functools
import importlib
import json
import os
import signal
import socket
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

INDEX = "{index}"
JSON_TYPE = "application/vnd.pypi.simple.v1+json"


class Pages(SimpleHTTPRequestHandler):
    """Static files; a page is JSON for those who can read it, where there is one."""

    protocol_version = "HTTP/1.1"

    def send_head(self):
        page = os.path.join(self.translate_path(self.path), "index.json")
        if JSON_TYPE in self.headers.get("Accept", "") and os.path.isfile(page):
            self.path += "index.json"
        return super().send_head()

    def guess_type(self, path):
        return JSON_TYPE if str(path).endswith("index.json") else super().guess_type(path)

    def log_message(self, format, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # clients that hang up


def serve(directory):
    """(process, URL) of a server of its own process: forks of a process with threads may hang."""
    handler = functools.partial(Pages, directory=directory)
    server = Server(("127.0.0.1", 0), handler)
    child = os.fork()
    if child:
        server.socket.close()
        return child, f"http://127.0.0.1:{server.server_address[1]}"
    server.serve_forever()
    os._exit(0)


# What pip loads on its way, in one version or another; else each fork would have to compile it.
MODULES = (
    *("cli.autocompletion", "cli.index_command", "cli.main_parser", "commands.download", "commands.install"),
    *("distributions.sdist", "distributions.wheel", "metadata.importlib", "metadata.pkg_resources"),
    *("operations.build.metadata", "operations.prepare", "resolution.resolvelib.resolver", "utils.wheel"),
)


def import_pip():
    """pip's version and main function, without what only a real network needs.

    For its user agent pip runs three programs, and each of its sessions reads all certificates.
    """
    import pip
    import pip._internal.cli.main as cli
    import pip._internal.network.session as session

    for name in MODULES:
        try:
            importlib.import_module("pip._internal." + name)
        except ImportError:
            continue  # not in this version
    importlib.import_module("encodings.cp437")  # of zip archives
    session.user_agent = lambda: "pip"
    command = sys.modules.get("pip._internal.cli.index_command")
    if hasattr(command, "_create_truststore_ssl_context"):
        command._create_truststore_ssl_context = lambda: None
    return pip.__version__, cli.main


def ask(main, arguments, output):
    """Ask in a fork of its own; its process id."""
    child = os.fork()
    if child:
        return child
    os.makedirs(os.path.dirname(output), exist_ok=True)
    with open(output, "wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    code = 3
    try:
        code = main(arguments)
    finally:
        sys.stdout.flush()
        os._exit(code)


def main(request, answer):
    with open(request) as stream:
        asked = json.load(stream)
    server, url = serve(asked["serve"]) if asked.get("serve") else (0, "")
    if asked.get("path"):
        sys.path.insert(0, asked["path"])
    version, pip_main = import_pip()
    jobs, codes, running = asked["jobs"], {}, {}
    while jobs or running:
        while jobs and len(running) < asked["parallel"]:
            arguments, output = jobs.pop()
            running[ask(pip_main, [word.replace(INDEX, url) for word in arguments], output)] = output
        child, status = os.wait()
        codes[running.pop(child)] = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    if server:
        os.kill(server, signal.SIGKILL)
    with open(answer, "w") as stream:
        json.dump({"pip": version, "codes": codes}, stream)


if __name__ == "__main__":
    socket.setdefaulttimeout(60)
    main(*sys.argv[1:])
