//! Tokens as an issuer makes them, key files, and clients that bring a token by each way there is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::client::Client;
use crate::server::Server;

pub const SECRET: &str = "a secret that has 32 characters!";
pub const OTHER: &str = "another one that has 32 as well!";

/// A file that is there as long as this is.
pub struct File(pub PathBuf);

impl File {
    pub fn new(text: &str) -> File {
        let name = format!("ringpost-e2e-{}-{}", std::process::id(), fastrand::u64(..));
        let file = File(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    pub fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("a file is written");
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Seconds since 1970, so many from now.
pub fn in_seconds(seconds: i64) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    now.as_secs()
        .checked_add_signed(seconds)
        .expect("after 1970")
}

/// A plain token.
pub fn sign(secret: &str, uid: &str, expires: u64) -> String {
    let claim = format!("{}.{expires}", URL_SAFE_NO_PAD.encode(uid));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mac = hmac::sign(&key, claim.as_bytes());
    format!("{claim}.{}", URL_SAFE_NO_PAD.encode(mac))
}

/// A good one.
pub fn token(uid: &str) -> String {
    sign(SECRET, uid, in_seconds(600))
}

/// A server whose clients prove who they are.
pub async fn server(cores: usize, auth: &str, keys: &File, more: &[(&str, &str)]) -> Server {
    let settings = [("AUTH", auth), ("AUTH_KEY_FILE", keys.path())];
    Server::with(cores, &[&settings, more].concat()).await
}

/// How a token comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    Query,
    Authorization,
    Subprotocol,
    /// The first message; also over text and frame.
    Message(&'static str),
    /// The same after `auth `.
    Marked(&'static str),
}

pub const CARRIERS: &[Carrier] = &[
    Carrier::Query,
    Carrier::Authorization,
    Carrier::Subprotocol,
    Carrier::Message("ws"),
    Carrier::Message("text"),
    Carrier::Message("frame"),
    Carrier::Marked("ws"),
    Carrier::Marked("text"),
    Carrier::Marked("frame"),
];

impl Carrier {
    pub fn scheme(self) -> &'static str {
        match self {
            Carrier::Message(scheme) | Carrier::Marked(scheme) => scheme,
            _ => "ws",
        }
    }

    /// Connects with a token; the status of the handshake if that was refused.
    pub async fn connect(self, server: &Server, app: &str, token: &str) -> Result<Client, u16> {
        let address = server.address(self.scheme(), app);
        let bearer = format!("Bearer {token}");
        let offers = format!("ringpost, ringpost.token.{token}");
        let origin = ("Origin", "http://127.0.0.1:8080");
        match self {
            Carrier::Query => {
                Client::shake(address, &format!("/?a=b&token={token}"), &[origin]).await
            }
            // No page can send this, so it needs no origin.
            Carrier::Authorization => {
                Client::shake(address, "/", &[("Authorization", &bearer)]).await
            }
            Carrier::Subprotocol => {
                let offers = ("Sec-WebSocket-Protocol", offers.as_str());
                Client::shake(address, "/", &[origin, offers]).await
            }
            Carrier::Message(_) | Carrier::Marked(_) => {
                let mut client = open(address, self.scheme()).await;
                let mark = match self {
                    Carrier::Marked(_) => "auth ",
                    _ => "",
                };
                client.send(&format!("{mark}{token}")).await;
                Ok(client)
            }
        }
    }
}

/// Connects without a token.
pub async fn open(address: SocketAddr, scheme: &str) -> Client {
    match scheme {
        "ws" => {
            let origin = ("Origin", "http://127.0.0.1:8080");
            Client::shake(address, "/", &[origin]).await.expect("101")
        }
        scheme => Client::connect(scheme, address).await,
    }
}
