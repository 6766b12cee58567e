//! Server-Sent Events: clients that send what they should not, or go at the worst moment.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::listening::{Came, Listening};
use crate::server::Server;
use crate::{on_cores, on_drivers};

on_cores! {
    what_follows_the_request_is_ignored_so_far,
    requests_come_in_any_pieces,
}

on_drivers! {
    those_that_go_at_once_leave_nothing,
}

async fn what_follows_the_request_is_ignored_so_far(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let mut backend = server.backend().await;
    // A second request has no answer, a body no meaning.
    let request = format!(
        "GET /v1/events?uid=u HTTP/1.1\r\nHost: {address}\r\nContent-Length: 3\r\n\r\nabc\
         GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n"
    );
    let socket = TcpStream::connect(address).await.expect("a connection");
    let mut one = Listening::over(socket, &request).await;
    assert_eq!(one.status, 200);
    one.socket.write_all(&[b'x'; 10_000]).await.expect("sent");
    one.expect_silence().await;
    assert_eq!(backend.ask("{\"uid\":\"u\"}").await, "ok");
    one.expect("{\"uid\":\"u\"}").await;
    one.socket.write_all(&[0xff; 10_000]).await.expect("sent");
    one.expect_close(1008).await;
    server.wait_closed("policy", 1).await;
}

async fn requests_come_in_any_pieces(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let request = format!("GET /v1/events?uid=u HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.set_nodelay(true).expect("no delay");
    let (last, first) = request.as_bytes().split_last().expect("bytes");
    for byte in first {
        socket.write_all(&[*byte]).await.expect("sent");
        tokio::task::yield_now().await;
    }
    let last = std::str::from_utf8(std::slice::from_ref(last)).expect("text");
    let one = Listening::over(socket, last).await;
    assert_eq!(one.status, 200);
    for head in [
        "GET /v1/events?uid=u HTTP/1.1\r\n\r\n",
        "GET /v1/events?uid=u HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /v1/events?uid=u HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: a\r\nOrigin: b\r\n\r\n",
        "GET /v1/events?uid=u HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /v1/events?uid=\x01 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ] {
        let socket = TcpStream::connect(address).await.expect("a connection");
        assert_eq!(Listening::over(socket, head).await.status, 400, "{head:?}");
    }
}

async fn those_that_go_at_once_leave_nothing(driver: &'static str) {
    let settings = [("DRIVER", driver), ("CLOSE_TIMEOUT", "200ms")];
    let server = Server::with(4, &settings).await;
    let address = server.address("http", "page");
    let mut kept = server.listen("kept").await;
    for number in 0..200 {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let request =
            format!("GET /v1/events?uid=u{number} HTTP/1.1\r\nHost: {address}\r\n\r\nmore");
        socket.write_all(request.as_bytes()).await.expect("sent");
        match number % 3 {
            // Reset, with an answer unread.
            0 => socket.set_zero_linger().expect("an option"),
            1 => socket.shutdown().await.expect("an end"),
            _ => {}
        }
    }
    let start = std::time::Instant::now();
    while server.count("uids").await > 1 || server.count("connections").await > 2 {
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "{}",
            server.stats().await
        );
        sleep(Duration::from_millis(50)).await;
    }
    let mut backend = server.backend().await;
    assert_eq!(backend.ask("{\"uid\":\"kept\"}").await, "ok");
    assert_eq!(
        kept.next().await,
        Came::Event(String::new(), "{\"uid\":\"kept\"}".to_owned())
    );
}
