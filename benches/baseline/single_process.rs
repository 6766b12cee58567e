//! The relay on one thread, as most people would write it in Rust: tokio and tokio-tungstenite, a map
//! of uids, a task and a queue for each connection. It is what ringpost's figures are held against.
//!
//! `cargo run --release --example single_process`, then `ringpost bench echo`. It answers as ringpost's
//! relay does, but knows one connection a uid (the newest) and has no timeouts. Nothing in it is clever
//! and nothing is held back: it shares a broadcast's bytes, sends what waits in one write, and has the
//! allocator that ringpost has.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Parser;
use core_affinity::CoreId;
use futures_util::{SinkExt, StreamExt};
use ringpost::ident::{EVERYBODY, check_uid};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

#[path = "../../src/allocator.rs"]
mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

/// Messages that may wait for one connection. Whoever falls further behind is closed, as a gap could
/// not be seen.
const QUEUE_MESSAGES_MAX: usize = 4096;
/// Longest message from a client, as in ringpost.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// What tungstenite reads into, for each connection. Its own default, 128 KiB, serves large messages.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// Connections that may wait to be accepted, as in ringpost.
const BACKLOG: u32 = 4096;
/// How long accepting rests when there are no descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(10);

const EXPECTED: &str = "error: expected \"uid:message\" or \"all:message\"";

/// A relay server on one thread: the baseline that ringpost is measured against.
///
/// The first message of a websocket is its uid, each later one "uid:message" or "all:message". Try it
/// with `ringpost bench echo --url ws://127.0.0.1:1234`.
#[derive(Parser)]
#[command(name = "single_process")]
struct Options {
    /// Where to listen; port 0 takes a free one, which the first line on stdout names
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1234")]
    listen: SocketAddr,

    /// The CPU to stay on; otherwise the system's scheduler decides
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("single_process: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if let Some(id) = options.cpu
        && !core_affinity::set_for_current(CoreId { id })
    {
        return Err(format!(
            "--cpu {id}: this process cannot be pinned to that CPU"
        ));
    }
    raise_descriptors();
    let address = options.listen;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(listen(address)))
        .map_err(|error| format!("cannot listen on {address}: {error}"))
}

/// The soft limit of descriptors becomes the hard one. If that fails, the low limit will tell.
fn raise_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a pointer to a limit that lives through them.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

async fn listen(address: SocketAddr) -> io::Result<()> {
    let listener = bind(address)?;
    println!("  relay  ws://{}", listener.local_addr()?);
    let peers = Peers::default();
    for number in 0.. {
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            }
        };
        let peers = peers.clone();
        tokio::spawn(async move {
            // Clients come and go as they like: how one ended is nobody's concern.
            let _ = serve(stream, number, &peers).await;
        });
    }
    Ok(())
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// One connection, from its handshake to its end.
async fn serve(stream: TcpStream, number: u64, peers: &Peers) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(READ_BUFFER_BYTES);
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    let Some(uid) = log_in(&mut socket).await? else {
        return Ok(());
    };
    let (queue, mut waiting) = mpsc::channel(QUEUE_MESSAGES_MAX);
    peers.add(&uid, Peer { number, queue });
    let ending = talk(&mut socket, &uid, &mut waiting, peers).await;
    peers.remove(&uid, number);
    ending
}

/// The uid of the first message, or nothing when the client has left or named none that can be.
async fn log_in(socket: &mut WebSocketStream<TcpStream>) -> Result<Option<String>, Error> {
    let message = loop {
        match socket.next().await.transpose()? {
            Some(message) if message.is_text() || message.is_binary() => break message,
            Some(_) => {}
            None => return Ok(None),
        }
    };
    let refusal = match message.to_text() {
        Err(_) => "a uid is UTF-8".to_owned(),
        Ok(uid) if uid.contains(':') => {
            "a uid has no colon here, since nobody could address it".to_owned()
        }
        Ok(uid) => match check_uid(uid) {
            Ok(()) => return Ok(Some(uid.to_owned())),
            Err(error) => error.to_string(),
        },
    };
    socket
        .send(Message::text(format!("error: {refusal}")))
        .await?;
    let bad_login = CloseFrame {
        code: 4006.into(),
        reason: "bad login".into(),
    };
    socket.close(Some(bad_login)).await?;
    Ok(None)
}

/// Reads and delivers, and writes what others deliver here, until the client leaves or is closed.
async fn talk(
    socket: &mut WebSocketStream<TcpStream>,
    uid: &str,
    waiting: &mut Receiver<Message>,
    peers: &Peers,
) -> Result<(), Error> {
    let answer = format!("login success, your uid is {uid}");
    socket.send(Message::text(answer)).await?;
    loop {
        tokio::select! {
            message = socket.next() => match message.transpose()? {
                Some(message) => if let Err(error) = peers.deliver(&message) {
                    socket.send(Message::text(error)).await?;
                },
                None => return Ok(()),
            },
            message = waiting.recv() => match message {
                Some(message) => {
                    socket.feed(message).await?;
                    // One write for all that waits.
                    while let Ok(message) = waiting.try_recv() {
                        socket.feed(message).await?;
                    }
                    socket.flush().await?;
                }
                // Fell too far behind, or its uid has logged in anew.
                None => return socket.close(None).await,
            },
        }
    }
}

/// Who is logged in.
#[derive(Clone, Default)]
struct Peers(Arc<Mutex<HashMap<String, Peer>>>);

/// A connection, as the others see it. Without its queue it closes itself.
struct Peer {
    number: u64,
    queue: Sender<Message>,
}

impl Peers {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest of a uid stays.
    fn add(&self, uid: &str, peer: Peer) {
        self.lock().insert(uid.to_owned(), peer);
    }

    /// A connection's end unmaps that connection alone.
    fn remove(&self, uid: &str, number: u64) {
        let mut peers = self.lock();
        if peers.get(uid).is_some_and(|peer| peer.number == number) {
            peers.remove(uid);
        }
    }

    /// Delivers a `to:body`. The error is what its sender is answered.
    fn deliver(&self, message: &Message) -> Result<(), String> {
        let (to, message) = match message {
            Message::Text(text) => {
                let (to, body) = text.split_once(':').ok_or(EXPECTED)?;
                (to, Message::text(body))
            }
            Message::Binary(bytes) => {
                let colon = bytes.iter().position(|&byte| byte == b':');
                let colon = colon.ok_or(EXPECTED)?;
                let to = std::str::from_utf8(&bytes[..colon]).map_err(|_| EXPECTED)?;
                (to, Message::Binary(bytes.slice(colon + 1..)))
            }
            // tungstenite answers pings and closes by itself.
            _ => return Ok(()),
        };
        if to.is_empty() {
            return Err(EXPECTED.to_owned());
        }
        let mut peers = self.lock();
        if to == EVERYBODY {
            peers.retain(|_, peer| peer.queue.try_send(message.clone()).is_ok());
            return Ok(());
        }
        let peer = peers.get(to);
        let peer = peer.ok_or_else(|| format!("error: uid {to:?} is not online"))?;
        if peer.queue.try_send(message).is_err() {
            peers.remove(to);
        }
        Ok(())
    }
}
