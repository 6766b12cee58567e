//! The token by which a client proves who it is, as its request brings it: [`token`].
//!
//! It comes in the query (`?token=`, percent-encoded or not), as `Authorization: Bearer`, or, since a page can send no
//! field of its own with a websocket, as one of the subprotocols that it offers: `ringpost.token.` and the token. A token
//! is never answered. All of it takes one pass over the head, and nothing is kept.

use std::borrow::Cow;

use super::fields::Field;
use super::head::Head;
use super::query::unescape;
use super::response::HttpError;

/// What begins the offer of a subprotocol that is none, but a token.
const TOKEN_PREFIX: &str = "ringpost.token.";

/// A token, and how it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The token itself.
    pub text: String,
    /// Whether it came in an Authorization field, which no page can send.
    pub authorization: bool,
}

/// The subprotocols that a websocket's request offers, in their order.
pub fn subprotocols<'a>(head: &Head<'a>) -> impl Iterator<Item = &'a [u8]> {
    // Nearly nobody offers any, and then the head is not gone through again.
    let lists = head
        .offers_protocols()
        .then(|| head.each("Sec-WebSocket-Protocol"));
    lists
        .into_iter()
        .flatten()
        .flat_map(|list| list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii))
}

/// The token that a request brings, if any. More than one is a mistake, for somebody would have to choose.
pub fn token(head: &Head<'_>) -> Result<Option<Token>, HttpError> {
    let mut found: Option<(Cow<'_, str>, bool)> = None;
    let twice = HttpError::new(400, "more than one token");
    let mut note = |text, authorization| match found.replace((text, authorization)) {
        Some(_) => Err(twice),
        None => Ok(()),
    };
    if let Some(field) = head.single(Field::Authorization)?
        && let Some(token) = bearer(field)
    {
        note(Cow::Borrowed(token), true)?;
    }
    for pair in head.query.unwrap_or_default().split('&') {
        if let Some(token) = pair.strip_prefix("token=") {
            let token = match token.contains(['%', '+']) {
                true => unescape(token).map(Cow::Owned),
                false => Some(Cow::Borrowed(token)),
            };
            let token = token.ok_or(HttpError::new(400, "the token's escapes are no UTF-8"));
            note(token?, false)?;
        }
    }
    for offered in subprotocols(head) {
        if let Some(token) = offered.strip_prefix(TOKEN_PREFIX.as_bytes()) {
            let token = std::str::from_utf8(token);
            let token = token.map_err(|_| HttpError::new(400, "a token is ASCII"))?;
            note(Cow::Borrowed(token), false)?;
        }
    }
    Ok(found.map(|(text, authorization)| Token {
        text: text.into_owned(),
        authorization,
    }))
}

/// The token in an Authorization field, unless that is of another scheme (RFC 6750, section 2.1).
pub fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::{HeadScan, check_head};

    fn token_of(target: &str, fields: &str) -> Result<Option<Token>, u16> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let mut scan = HeadScan::new(1 << 16);
        let head = check_head(&mut scan, request.as_bytes());
        let head = head.expect("valid").expect("complete");
        token(&head).map_err(|error| error.status)
    }

    fn came(text: &str, authorization: bool) -> Result<Option<Token>, u16> {
        let text = text.to_owned();
        Ok(Some(Token {
            text,
            authorization,
        }))
    }

    #[test]
    fn each_carrier() {
        assert_eq!(token_of("/?token=a.b.c", ""), came("a.b.c", false));
        assert_eq!(token_of("/?x=1&token=a.b.c&y", ""), came("a.b.c", false));
        // As whoever escapes all that he puts into a query writes it.
        assert_eq!(token_of("/?token=a%2Eb%2ec", ""), came("a.b.c", false));
        assert_eq!(token_of("/?token=a%2", ""), Err(400));
        assert_eq!(token_of("/?token=%ff", ""), Err(400));
        assert_eq!(
            token_of("/", "Authorization: bEARER  a.b.c\r\n"),
            came("a.b.c", true)
        );
        let offered = "Sec-WebSocket-Protocol: ringpost, ringpost.token.a.b.c\r\n";
        assert_eq!(token_of("/", offered), came("a.b.c", false));
        let apart =
            "Sec-WebSocket-Protocol: ringpost\r\nsec-websocket-protocol:ringpost.token.a.b.c\r\n";
        assert_eq!(token_of("/", apart), came("a.b.c", false));
    }

    #[test]
    fn what_brings_none() {
        for (target, fields) in [
            ("/", ""),
            ("/token=a?tokens=b&xtoken=c&token", ""),
            ("/", "Authorization: Basic dXNlcjpwYXNz\r\n"),
            ("/", "Authorization: Bearer\r\n"),
            ("/", "Sec-WebSocket-Protocol: ringpost, ringpost.tokens\r\n"),
        ] {
            assert_eq!(token_of(target, fields), Ok(None), "{target} {fields}");
        }
    }

    #[test]
    fn two_are_too_many() {
        for (target, fields) in [
            ("/?token=a&token=a", ""),
            ("/?token=a", "Authorization: Bearer a\r\n"),
            (
                "/",
                "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n",
            ),
            (
                "/",
                "Sec-WebSocket-Protocol: ringpost.token.a, ringpost.token.b\r\n",
            ),
        ] {
            assert_eq!(token_of(target, fields), Err(400), "{target} {fields}");
        }
    }
}
