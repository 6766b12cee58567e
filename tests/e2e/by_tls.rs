//! The suites over TLS: with `E2E_TLS` set every listener of a test speaks it, and clients reach it by way of a
//! TLS client of rustls' here, one a connection, that passes on bytes, ends and resets as they come. The tests stay as they are.

use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};

thread_local! {
    /// Whether the test on this thread does.
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the suites run over TLS, or this test does.
pub fn is_on() -> bool {
    HERE.get() || std::env::var_os("E2E_TLS").is_some()
}

/// Runs one property over TLS, beside others.
pub fn run(property: impl Future<Output = ()>) {
    HERE.set(true);
    crate::run(property);
    HERE.set(false);
}

/// The same of one that may take longer.
pub fn run_within(time_max: Duration, property: impl Future<Output = ()>) {
    HERE.set(true);
    crate::run_within(time_max, property);
    HERE.set(false);
}

/// A file of `tests/certificates`.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/certificates")
        .join(name)
}

/// A listener `URL=APP`, by TLS.
pub fn secure(listener: &str) -> String {
    let (scheme, rest) = listener.split_once("://").expect("a URL");
    let scheme = match scheme {
        "websocket" | "ws" => "wss",
        "text" => "tls+text",
        "frame" => "tls+frame",
        "http" => "https",
        other => other,
    };
    format!("{scheme}://{rest}")
}

/// The scheme of a listener's URL without TLS.
pub fn plain_scheme(scheme: &str) -> Option<&'static str> {
    match scheme {
        "wss" => Some("ws"),
        "tls+text" => Some("text"),
        "tls+frame" => Some("frame"),
        "https" => Some("http"),
        _ => None,
    }
}

/// A client's configuration that trusts the tests' authority.
pub fn client_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let make = || {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(file("ca.pem")).expect("a certificate");
        roots.add(ca).expect("a root");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_safe_default_protocol_versions();
        let config = builder.expect("versions").with_root_certificates(roots);
        Arc::new(config.with_no_client_auth())
    };
    Arc::clone(CONFIG.get_or_init(make))
}

/// An address by which clients without TLS reach one with it.
pub fn front(server: SocketAddr) -> SocketAddr {
    // Tests have runtimes of their own, of one thread, which they may block.
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    runtime.spawn(async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        while let Ok((plain, _)) = listener.accept().await {
            tokio::spawn(pass_on(plain, server));
        }
    });
    address
}

/// What is to be sent, and who waits until it is.
type Sealed = (Vec<u8>, Option<oneshot::Sender<()>>);

/// One connection.
#[derive(Clone)]
struct Link {
    tls: Arc<Mutex<ClientConnection>>,
    sealed: mpsc::UnboundedSender<Sealed>,
    /// Whether one side has been reset, which the other is to be, too.
    cut: watch::Sender<bool>,
    /// Whether the handshake is done.
    shaken: watch::Sender<bool>,
}

impl Link {
    /// Does something with the connection, and has sent what that leads to, in its order.
    fn with<T>(
        &self,
        waits: Option<oneshot::Sender<()>>,
        step: impl FnOnce(&mut ClientConnection) -> T,
    ) -> T {
        let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let done = step(&mut tls);
        let mut bytes = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut bytes).expect("a buffer takes all");
        }
        if !bytes.is_empty() || waits.is_some() {
            let _ = self.sealed.send((bytes, waits));
        }
        done
    }

    async fn was_cut(&self) {
        let _ = self.cut.subscribe().wait_for(|cut| *cut).await;
    }
}

