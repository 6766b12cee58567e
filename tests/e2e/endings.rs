//! How connections end: what was sent before still counts, and who does not end is ended.

use std::time::{Duration, Instant};

use libc::SIGTERM;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::client::Got;
use crate::http::Http;
use crate::server::Server;
use crate::{on_cores, seed};

on_cores! {
    a_back_end_that_reads_no_answers_and_goes_has_sent_what_it_sent,
    an_http_peer_that_never_reads_does_not_hold_the_drain,
    on_epoll_nobody_keeps_the_core_to_himself,
}

async fn a_back_end_that_reads_no_answers_and_goes_has_sent_what_it_sent(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.push("ws", &uid).await;
    for round in 0..10 {
        let mut backend = TcpStream::connect(server.address("text", "push-backend"))
            .await
            .expect("a connection");
        let line = |n| format!("{{\"uid\":\"{uid}\",\"n\":\"{round}-{n}\"}}");
        backend
            .write_all(format!("{}\n", line(0)).as_bytes())
            .await
            .expect("it is taken");
        client.expect(&line(0)).await;
        // The answer to the first line lies unread, which makes this close a reset. (All fits the window
        // that the server's kernel offers at first, so that none is left in ours.)
        backend.readable().await.expect("an answer");
        let rest: String = (1..500).map(|n| format!("{}\n", line(n))).collect();
        backend
            .write_all(rest.as_bytes())
            .await
            .expect("it is taken");
        drop(backend);
        for n in 1..500 {
            client.expect(&line(n)).await;
        }
    }
    server.wait_closed("reset by peer", 10).await;
}

async fn an_http_peer_that_never_reads_does_not_hold_the_drain(cores: usize) {
    let mut server = Server::start(cores).await;
    let address = server.address("http", "page");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut deaf = socket.connect(address).await.expect("a connection");
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    // It asks until the server takes no more, for it does not get rid of the answers.
    loop {
        let asking = deaf.write_all(request.as_bytes());
        match tokio::time::timeout(Duration::from_secs(1), asking).await {
            Ok(asked) => asked.expect("the server reads"),
            Err(_) => break,
        }
    }
    let start = Instant::now();
    server.signal(SIGTERM);
    let status = server.wait_exit(Duration::from_secs(12)).await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "it took {:?}",
        start.elapsed()
    );
}

async fn on_epoll_nobody_keeps_the_core_to_himself(cores: usize) {
    let server = Server::with(cores, &[("DRIVER", "epoll")]).await;
    let address = server.address("http", "page");
    let mut floods = Vec::new();
    for _ in 0..2 * cores {
        let flood = TcpStream::connect(address).await.expect("a connection");
        let (mut reading, mut writing) = flood.into_split();
        let requests = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(1_000);
        floods.push(tokio::spawn(async move {
            while writing.write_all(requests.as_bytes()).await.is_ok() {}
        }));
        floods.push(tokio::spawn(async move {
            let _ = tokio::io::copy(&mut reading, &mut tokio::io::sink()).await;
        }));
    }
    sleep(Duration::from_millis(300)).await;
    for _ in 0..5 {
        let began = server.begin();
        let mut client = server.connect("ws", "echo").await;
        assert_eq!(client.ask("hello").await, "hello");
        let mut http = Http::dial(address).await;
        http.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        assert_eq!(http.response().await.expect("an answer").status, 200);
        // All cores have as much to do.
        let took = server.time_since(&began, cores);
        assert!(took < Duration::from_secs(3), "it took {took:?}");
        client.send("bye").await;
        assert!(matches!(client.next().await, Got::Text(text) if text == "bye"));
    }
    for flood in floods {
        flood.abort();
    }
}
