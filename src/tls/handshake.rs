//! The handshake, which rustls does: records in, records out, until both sides have the same keys. Then the connection is
//! rustls' no longer: what is left of it are the [`Records`].
//!
//! rustls is given one record at a time, so that it never sees one that follows the handshake. Bound:
//! [`HANDSHAKE_BYTES_MAX`] of input in all, of which a record or an unfinished message is held at any time; and what
//! rustls keeps, some 10 KB.

use std::fmt;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ConnectionTrafficSecrets, HandshakeKind, ProtocolVersion, ServerConfig};

use super::failure::{Failure, alert_name};
use super::names;
use super::records::{Cipher, Given, HEADER_BYTES, RECORD_BYTES_MAX, Records, Version};
use super::secrets::Secrets;

/// So much may a client send before the handshake is done. A ClientHello has 500 to 2,000 bytes; a client's
/// certificates may have more.
pub const HANDSHAKE_BYTES_MAX: usize = 64 << 10;

/// By so many bytes a stranger is known.
const HEAD_BYTES: usize = 8;

/// What began a connection that should begin with TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotTls {
    /// An HTTP request. Its client understands [`NotTls::answer`].
    Http,
    /// Something else.
    Other,
}

/// What a connection has begun with.
enum FirstBytes {
    /// It cannot be said yet.
    Short,
    Tls,
    Strange(NotTls),
}

impl FirstBytes {
    fn of(head: &[u8]) -> FirstBytes {
        // The record of a ClientHello, whose version begins with 3 (RFC 8446, 5.1).
        match head {
            [] | [0x16] => return FirstBytes::Short,
            [0x16, 3, ..] => return FirstBytes::Tls,
            _ => {}
        }
        let letters = head.iter().take_while(|byte| byte.is_ascii_uppercase());
        match (letters.count(), head.len()) {
            // A method, as long as it may be.
            (HEAD_BYTES, _) => FirstBytes::Strange(NotTls::Http),
            (letters, all) if letters == all => FirstBytes::Short,
            (letters @ 3.., _) if head[letters] == b' ' => FirstBytes::Strange(NotTls::Http),
            _ => FirstBytes::Strange(NotTls::Other),
        }
    }
}

impl NotTls {
    /// What to send before the end. Nothing to those who would not understand it.
    pub fn answer(self) -> &'static [u8] {
        match self {
            NotTls::Http => {
                b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 94\r\n\
                  Connection: close\r\n\r\nThis port speaks TLS, and a request without it came. Use https:// or wss:// in \
                  place of http.\n"
            }
            NotTls::Other => b"",
        }
    }
}