async fn pass_on(plain: TcpStream, server: SocketAddr) {
    let Ok(socket) = TcpStream::connect(server).await else {
        return reset(&plain);
    };
    let _ = (plain.set_nodelay(true), socket.set_nodelay(true));
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = ClientConnection::new(client_config(), name).expect("a client");
    tls.set_buffer_limit(None);
    let (sealed, unsent) = mpsc::unbounded_channel();
    let link = Link {
        tls: Arc::new(Mutex::new(tls)),
        sealed,
        cut: watch::Sender::new(false),
        shaken: watch::Sender::new(false),
    };
    let (plain_in, plain_out) = plain.into_split();
    let (sealed_in, sealed_out) = socket.into_split();
    link.with(None, |_| ());
    let cut = link.cut.subscribe();
    tokio::spawn(send(unsent, sealed_out, cut));
    let sealing = link.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = seal(plain_in, &sealing) => {}
            () = sealing.was_cut() => {}
        }
    });
    tokio::select! {
        () = open(sealed_in, plain_out, &link) => {}
        () = link.was_cut() => {}
    }
}

/// Sends what was sealed. No bytes at all are the end, of which a reset is told.
async fn send(
    mut sealed: mpsc::UnboundedReceiver<Sealed>,
    mut socket: OwnedWriteHalf,
    mut cut: watch::Receiver<bool>,
) {
    let all = async {
        while let Some((bytes, waits)) = sealed.recv().await {
            if socket.write_all(&bytes).await.is_err() {
                return false;
            }
            if let Some(waits) = waits {
                let _ = waits.send(());
            }
        }
        true
    };
    let ends = tokio::select! {
        ends = all => ends,
        cut = cut.wait_for(|cut| *cut) => cut.is_err(),
    };
    match ends {
        true => drop(socket.shutdown().await),
        false => reset_half(socket),
    }
}

/// Resets a connection of which this is one half: dropped as it is, it would end the connection in order before.
fn reset_half(half: OwnedWriteHalf) {
    reset(half.as_ref());
    half.forget();
}

async fn seal(mut plain: OwnedReadHalf, link: &Link) {
    let mut buffer = vec![0; 64 << 10];
    let _ = link.shaken.subscribe().wait_for(|shaken| *shaken).await;
    loop {
        let Ok(length) = plain.read(&mut buffer).await else {
            link.cut.send_replace(true);
            return;
        };
        let (waits, sent) = oneshot::channel();
        let is_over = link.with(Some(waits), |tls| {
            match length {
                0 => tls.send_close_notify(),
                _ => tls.writer().write_all(&buffer[..length]).expect("no limit"),
            }
            length == 0
        });
        if sent.await.is_err() || is_over {
            return;
        }
    }
}

async fn open(mut sealed: OwnedReadHalf, mut plain: OwnedWriteHalf, link: &Link) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = match sealed.read(&mut buffer).await {
            Ok(0) => break,
            Ok(length) => length,
            Err(_) => {
                reset_half(plain);
                link.cut.send_replace(true);
                return;
            }
        };
        let mut bytes = Vec::new();
        let mut closed = false;
        let mut at = 0;
        while at < length {
            let step = link.with(None, |tls| {
                let mut rest = &buffer[at..length];
                let taken = tls.read_tls(&mut rest).unwrap_or(length - at);
                let state = tls.process_new_packets();
                let mut more = vec![
                    0;
                    state
                        .as_ref()
                        .map_or(0, |state| state.plaintext_bytes_to_read())
                ];
                let read = tls.reader().read(&mut more).unwrap_or_default();
                bytes.extend_from_slice(&more[..read]);
                if !tls.is_handshaking() {
                    link.shaken
                        .send_if_modified(|shaken| !std::mem::replace(shaken, true));
                }
                closed |= state.as_ref().is_ok_and(|state| state.peer_has_closed());
                state.map(|_| taken).map_err(|error| error.to_string())
            });
            match step {
                Ok(taken) => at += taken.max(1),
                Err(error) => panic!("the server's TLS: {error}"),
            }
        }
        if plain.write_all(&bytes).await.is_err() {
            return;
        }
        if closed {
            break;
        }
    }
    let _ = plain.shutdown().await;
}

fn reset(socket: &TcpStream) {
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
