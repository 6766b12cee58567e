//! The request by which a connection came, as its app sees it: [`OpeningRequest`].
//!
//! Made of a websocket's handshake, or of `GET /v1/events`; lent to [`on_connect`](crate::app::App::on_connect) and gone
//! after it. Bound: `request_head_bytes_max`, since all that is in it was in the request's head.

use super::head::FIELDS_MAX;
use super::query::unescape;
use super::scan::is_token;

/// The name of the field that brings cookies.
const COOKIE: &str = "cookie";

/// The request that opened a connection: a websocket's handshake, or the request of a client that listens by
/// Server-Sent Events. Its bytes together are at most
/// [`request_head_bytes_max`](crate::Config::request_head_bytes_max), and its fields at most 64.
///
/// Whatever is in it the client has chosen: it proves nothing. (Of what trusted proxies say of the client, its address is
/// [`Context::peer`](crate::app::Context::peer).)
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpeningRequest {
    /// The path, and what follows it.
    target: String,
    path_bytes: usize,
    fields: Vec<(&'static str, Vec<u8>)>,
}

impl OpeningRequest {
    /// Of these parts, and of those fields whose names are among `wanted`.
    pub(crate) fn new<'a>(
        path: &str,
        query: Option<&str>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        wanted: &[&'static str],
    ) -> OpeningRequest {
        let keep = |(name, value): (&[u8], &[u8])| {
            let is = |known: &&&str| name.eq_ignore_ascii_case(known.as_bytes());
            let name = wanted.iter().find(is)?;
            Some((*name, value.to_vec()))
        };
        OpeningRequest {
            target: match query {
                Some(query) => [path, "?", query].concat(),
                None => path.to_owned(),
            },
            path_bytes: path.len(),
            // Most apps want none, and then nothing is gone through.
            fields: match wanted {
                [] => Vec::new(),
                _ => fields.filter_map(keep).collect(),
            },
        }
    }

    /// The path asked for. It begins with `/`, and its escapes are as they came.
    pub fn path(&self) -> &str {
        &self.target[..self.path_bytes]
    }

    /// What follows the first `?` of the target, as it came. A [token](crate::Config::auth) may be in it.
    pub fn query(&self) -> Option<&str> {
        self.target[self.path_bytes..].strip_prefix('?')
    }

    /// The first value of this name in the query, its escapes resolved, and `+` being a space. `None` if there is none, or
    /// if its escapes give no UTF-8.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query()?.split('&');
        let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(own, _)| unescape(own).as_deref() == Some(name))?;
        unescape(value)
    }

    /// The first value of a header field, if it is UTF-8: of one that the app has [asked for](crate::app::App::HEADERS),
    /// whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let is = |(own, _): &&(&str, Vec<u8>)| own.eq_ignore_ascii_case(name);
        let (_, value) = self.fields.iter().find(is)?;
        std::str::from_utf8(value).ok()
    }

    /// All header fields that the app has [asked for](crate::app::App::HEADERS), in the order in which they came: the name as
    /// the app has it, and the value without the white space around it.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.fields.iter().map(|(name, value)| (*name, &value[..]))
    }

    /// The value of the first cookie of this name. For an app whose [`HEADERS`](crate::app::App::HEADERS) name `Cookie`.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let mut cookies = self.cookies();
        cookies
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    /// All cookies, name and value as they came, in their order (RFC 6265, section 5.4). What is no pair, or no UTF-8, is
    /// left out.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.headers();
        let of_cookies = fields.filter(|(name, _)| name.eq_ignore_ascii_case(COOKIE));
        // Three lines; the crate `cookie` is for those who set them, and the tests hold this against it.
        of_cookies.flat_map(|(_, value)| {
            let pairs = value.split(|byte| *byte == b';');
            pairs.filter_map(|pair| {
                let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
                let (name, value) = (name.trim(), value.trim());
                (!name.is_empty()).then_some((name, value))
            })
        })
    }
}