/// Why there will be no connection. What there is to tell the client has been appended to the output.
#[derive(Debug)]
pub enum HandshakeError {
    /// It did not begin with TLS.
    NotTls(NotTls),
    /// The client gave up and said why, by an alert. A client that does not know the certificate's issuer says
    /// `unknown_ca`, for example.
    Alert(u8),
    /// The client sent more than [`HANDSHAKE_BYTES_MAX`].
    TooLong,
    /// rustls' reason.
    Refused(rustls::Error),
    /// A mistake of ours.
    Internal(&'static str),
}

impl HandshakeError {
    /// One word for it, to count by.
    pub fn kind(&self) -> &'static str {
        use rustls::Error as E;
        match self {
            HandshakeError::NotTls(_) => "plain",
            HandshakeError::Alert(_) => "alert",
            HandshakeError::TooLong => "too_long",
            HandshakeError::Refused(E::PeerIncompatible(_)) => "incompatible",
            HandshakeError::Refused(E::NoApplicationProtocol) => "incompatible",
            HandshakeError::Refused(E::InvalidCertificate(_) | E::NoCertificatesPresented) => {
                "certificate"
            }
            HandshakeError::Refused(_) => "protocol",
            HandshakeError::Internal(_) => "internal",
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::NotTls(NotTls::Http) => {
                f.write_str("an HTTP request came without TLS to a port that speaks it")
            }
            HandshakeError::NotTls(NotTls::Other) => {
                f.write_str("it is no TLS that came, to a port that speaks it")
            }
            HandshakeError::Alert(alert) => {
                write!(f, "the client gave up: {} ({alert})", alert_name(*alert))
            }
            HandshakeError::TooLong => {
                write!(f, "more than {HANDSHAKE_BYTES_MAX} bytes of TLS handshake")
            }
            HandshakeError::Refused(error) => write!(f, "{error}"),
            HandshakeError::Internal(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// How far the handshake is.
#[derive(Debug)]
pub enum HandshakeStep {
    /// More has to arrive.
    More,
    /// It is done. What follows is sealed.
    Done(Box<Established>),
}

/// What a handshake has come to.
#[derive(Debug)]
pub struct Established {
    /// What opens and seals from now on.
    pub records: Box<Records>,
    /// Whether the client had been here before, and showed a ticket.
    pub is_resumed: bool,
    /// Whether it was asked to begin again, with another key exchange.
    pub is_retried: bool,
    /// What a client is called that has shown a certificate: its names, as `client_ca_file` has vouched for them.
    pub client_names: Vec<Box<str>>,
}

/// A handshake under way.
pub struct TlsHandshake {
    connection: Option<Box<UnbufferedServerConnection>>,
    secrets: Secrets,
    /// What rustls has not done with, and a record that has come in part.
    held: Vec<u8>,
    /// How many bytes of `held` rustls has seen.
    seen: usize,
    /// How much the client has sent.
    taken: usize,
    /// What we send is sealed from now on, or will be soon.
    has_answered: bool,
}

impl fmt::Debug for TlsHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsHandshake")
            .field("taken", &self.taken)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

/// What one call of rustls has led to.
enum Next {
    Again,
    More,
    Done,
}

impl TlsHandshake {
    /// One that has not begun.
    pub fn new(config: &Arc<ServerConfig>) -> Result<TlsHandshake, HandshakeError> {
        let connection = UnbufferedServerConnection::new(config.clone());
        Ok(TlsHandshake {
            connection: Some(Box::new(connection.map_err(HandshakeError::Refused)?)),
            secrets: Secrets::default(),
            held: Vec::new(),
            seen: 0,
            taken: 0,
            has_answered: false,
        })
    }

    /// How many bytes are held here, beside what rustls has.
    pub fn bytes_held(&self) -> usize {
        self.held.capacity()
    }

    /// Takes what belongs to the handshake off `input`'s beginning: how much, and how far it is. Appends what is to be
    /// sent to `output`, also when it fails. It is over with an error, and with [`HandshakeStep::Done`].
    pub fn advance(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> (usize, Result<HandshakeStep, HandshakeError>) {
        if self.taken < HEAD_BYTES && self.held.len() == self.taken {
            let rest = &input[..input.len().min(HEAD_BYTES - self.taken)];
            match FirstBytes::of(&[&self.held[..], rest].concat()) {
                FirstBytes::Tls => {}
                FirstBytes::Short => {
                    self.held.extend_from_slice(rest);
                    self.taken += rest.len();
                    return (rest.len(), Ok(HandshakeStep::More));
                }
                FirstBytes::Strange(stranger) => {
                    output.extend_from_slice(stranger.answer());
                    return (input.len(), Err(HandshakeError::NotTls(stranger)));
                }
            }
        }
        let mut at = 0;
        loop {
            let missing = self.missing();
            let rest = &input[at..];
            let part = &rest[..missing.min(rest.len())];
            self.held.extend_from_slice(part);
            at += part.len();
            self.taken += part.len();
            if self.taken > HANDSHAKE_BYTES_MAX {
                self.connection = None;
                self.tell(output);
                return (at, Err(HandshakeError::TooLong));
            }
            if part.len() < missing {
                return (at, Ok(HandshakeStep::More));
            }
            if self.missing() > 0 {
                continue;
            }
            match self.process(output) {
                Ok(Next::Done) => return (at, self.finish().map(HandshakeStep::Done)),
                Ok(_) => {}
                Err(error) => return (at, Err(error)),
            }
        }
    }

    /// How many bytes the record that rustls has not seen still lacks, as far as its header tells. None of one that is
    /// too long: rustls has the answer to that.
    fn missing(&self) -> usize {
        let record = &self.held[self.seen..];
        let Some(header) = record.first_chunk::<HEADER_BYTES>() else {
            return HEADER_BYTES - record.len();
        };
        let length = HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]));
        match length > RECORD_BYTES_MAX {
            true => 0,
            false => length - record.len(),
        }
    }

    /// Has rustls take the record.
    fn process(&mut self, output: &mut Vec<u8>) -> Result<Next, HandshakeError> {
        loop {
            let Some(connection) = &mut self.connection else {
                return Err(HandshakeError::Internal("the handshake is over"));
            };
            let held = &mut self.held;
            let before = output.len();
            let (discard, next) = self.secrets.catch(|| {
                let UnbufferedStatus { discard, state, .. } = connection.process_tls_records(held);
                (discard, state.map(|state| take_step(state, output)))
            });
            self.has_answered |= output.len() > before;
            self.held.drain(..discard.min(self.held.len()));
            self.seen = self.held.len();
            match next {
                Ok(Ok(Next::Again)) => {}
                // Before the client has finished, too.
                Ok(Ok(Next::Done)) if connection.is_handshaking() => return Ok(Next::More),
                Ok(Ok(next)) => {
                    if self.held.is_empty() {
                        self.held = Vec::new();
                    }
                    return Ok(next);
                }
                Ok(Err(error)) => return Err(error),
                Err(error) => {
                    if let rustls::Error::AlertReceived(alert) = error {
                        self.connection = None;
                        return Err(HandshakeError::Alert(alert.into()));
                    }
                    drain_alert(connection, &mut self.held, output);
                    self.connection = None;
                    if output.len() == before {
                        self.tell(output);
                    }
                    return Err(HandshakeError::Refused(error));
                }
            }
        }
    }

    /// Tells of an end that rustls has no alert for, as long as that needs no key.
    fn tell(&self, output: &mut Vec<u8>) {
        if !self.has_answered {
            output.extend_from_slice(&[21, 3, 3, 0, 2, 2, Failure::Decode.alert()]);
        }
    }

    /// Takes the keys out of rustls.
    fn finish(&mut self) -> Result<Box<Established>, HandshakeError> {
        let gone = HandshakeError::Internal("the handshake is over");
        let connection = self.connection.take().ok_or(gone)?;
        if !self.held.is_empty() {
            return Err(HandshakeError::Internal("rustls has left a record"));
        }
        let kind = connection.handshake_kind();
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        let client_names = certificate.map(|certificate| names::of_client(certificate));
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
            Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
            _ => return Err(HandshakeError::Internal("an unknown version of TLS")),
        };
        let (extracted, _) = (*connection)
            .dangerous_into_kernel_connection()
            .map_err(HandshakeError::Refused)?;
        let (cipher, theirs) = given(&extracted.rx)?;
        let (_, ours) = given(&extracted.tx)?;
        let secrets = self.secrets.client.take().zip(self.secrets.server.take());
        let records = Records::extracted(version, cipher, theirs, ours, secrets);
        let differ = HandshakeError::Internal("rustls has told other secrets than it uses");
        Ok(Box::new(Established {
            records: Box::new(records.ok_or(differ)?),
            is_resumed: kind == Some(HandshakeKind::Resumed),
            is_retried: kind == Some(HandshakeKind::FullWithHelloRetryRequest),
            client_names: client_names.unwrap_or_default(),
        }))
    }
}

fn take_step<Side>(
    state: ConnectionState<'_, '_, Side>,
    output: &mut Vec<u8>,
) -> Result<Next, HandshakeError> {
    match state {
        ConnectionState::EncodeTlsData(encode) => {
            append(encode, output);
            Ok(Next::Again)
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Ok(Next::Again)
        }
        ConnectionState::BlockedHandshake => Ok(Next::More),
        ConnectionState::WriteTraffic(_) => Ok(Next::Done),
        ConnectionState::PeerClosed | ConnectionState::Closed => Err(HandshakeError::Alert(0)),
        // Early data are refused, and no record that follows the handshake gets here.
        _ => Err(HandshakeError::Internal("data amid a handshake")),
    }
}

/// Appends what rustls has to send.
fn append<Side>(mut encode: EncodeTlsData<'_, Side>, output: &mut Vec<u8>) {
    let start = output.len();
    if let Err(EncodeError::InsufficientSize(error)) = encode.encode(&mut []) {
        output.resize(start + error.required_size, 0);
        let written = encode.encode(&mut output[start..]).unwrap_or_default();
        output.truncate(start + written);
    }
}

/// After a failure rustls may still have something to send, an alert at last. It is not called after that, since it would
/// go on with what has failed.
fn drain_alert(
    connection: &mut UnbufferedServerConnection,
    held: &mut Vec<u8>,
    output: &mut Vec<u8>,
) {
    loop {
        let status = connection.process_tls_records(held);
        let UnbufferedStatus { discard, state, .. } = status;
        match state {
            Ok(ConnectionState::EncodeTlsData(encode)) => {
                let start = output.len();
                append(encode, output);
                if is_alert(&output[start..]) {
                    return;
                }
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
            _ => return,
        }
        held.drain(..discard.min(held.len()));
    }
}

/// Whether a record is an alert: by its type, or sealed with TLS 1.3, where no other message is as short.
fn is_alert(record: &[u8]) -> bool {
    matches!(record, [21, ..] | [23, 3, 3, 0, 19, ..])
}

fn given(
    (sequence, secrets): &(u64, ConnectionTrafficSecrets),
) -> Result<(Cipher, Given<'_>), HandshakeError> {
    let (cipher, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (Cipher::ChaCha20Poly1305, key, iv)
        }
        _ => return Err(HandshakeError::Internal("an unknown cipher")),
    };
    let given = Given {
        key: key.as_ref(),
        iv: iv.as_ref(),
        sequence: *sequence,
    };
    Ok((cipher, given))
}
