"""A webhooks' receiver on Python's own HTTP server.

    python3 receiver.py PORT SECRET [CERTIFICATE KEY]

Prints `port N`, then a JSON line for each request before it is answered. Answers as lines on stdin say from then on:
`status 200` (so it begins), `status 429 2` (with Retry-After), `status 302 URL`, `slow SECONDS`, `hang`.
"""
import json, os, ssl, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../examples/webhooks"))
from verify import is_genuine

port, secret = int(sys.argv[1]), sys.argv[2].encode()
behaviour = ["status", "200"]
printing = threading.Lock()


def say(text):
    with printing:
        print(text, flush=True)


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        what, *more = behaviour
        signature = self.headers["Ringpost-Signature"]
        say(json.dumps({
            "path": self.path,
            "type": self.headers["Content-Type"],
            "agent": self.headers["User-Agent"],
            "signature": signature,
            "genuine": is_genuine(secret, signature, body),
            "answer": " ".join(behaviour),
            "time": time.time(),
            "body": body.decode(),
        }))
        if what == "hang":
            time.sleep(3600)
        if what == "slow":
            time.sleep(float(more[0]))
        status = int(more[0]) if what == "status" else 200
        self.send_response(status)
        if more[1:]:
            self.send_header("Location" if status < 400 else "Retry-After", more[1])
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


ThreadingHTTPServer.daemon_threads = True
server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
if sys.argv[3:]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[3:])
    server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
say(f"port {server.server_address[1]}")
for line in sys.stdin:
    behaviour = line.split()
    say(f"told {line.strip()}")
