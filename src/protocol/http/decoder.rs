//! Requests out of one connection's bytes: [`RequestDecoder`], without I/O.
//!
//! A request comes in two steps, because what its head says decides how large its body may be, and whether the connection
//! becomes another kind. Bounds: of a head what the caller gives, of a body what the caller's reader was given; what is
//! incomplete is kept, and nothing between requests. Called by the transport.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::body::{BodyReader, Part};
use super::head::Head;
use super::reader::HeadReader;
use super::request::Request;
use super::response::HttpError;

/// Cuts one connection's bytes into requests.
#[derive(Debug, Default)]
pub struct RequestDecoder(RequestState);

#[derive(Debug, Default, Serialize, Deserialize)]
enum RequestState {
    /// Nothing of a request has come.
    #[default]
    Between,
    /// The carriage return of what may be an empty line between two requests.
    AfterReturn,
    Head(Box<HeadReader>),
    Body(Box<(Request, BodyReader)>),
}

/// A body that is not what its request says it is was written by nobody.
impl<'de> Deserialize<'de> for RequestDecoder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RequestDecoder, D::Error> {
        let state = RequestState::deserialize(deserializer)?;
        if let RequestState::Body(both) = &state
            && !both.1.may_follow(both.0.framing, both.0.body.len())
        {
            return Err(D::Error::custom("half a body that is none"));
        }
        Ok(RequestDecoder(state))
    }
}

impl Serialize for RequestDecoder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl RequestDecoder {
    /// Whether a request has begun to arrive. Empty lines before one have not begun it: a client that ends a body with
    /// one too many (RFC 9112, section 2.2) has not begun another.
    pub fn has_begun(&self) -> bool {
        matches!(self.0, RequestState::Head(_) | RequestState::Body(_))
    }

    /// Whether a request's body is what comes next.
    pub fn is_in_body(&self) -> bool {
        matches!(self.0, RequestState::Body(_))
    }

    /// Takes bytes of a head of at most `bytes_max` from `input[*at..]`, and advances `at`. `None` means that all is taken
    /// and more is to come. After a head its request goes on by [`RequestDecoder::expect_body`], or with another decoder.
    pub fn head<'a>(
        &'a mut self,
        input: &'a [u8],
        at: &mut usize,
        bytes_max: usize,
    ) -> Result<Option<Head<'a>>, HttpError> {
        let has_return = matches!(self.0, RequestState::AfterReturn);
        if has_return && *at < input.len() {
            if input[*at] == b'\n' {
                *at += 1;
                self.0 = RequestState::Between;
            } else {
                let mut reader = HeadReader::new(bytes_max);
                reader.advance(b"\r")?;
                self.0 = RequestState::Head(Box::new(reader));
            }
        }
        if matches!(self.0, RequestState::Between) {
            while input[*at..].starts_with(b"\r\n") {
                *at += 2;
            }
            self.0 = match &input[*at..] {
                b"" => RequestState::Between,
                b"\r" => RequestState::AfterReturn,
                _ => RequestState::Head(Box::new(HeadReader::new(bytes_max))),
            };
        }
        let RequestState::Head(reader) = &mut self.0 else {
            *at = input.len();
            return Ok(None);
        };
        let rest = &input[*at..];
        match reader.advance(rest)? {
            Some((head, length)) => {
                *at += length;
                Ok(Some(head))
            }
            None => {
                *at = input.len();
                Ok(None)
            }
        }
    }

    /// The head's request goes on with its body, taken by this reader.
    pub fn expect_body(&mut self, request: Request, body: BodyReader) {
        self.0 = RequestState::Body(Box::new((request, body)));
    }

    /// The request whose body is to come.
    pub fn request(&self) -> Option<&Request> {
        match &self.0 {
            RequestState::Body(both) => Some(&both.0),
            _ => None,
        }
    }

    /// Takes bytes of a body from `input[*at..]`, advances `at`, and returns the request when that is whole.
    pub fn body(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Request>, HttpError> {
        let RequestState::Body(both) = &mut self.0 else {
            return Ok(None);
        };
        let (request, body) = &mut **both;
        loop {
            match body.next(input, at)? {
                Some(Part::Bytes(bytes)) => request.body.extend_from_slice(bytes),
                Some(Part::End) => {
                    let RequestState::Body(both) = std::mem::take(&mut self.0) else {
                        return Ok(None);
                    };
                    return Ok(Some(both.0));
                }
                None => return Ok(None),
            }
        }
    }

    /// Heap bytes kept of what is incomplete.
    pub fn bytes_held(&self) -> usize {
        match &self.0 {
            RequestState::Between | RequestState::AfterReturn => 0,
            RequestState::Head(reader) => size_of::<HeadReader>() + reader.bytes_held(),
            RequestState::Body(both) => size_of::<(Request, BodyReader)>() + both.0.body.capacity(),
        }
    }
}

