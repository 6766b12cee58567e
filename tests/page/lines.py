"""Web pages that have a browser post lines to line and frame listeners: nobody hears of it."""

import socket

from server import Server

BODY = "all:x\nwatcher:x\n"
# What a page may do without being asked first, and what a browser asks the server about.
ATTACKS = """
async ([urls, body]) => {
  const tries = [];
  for (const url of urls) {
    for (const method of ["POST", "GET", "PUT", "PURGE"]) {
      for (const mode of ["no-cors", "cors"]) {
        const options = { method, mode, body: method === "GET" ? undefined : body };
        tries.push(new Promise((done) => done(fetch(url, options))));
      }
    }
    const form = document.createElement("form");
    Object.assign(form, { action: url, method: "POST", enctype: "text/plain", target: "hidden" });
    form.append(Object.assign(document.createElement("textarea"), { name: "x", value: body }));
    document.body.append(form);
    form.submit();
    const image = new Image();
    tries.push(new Promise((done) => { image.onerror = () => done(); image.onload = () => done("loaded"); }));
    image.src = url + "all:x";
  }
  await new Promise((done) => setTimeout(done, 500));
  return Promise.race([Promise.allSettled(tries), new Promise((done) => setTimeout(done, 3_000, "late"))]);
}
"""


class Watcher:
    """A relay client by text lines."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.lines = self.socket.makefile(encoding="utf-8")
        self.say("watcher")
        assert self.hear() == "login success, your uid is watcher"

    def say(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def hear(self):
        return self.lines.readline().rstrip("\n")


def check_lines(browser, binary):
    listeners = [f"{scheme}://127.0.0.1:0={app}" for scheme in ("text", "frame") for app in ("relay", "push", "echo")]
    server = Server(binary, *[word for one in listeners for word in ("--listen", one)])
    try:
        watcher = Watcher(server.others["relay", "text"])
        page = browser.new_context().new_page()
        # A document that has no policy of its own.
        page.goto(server.page.replace("127.0.0.1", "localhost") + "/healthz")
        page.evaluate("document.body.append(Object.assign(document.createElement('iframe'), { name: 'hidden' }))")
        ports = [server.others[app, scheme] for scheme in ("text", "frame") for app in ("relay", "push", "echo")]
        page.evaluate(ATTACKS, [[f"http://127.0.0.1:{port}/" for port in ports], BODY])
        watcher.say("watcher:only this")
        assert watcher.hear() == "only this"
        assert "HTTP" in server.complaints(), server.complaints()
        page.context.close()
        server.stop()
    finally:
        server.kill()