/// Whether an app can ask for these header fields; the error says why not.
pub(crate) fn check_names(names: &[&str]) -> Result<(), String> {
    if names.len() > FIELDS_MAX {
        return Err(format!("HEADERS: at most {FIELDS_MAX} names"));
    }
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_token);
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => Err(format!("HEADERS: {name:?} is no name of a header field")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use cookie::Cookie;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::websocket::handshake::Handshake;

    const WANTED: &[&str] = &["Cookie", "X-Tenant"];

    fn of(path: &str, query: Option<&str>, fields: &[(&str, &str)]) -> OpeningRequest {
        let fields = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        OpeningRequest::new(path, query, fields, WANTED)
    }

    #[test]
    fn a_target_comes_apart_again() {
        for (path, query) in [
            ("/", None),
            ("/a%20b", Some("")),
            ("/a", Some("b?c=d")),
            ("/", Some("token=x")),
        ] {
            let request = of(path, query, &[]);
            assert_eq!((request.path(), request.query()), (path, query));
        }
    }

    #[test]
    fn parameters_are_without_escapes() {
        let request = of("/", Some("a=1&b=x+y%20%C3%BC&a=2&c&d=%ff&%65=e&=n"), &[]);
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some("x y ü")),
            ("c", Some("")),
            ("d", None),
            ("e", Some("e")),
            ("", Some("n")),
            ("f", None),
        ] {
            assert_eq!(request.parameter(name).as_deref(), value, "{name:?}");
        }
        assert_eq!(of("/", None, &[]).parameter("a"), None);
    }

    #[test]
    fn fields_that_nobody_wants_are_not_kept() {
        let request = of(
            "/",
            None,
            &[
                ("X-Other", "1"),
                ("x-tenant", "blue"),
                ("Authorization", "Bearer secret"),
                ("X-TENANT", "red"),
            ],
        );
        let all: Vec<_> = request.headers().collect();
        assert_eq!(all, [("X-Tenant", &b"blue"[..]), ("X-Tenant", b"red")]);
        assert_eq!(request.header("x-Tenant"), Some("blue"));
        assert_eq!(request.header("x-other"), None);
        assert_eq!(request.cookies().count(), 0);
        let none = OpeningRequest::new("/", None, [(&b"cookie"[..], &b"a=b"[..])].into_iter(), &[]);
        assert_eq!(none.headers().count(), 0);
    }

    #[test]
    fn what_is_no_name_is_an_error() {
        assert_eq!(check_names(WANTED), Ok(()));
        for name in ["", "a b", "a:", "ü", "a\n"] {
            let error = check_names(&["ok", name]).expect_err("no name");
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
        let error = check_names(&["x"; 65]).expect_err("too many");
        assert!(error.contains("64"), "{error}");
    }

    #[test]
    fn cookies_of_all_kinds() {
        let request = of(
            "/",
            None,
            &[
                (
                    "Cookie",
                    "a=1; b=x=y;c = 2 ;; flag; =no; q=\"quoted\"; a=second",
                ),
                ("cookie", "d=4"),
            ],
        );
        let all: Vec<_> = request.cookies().collect();
        assert_eq!(
            all,
            [
                ("a", "1"),
                ("b", "x=y"),
                ("c", "2"),
                ("q", "\"quoted\""),
                ("a", "second"),
                ("d", "4")
            ]
        );
        assert_eq!(request.cookie("a"), Some("1"));
        assert_eq!(request.cookie("A"), None);
        assert_eq!(request.cookie("e"), None);
        // One that is no UTF-8 takes no other with it.
        let field = [(&b"Cookie"[..], &b"a=\xff; b=2"[..])].into_iter();
        let request = OpeningRequest::new("/", None, field, WANTED);
        assert_eq!(request.cookies().collect::<Vec<_>>(), [("b", "2")]);
    }

    proptest! {
        /// As the crate reads them that many servers use.
        #[test]
        fn cookies_are_read_as_others_read_them(text in "[ a-c=;,\"%\u{e9}\t]{0,40}") {
            let request = of("/", None, &[("Cookie", &text)]);
            let ours: Vec<_> = request.cookies().collect();
            let theirs = Cookie::split_parse(&*text).filter_map(Result::ok);
            let theirs: Vec<_> = theirs
                .map(|one| (one.name_raw().expect("borrowed"), one.value_raw().expect("borrowed")))
                .collect();
            prop_assert_eq!(ours, theirs);
        }

        /// However the request is cut on its way.
        #[test]
        fn it_is_the_same_wherever_it_is_cut(
            cuts in vec(1..40usize, 1..6),
            cookies in "[a-z0-9=; ]{0,60}",
            query in "[a-z0-9=&%+]{0,30}",
        ) {
            let head = format!(
                "GET /chat?{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Cookie: {cookies}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Tenant:  blue \r\n\
                 Sec-WebSocket-Version: 13\r\n\r\n"
            );
            let mut handshake = Handshake::new();
            let (mut rest, mut cuts) = (head.as_bytes(), cuts.iter().cycle());
            let request = loop {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap_or(&1)));
                rest = after;
                if let Some(accepted) = handshake.advance_for(piece, WANTED).expect("a handshake") {
                    break accepted.request;
                }
            };
            prop_assert_eq!(request.path(), "/chat");
            prop_assert_eq!(request.query(), Some(&*query));
            let whole = of("/chat", Some(&query), &[("Cookie", cookies.trim()), ("X-Tenant", "blue")]);
            prop_assert_eq!(request, whole);
        }
    }
}
