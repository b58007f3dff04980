"""A contents API that answers as it is told: run inside the machine, by a plain Python. One JSON document as its argument."""

from __future__ import annotations

import http.server
import json
import sys
import time

TOLD = json.loads(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        with open("/run/fake/requests", "a") as log:
            log.write(json.dumps({"path": self.path, "headers": dict(self.headers)}) + "\n")
        answer = TOLD[0] if len(TOLD) == 1 else TOLD.pop(0)
        time.sleep(answer.get("sleep", 0))
        self.send_response(answer.get("status", 200))
        for name, value in answer.get("headers", {"Content-Type": "application/vnd.github.raw+json; charset=utf-8"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.get("body", "").encode("latin-1") * answer.get("times", 1))

    def log_message(self, *_: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
