//! The baseline that ringpost is measured against does the work it is measured by: `single_process`,
//! driven by `ringpost bench`, loses nothing, and answers as ringpost's relay does.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// The example's program, which `cargo test` builds beside our own.
fn program() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_ringpost"))
        .parent()
        .expect("a folder");
    let program = folder.join("examples/single_process");
    assert!(
        program.exists(),
        "{program:?} is missing: `cargo build --example single_process` makes it"
    );
    program
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Server {
        let mut child = Command::new(program())
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        let url = line.split_whitespace().nth(1).expect("a URL").to_owned();
        Server { child, url }
    }

    async fn connect(&self) -> WebSocketStream<TcpStream> {
        let address = self.url.strip_prefix("ws://").expect("a websocket");
        let stream = TcpStream::connect(address).await.expect("a connection");
        client_async(&self.url, stream).await.expect("an upgrade").0
    }

    async fn log_in(&self, uid: &str) -> WebSocketStream<TcpStream> {
        let mut client = self.connect().await;
        let answer = ask(&mut client, uid).await;
        assert_eq!(answer, format!("login success, your uid is {uid}"));
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn ask(client: &mut WebSocketStream<TcpStream>, message: &str) -> String {
    client.send(Message::text(message)).await.expect("sent");
    hear(client).await
}

async fn hear(client: &mut WebSocketStream<TcpStream>) -> String {
    let message = client.next().await.expect("a message").expect("no error");
    message.to_text().expect("UTF-8").to_owned()
}

#[test]
fn it_carries_the_load_without_a_fault() {
    let server = Server::start();
    for workload in [
        &["echo"][..],
        &["relay", "--in-flight", "10"],
        &["broadcast", "--in-flight", "16"],
        &["connect"],
    ] {
        let outcome = Command::new(env!("CARGO_BIN_EXE_ringpost"))
            .arg("bench")
            .args(workload)
            .args(["--url", &server.url, "--connections", "50"])
            .args(["--seconds", "0.5", "--warmup", "0.1"])
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!(outcome.status.code(), Some(0), "{workload:?}: {said}");
    }
}

#[tokio::test]
async fn it_answers_as_a_relay_does() {
    let server = Server::start();
    let mut a = server.log_in("a").await;
    let mut b = server.log_in("b").await;
    a.send(Message::text("b:1:2")).await.expect("sent");
    assert_eq!(hear(&mut b).await, "1:2");
    assert_eq!(ask(&mut b, "all:x").await, "x");
    assert_eq!(hear(&mut a).await, "x");
    assert_eq!(ask(&mut a, "c:x").await, "error: uid \"c\" is not online");
    let expected = "error: expected \"uid:message\" or \"all:message\"";
    assert_eq!(ask(&mut a, "nonsense").await, expected);
    assert_eq!(ask(&mut a, ":x").await, expected);
    for uid in ["", "all", "a:b"] {
        let mut client = server.connect().await;
        assert!(ask(&mut client, uid).await.starts_with("error: "), "{uid}");
        let end = client.next().await.expect("a close").expect("no error");
        let Message::Close(Some(frame)) = end else {
            panic!("{uid}: {end:?}");
        };
        assert_eq!(u16::from(frame.code), 4006);
    }
    // The newest of a uid stays, and the older one's end does not unmap it.
    let mut newer = server.log_in("b").await;
    assert!(matches!(b.next().await, Some(Ok(Message::Close(_)))));
    drop(b);
    assert_eq!(ask(&mut newer, "b:still here").await, "still here");
}