const _: () = assert!(size_of::<RequestDecoder>() == 16);

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const HEAD_MAX: usize = 300;
    const BODY_MAX: usize = 40;

    /// What the requests in these pieces say, and what ends them.
    fn read(pieces: &[&[u8]]) -> (Vec<String>, Option<HttpError>) {
        let (mut decoder, mut requests) = (RequestDecoder::default(), Vec::new());
        for piece in pieces {
            if let Err(error) = feed(&mut decoder, piece, &mut requests) {
                return (requests, Some(error));
            }
        }
        (requests, None)
    }

    fn feed(
        decoder: &mut RequestDecoder,
        piece: &[u8],
        requests: &mut Vec<String>,
    ) -> Result<(), HttpError> {
        let mut at = 0;
        loop {
            if !decoder.is_in_body() {
                let Some(head) = decoder.head(piece, &mut at, HEAD_MAX)? else {
                    assert_eq!(at, piece.len());
                    return Ok(());
                };
                let request = Request::new(&head)?;
                let body = request.body_reader(BODY_MAX)?;
                decoder.expect_body(request, body);
            }
            let Some(request) = decoder.body(piece, &mut at)? else {
                assert_eq!(at, piece.len());
                return Ok(());
            };
            assert!(request.body.len() <= BODY_MAX);
            assert_eq!(decoder.bytes_held(), 0);
            let body = String::from_utf8_lossy(&request.body);
            requests.push(format!("{} {} {body}", request.method(), request.path()));
        }
    }

    fn of(text: &str) -> (Vec<String>, Option<u16>) {
        let (requests, error) = read(&[text.as_bytes()]);
        (requests, error.map(|error| error.status))
    }

    #[test]
    fn one_after_the_other() {
        let first = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
        let chunked = "POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
            2\r\nde\r\n1\r\nf\r\n0\r\n\r\n";
        let bare = "GET /c?q HTTP/1.1\r\nHost: x\r\n\r\n";
        let all = format!("{first}\r\n{chunked}\r\n\r\n{bare}{bare}");
        let expected = ["POST /a abc", "POST /b def", "GET /c ", "GET /c "];
        assert_eq!(of(&all), (expected.map(str::to_owned).to_vec(), None));
        assert_eq!(of(&all[..first.len() - 1]), (vec![], None));
    }

    #[test]
    fn what_is_too_large_ends_it() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(HEAD_MAX));
        assert_eq!(of(&long), (vec![], Some(414)));
        for (length, status) in [(BODY_MAX, None), (BODY_MAX + 1, Some(413))] {
            let body = "b".repeat(length);
            let text =
                format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
            assert_eq!(of(&text).1, status);
            let text = format!(
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                 {length:x}\r\n{body}\r\n0\r\n\r\n"
            );
            assert_eq!(of(&text).1, status);
        }
    }

    #[test]
    fn empty_lines_begin_nothing() {
        let mut decoder = RequestDecoder::default();
        for (piece, begun) in [
            (&b"\r\n\r\n"[..], false),
            (b"\r", false),
            (b"\n\r", false),
            (b"\n", false),
            (b"\r\nG", true),
        ] {
            let head = decoder.head(piece, &mut 0, HEAD_MAX).expect("no flaw");
            assert!(head.is_none());
            assert_eq!(decoder.has_begun(), begun, "{piece:?}");
        }
        assert_eq!(of("\rGET / HTTP/1.1\r\n\r\n").1, Some(400));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            requests in vec(prop::sample::select(vec![
                "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                "\r\nGET /a HTTP/1.0\r\nX-Forwarded-For: a\r\n\r\n",
                "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody\r\n",
                "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: y\r\n\r\n",
                "POST /d HTTP/1.1\r\nHost: x\r\nContent-Length: 41\r\n\r\n",
            ]), 1..5),
            noise in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in vec(1..50usize, 1..6),
        ) {
            let mut stream = requests.concat().into_bytes();
            if let Some((at, byte)) = noise {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
            let (mut pieces, mut rest) = (Vec::new(), &stream[..]);
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap_or(&1)));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(read(&pieces), read(&[&stream]));
        }
    }
}
