"""EventSource in a real browser: what is pushed, who is let in, and what comes of an end."""

import time

from server import Server

# Gathers what a stream brings, in the window.
LISTEN = """
([url, withCredentials]) => {
  const seen = { messages: [], closes: [], opened: 0, errors: 0 };
  const source = new EventSource(url, { withCredentials });
  source.onopen = () => seen.opened++;
  source.onmessage = (event) => seen.messages.push(event.data);
  source.onerror = () => seen.errors++;
  source.addEventListener("close", (event) => {
    seen.closes.push(JSON.parse(event.data));
    if (seen.closes.at(-1).code === 4007) source.close();
  });
  Object.assign(window, { seen, source });
}
"""
OPEN, CLOSED = 1, 2
# Comes back after 1 to 5 s.
RETURN_TIMEOUT = 20


def listen(page, url, with_credentials=False):
    page.evaluate(LISTEN, [url, with_credentials])


def wait(page, condition, timeout=10):
    """Asks again and again, for the page's policy keeps the browser from doing so itself."""
    end = time.monotonic() + timeout
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"{condition}: {page.evaluate('seen')}"
        time.sleep(0.02)


def check_own_page(page, server):
    page.goto(server.page)
    listen(page, "/v1/events?" + "uid=a%20b%2B%E6%B0%B4")
    wait(page, "seen.opened === 1")
    lines = ['{"uid":"a b+水"}', '{"uid":\r"a b+水",\r\r"html":"<b>: data: x"}', '{"uid":"all"}']
    assert server.tell(*lines) == ["ok"] * 3
    wait(page, "seen.messages.length === 3")
    got = page.evaluate("seen.messages")
    assert got == [line.replace("\r", "\n") for line in lines], got


def check_return(page, server):
    """A server that stops says so, and the browser comes back by itself when there is one again."""
    server.stop()
    wait(page, "seen.errors > 0")
    assert page.evaluate("seen.closes")[0]["code"] == 1001
    server.start()
    wait(page, "seen.opened === 2", RETURN_TIMEOUT)
    assert server.tell('{"uid":"a b+水","again":1}') == ["ok"]
    wait(page, "seen.messages.length === 4")


def check_kick(page, server):
    assert server.tell("kick a b+水") == ["ok"]
    wait(page, f"source.readyState === {CLOSED}")
    assert page.evaluate("seen.closes.at(-1)") == {"code": 4007, "reason": "kicked"}
    assert server.tell("online a b+水") == ["fail"]


def check_refusals(page):
    """A browser does not come back where it was told a status."""
    for url in ("/v1/events?uid=all", "/v1/events"):
        listen(page, url)
        wait(page, f"source.readyState === {CLOSED} && seen.errors === 1")
    listen(page, "/v1/events?uid=taken")
    wait(page, "seen.opened === 1")
    page.evaluate("window.first = source")
    listen(page, "/v1/events?uid=taken")
    wait(page, f"source.readyState === {CLOSED} && seen.errors === 1")
    assert page.evaluate("first.readyState") == OPEN


def check_other_origin(page, server):
    """A page of another origin, on a document that has no policy of its own."""
    own = server.page
    page.goto(own.replace("127.0.0.1", "localhost") + "/healthz")
    # With the browser's cookies and without: the former takes more of the answer.
    page.context.add_cookies([{"name": "session", "value": "1", "url": own}])
    for number, with_credentials in enumerate((False, True)):
        listen(page, f"{own}/v1/events?uid=other-{number}", with_credentials)
        wait(page, "seen.opened === 1")
        assert server.tell(f'{{"uid":"other-{number}"}}') == ["ok"]
        wait(page, "seen.messages.length === 1")
    token = "{ headers: { Authorization: 'Bearer x' } }"
    for credentials in ("omit", "include"):
        options = token.replace("{ headers", f"{{ credentials: '{credentials}', headers")
        status = page.evaluate(f"fetch('{own}/v1/events?uid=all', {options}).then((it) => it.status)")
        assert status == 400, status


def check_events(browser, binary):
    context = browser.new_context()
    page = context.new_page()
    server = Server(binary, "--uid-policy", "reject")
    try:
        check_own_page(page, server)
        check_return(page, server)
        check_kick(page, server)
        check_refusals(page)
        check_other_origin(page, server)
        page.close()
        server.stop()
    finally:
        server.kill()
    listed = Server(binary, "--origins", "https://shop.example")
    try:
        page = context.new_page()
        page.goto(listed.page.replace("127.0.0.1", "localhost") + "/healthz")
        listen(page, listed.page + "/v1/events?uid=a")
        wait(page, f"source.readyState === {CLOSED}")
        assert page.evaluate("seen.opened") == 0
        listed.stop()
    finally:
        listed.kill()
        context.close()
