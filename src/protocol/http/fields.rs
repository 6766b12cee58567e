//! The header fields that decide something here, gathered in one pass over those of a parsed head.
//!
//! What must be single is noted as such, and judged when it is asked for: a field that nobody asks for
//! may come twice. Called by [`super::head`]; it borrows from the head's bytes and keeps nothing else.

use super::response::HttpError;

/// A field that may be there once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    Host,
    Origin,
    Authorization,
    ContentType,
    ContentLength,
    TransferEncoding,
    Expect,
    WebSocketKey,
    WebSocketVersion,
}

const FIELDS: usize = Field::WebSocketVersion as usize + 1;

/// What has come of a field that may be there once.
#[derive(Clone, Copy, Debug)]
enum Found<'a> {
    Nothing,
    Value(&'a [u8]),
    Twice,
}

/// The fields of one head.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    found: [Found<'a>; FIELDS],
    /// Whether Connection names `close`.
    pub closes: bool,
    /// Whether Connection names `keep-alive`, which only HTTP/1.0 has to ask for.
    pub keeps_alive: bool,
    /// Whether any field says that a proxy forwards this.
    pub forwarded: bool,
    /// Whether Connection names `upgrade`.
    pub upgrades: bool,
    /// Whether Upgrade names `websocket`.
    pub to_websocket: bool,
    /// Whether Sec-WebSocket-Protocol is there, so that it is looked for.
    pub offers_protocols: bool,
}

impl<'a> Fields<'a> {
    /// Of the fields as httparse gives them: values without the white space around them.
    pub fn new(all: &[httparse::Header<'a>]) -> Fields<'a> {
        let mut fields = Fields {
            found: [Found::Nothing; FIELDS],
            closes: false,
            keeps_alive: false,
            forwarded: false,
            upgrades: false,
            to_websocket: false,
            offers_protocols: false,
        };
        for each in all {
            fields.note(each.name, each.value);
        }
        fields
    }

    fn note(&mut self, name: &str, value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let single = match name.len() {
            4 if is("host") => Field::Host,
            6 if is("origin") => Field::Origin,
            6 if is("expect") => Field::Expect,
            12 if is("content-type") => Field::ContentType,
            13 if is("authorization") => Field::Authorization,
            14 if is("content-length") => Field::ContentLength,
            17 if is("transfer-encoding") => Field::TransferEncoding,
            17 if is("sec-websocket-key") => Field::WebSocketKey,
            21 if is("sec-websocket-version") => Field::WebSocketVersion,
            22 if is("sec-websocket-protocol") => {
                self.offers_protocols = true;
                return;
            }
            7 if is("upgrade") => {
                self.to_websocket |= tokens(value).any(|token| is_token(token, "websocket"));
                return;
            }
            10 if is("connection") => {
                for token in tokens(value) {
                    self.closes |= is_token(token, "close");
                    self.keeps_alive |= is_token(token, "keep-alive");
                    self.upgrades |= is_token(token, "upgrade");
                }
                return;
            }
            _ => {
                self.forwarded |= tells_of_proxy(name);
                return;
            }
        };
        let found = &mut self.found[single as usize];
        *found = match found {
            Found::Nothing => Found::Value(value),
            Found::Value(_) | Found::Twice => Found::Twice,
        };
    }

    /// The value of a field that may be there once.
    pub fn single(&self, field: Field) -> Result<Option<&'a str>, HttpError> {
        let bad = |text| Err(HttpError::new(400, text));
        match self.found[field as usize] {
            Found::Nothing => Ok(None),
            Found::Twice => bad("a header field that must be single is there twice"),
            Found::Value(value) => match std::str::from_utf8(value) {
                Ok(value) => Ok(Some(value)),
                Err(_) => bad("a header field is not UTF-8"),
            },
        }
    }
}

/// Whether a field of this name is what proxies add.
fn tells_of_proxy(name: &str) -> bool {
    const PREFIX: &str = "x-forwarded-";
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        3 => is("via"),
        9 => is("forwarded") || is("x-real-ip"),
        _ => name
            .get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)),
    }
}

/// The parts of a comma-separated value.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

fn is_token(token: &[u8], name: &str) -> bool {
    token.eq_ignore_ascii_case(name.as_bytes())
}
