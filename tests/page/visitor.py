"""A visitor: one browser profile with the page open, and what went wrong in it."""

import re

DESKTOP = {"width": 1440, "height": 900}

# Counts what must not happen, from before the page's first script on.
WATCH = """
window.violations = []; window.shifted = 0; window.shifts = [];
addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective + " " + e.blockedURI));
new PerformanceObserver((list) => {
  for (const e of list.getEntries()) {
    if (e.hadRecentInput) continue;
    shifted += e.value;
    const name = (node) => node && (node.id || node.className || node.nodeName);
    shifts.push([e.value, ...e.sources.map(({ node }) => `${name(node)} in ${name(node?.parentElement)}`)]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""

# What the browser itself says of a server that is away; nothing else may be on the console.
AWAY = re.compile(r"^WebSocket connection to 'ws://127\.0\.0\.1:\d+/?' failed"
                  r"|^Failed to load resource: net::ERR_CONNECTION_(REFUSED|RESET)")


class Visitor:
    """One browser profile with the page open in it."""

    def __init__(self, browser, server, **context):
        context.setdefault("viewport", DESKTOP)
        self.context = browser.new_context(**context)
        self.context.add_init_script(WATCH)
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.server = server
        self.server_may_be_away = False
        self.complaints = []
        self.page.on("console", self.console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("dialog", lambda dialog: self.dialog(dialog))
        self.page.on("request", self.request)

    def visit(self):
        response = self.page.goto(self.server.page)
        self.see("#server[data-state=online]")
        return response

    def console(self, message):
        if message.type not in ("error", "warning"):
            return
        if self.server_may_be_away and AWAY.match(message.text):
            return
        self.complaints.append(f"console: {message.text}")

    def dialog(self, dialog):
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def request(self, request):
        if not request.url.startswith((self.server.page + "/", "data:")):
            self.complaints.append(f"request to {request.url}")
        if request.url.endswith("/x"):
            self.complaints.append("an injected image was asked for")

    def at(self, selector):
        return self.page.locator(selector)

    def see(self, selector, timeout=10_000):
        self.page.wait_for_selector(selector, timeout=timeout, state="attached")

    def enter(self, *fields):
        """Fills inputs in by id, and submits the last one's form with the Enter key."""
        for name, text in fields:
            self.page.fill(f"#{name}", text)
        self.page.press(f"#{fields[-1][0]}", "Enter")

    def last(self, log, kind):
        return self.at(f"#{log} .line.{kind}").last

    def receiver(self, uid):
        return self.at("#receivers li").filter(has=self.page.get_by_text(uid, exact=True))

    def check_clean(self):
        state = self.page.evaluate(
            "({ violations, shifted, shifts, pwned: window.pwned,"
            " injected: document.querySelectorAll('main img, main script, main iframe').length })"
        )
        assert not self.complaints, self.complaints
        assert state["violations"] == [], state
        assert "pwned" not in state or state["pwned"] is None, "injected script ran"
        assert state["injected"] == 0, "a message became an element"
        assert state["shifted"] < 0.02, f"the layout shifts by {state['shifted']}: {state['shifts']}"
