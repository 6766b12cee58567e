//! The library by its public API, over real sockets: what an app sees of the request by which a connection came.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use ringpost::app::{App, Context, Login};
use ringpost::{Config, Listen, Message, Roles, Running, Server, Site};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, WebSocket, client};

/// Generous, for the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells each newcomer by what request it came, and again what it has kept of that when it says something, from its
/// uid's home if it says one.
struct Mirror;

impl App for Mirror {
    type Session = String;
    type Note = ();
    const NAMESPACE: &'static str = "mirror";
    const LOGIN: Login = Login::Optional;
    const HEADERS: &'static [&'static str] = &["cookie", "X-Tenant"];

    fn on_connect(&mut self, cx: &mut Context<'_, Self>) -> String {
        let mut seen = vec![
            format!("{:?}", cx.protocol().expect("it speaks something")),
            cx.listener().expect("it came by one").to_owned(),
            cx.peer().expect("it has an address").ip().to_string(),
        ];
        if let Some(request) = cx.request() {
            seen.push(request.path().to_owned());
            seen.push(request.query().unwrap_or("no query").to_owned());
            seen.extend(request.parameter("room"));
            seen.extend(
                request
                    .cookies()
                    .map(|(name, value)| format!("{name}={value}")),
            );
            let text = String::from_utf8_lossy;
            let fields = request.headers();
            let mut fields: Vec<_> = fields
                .map(|(name, value)| format!("{name}: {}", text(value)))
                .collect();
            // Of different names nobody promises an order: clients have their own.
            fields.sort_by_key(|field| !field.starts_with("cookie:"));
            seen.append(&mut fields);
        }
        let seen = seen.join(" | ");
        cx.send(&seen);
        seen
    }

    fn on_message(&mut self, cx: &mut Context<'_, Self>, seen: &mut String, message: Message<'_>) {
        assert!(cx.request().is_none(), "it is shown once");
        match message.text() {
            Some("again") => cx.send(&*seen),
            uid => cx.bind_uid(uid.unwrap_or_default()),
        }
    }
}

fn start() -> Running {
    let config = Config {
        cores: 2,
        trusted_proxies: vec!["127.0.0.0/8".parse().expect("a network")],
        ..Config::default()
    };
    let site = Site {
        assets: &[],
        reach: &[Mirror::NAMESPACE],
        roles: Roles::ALL,
    };
    // The site's port is asked for twice, so it cannot be 0.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    let listens = [
        Listen::new("websocket://127.0.0.1:0"),
        Listen::new("text://127.0.0.1:0"),
        Listen::new(format!("websocket://127.0.0.1:{port}/chat")),
        Listen::events(),
    ];
    let server = Server::new(config)
        .listen(listens, || Mirror)
        .site(format!("http://127.0.0.1:{port}"), site);
    // The server tries a ring on the thread that starts it, which may interrupt that one's calls for a while.
    let started = thread::spawn(|| server.start()).join().expect("no panic");
    started.expect("the server starts")
}

/// The address of the nth listener.
fn address(server: &Running, number: usize) -> SocketAddr {
    server.listening()[number].address.ip().expect("of IP")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream
}

fn open(
    address: SocketAddr,
    target: &str,
    fields: &[(&'static str, &str)],
) -> WebSocket<TcpStream> {
    let url = format!("ws://{address}{target}");
    let mut request = url.into_client_request().expect("a URL");
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).expect("a value");
        request.headers_mut().append(*name, value);
    }
    let (socket, _) = client(request, connect(address)).expect("it opens");
    socket
}

fn next(socket: &mut WebSocket<TcpStream>) -> String {
    let message = socket.read().expect("a message comes");
    message.into_text().expect("it is text").to_string()
}

#[test]
fn an_app_sees_the_request_it_came_by() {
    let server = start();
    let (plain, at_path) = (address(&server, 0), address(&server, 3));
    let fields = [
        ("Cookie", "sid=abc; theme=dark"),
        ("X-Secret", "not asked for"),
        ("x-tenant", "blue"),
        ("X-Forwarded-For", "198.51.100.7"),
    ];
    for (address, listener, path) in [
        (plain, "websocket://127.0.0.1:0".to_owned(), "/a/b"),
        (at_path, format!("websocket://{at_path}/chat"), "/chat"),
    ] {
        let target = format!("{path}?room=k%C3%BCche+1&x");
        let mut socket = open(address, &target, &fields);
        let seen = next(&mut socket);
        let expected = format!(
            "WebSocket | {listener} | 198.51.100.7 | {path} | room=k%C3%BCche+1&x | küche 1 | sid=abc | theme=dark | \
             cookie: sid=abc; theme=dark | X-Tenant: blue"
        );
        assert_eq!(seen, expected);
        // What it has kept comes along, whichever core is its home.
        for uid in ["one", "two", "three"] {
            for said in [uid, "again"] {
                socket
                    .send(tungstenite::Message::text(said))
                    .expect("it goes");
            }
            assert_eq!(next(&mut socket), expected, "{uid}");
        }
    }
    let bare = next(&mut open(plain, "/", &[]));
    assert_eq!(
        bare,
        "WebSocket | websocket://127.0.0.1:0 | 127.0.0.1 | / | no query"
    );
    server.stop().expect("it stops");
}

/// Whatever a connection comes by that is no request has no part of one.
#[test]
fn lines_come_by_no_request() {
    let server = start();
    let mut stream = connect(address(&server, 1));
    let mut lines = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut seen = String::new();
    for said in ["", "again\n"] {
        stream.write_all(said.as_bytes()).expect("it goes");
        seen.clear();
        lines.read_line(&mut seen).expect("a line comes");
        assert_eq!(seen, "Text | text://127.0.0.1:0 | 127.0.0.1\n");
    }
    drop((stream, lines));
    server.stop().expect("it stops");
}

#[test]
fn who_listens_by_events_shows_its_request() {
    let server = start();
    let site = address(&server, 2);
    let mut stream = connect(site);
    let request = format!(
        "GET /v1/events?uid=one&room=attic HTTP/1.1\r\nHost: {site}\r\nCookie: a=1\r\nX-Tenant: red\r\n\
         X-Secret: not asked for\r\ncookie: b=2\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it goes");
    let mut answer = String::new();
    let mut bytes = [0; 1024];
    // The head ends with an empty line, and so does the event.
    while answer.matches("\n\n").count() < 2 {
        let length = stream.read(&mut bytes).expect("an event comes");
        assert!(length > 0, "it ended: {answer}");
        answer += &String::from_utf8_lossy(&bytes[..length]).replace("\r\n", "\n");
    }
    let seen = format!(
        "data: Sse | http://{site} | 127.0.0.1 | /v1/events | uid=one&room=attic | attic | a=1 | b=2 | "
    );
    let (_, body) = answer.split_once("\n\n").expect("a head");
    assert!(body.contains(&seen), "{body}");
    assert!(
        body.contains("cookie: a=1 | cookie: b=2 | X-Tenant: red"),
        "{body}"
    );
    assert!(!body.contains("not asked for"), "{body}");
    drop(stream);
    server.stop().expect("it stops");
}
