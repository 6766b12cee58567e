//! What the targets share: an input that says how a stream is cut, and a decoder fed with the pieces.
//!
//! A target returns if nothing is wrong, and panics if something is. Each holds the code against something
//! else than itself: a plain model written here, another implementation, or the same bytes cut otherwise.

use ringpost::protocol::websocket::deflate::Inflater;
use ringpost::protocol::{Codec, Decoded, Decoder};
use ringpost::{CloseReason, Message};

/// A target's input: four bytes that say how, and a stream.
pub struct Input<'a> {
    /// The lengths of the pieces, again and again.
    cuts: [usize; 3],
    /// Whatever else the target lets the input choose.
    pub choice: u8,
    pub stream: &'a [u8],
}

impl<'a> Input<'a> {
    /// Half of all bytes make short pieces: a letter one of about a hundred bytes, a digit one of fifty.
    pub fn new(bytes: &'a [u8]) -> Option<Input<'a>> {
        let (&[cuts @ .., choice], stream) = bytes.split_first_chunk::<4>()?;
        let cuts = cuts.map(|cut| match cut {
            0..=127 => 1 + usize::from(cut),
            _ => (usize::from(cut) - 127) * 64,
        });
        Some(Input {
            cuts,
            choice,
            stream,
        })
    }

    /// The stream in its pieces, each with the number of bytes before it.
    pub fn pieces(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let mut cuts = self.cuts.into_iter().cycle();
        let mut at = 0;
        let stream = self.stream;
        std::iter::from_fn(move || {
            let before = at;
            at = (at + cuts.next()?).min(stream.len());
            (before < at).then(|| (before, &stream[before..at]))
        })
    }

    /// A limit on messages, small enough to be met.
    pub fn bytes_max(&self) -> usize {
        match self.choice >> 2 {
            few @ 0..32 => usize::from(few),
            more => usize::from(more - 31) * 64,
        }
    }

    /// The choice's two lowest bits.
    pub fn switches(&self) -> [bool; 2] {
        [self.choice & 1 != 0, self.choice & 2 != 0]
    }
}

/// An event that owns its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

impl Seen {
    /// The message that it is, if it is one.
    pub fn message(&self) -> Option<Message<'_>> {
        match self {
            Seen::Text(text) => Some(Message::Text(text)),
            Seen::Binary(bytes) => Some(Message::Binary(bytes)),
            _ => None,
        }
    }

    /// A copy, of which std's own check says that what is called text is UTF-8.
    fn copy(message: Message<'_>) -> Seen {
        match message {
            Message::Text(text) => {
                let text = str::from_utf8(text.as_bytes()).expect("text is UTF-8");
                Seen::Text(text.to_owned())
            }
            Message::Binary(bytes) => Seen::Binary(bytes.to_vec()),
        }
    }
}

/// What a stream comes to: its events, and the error that ends it.
pub type Outcome = (Vec<Seen>, Option<CloseReason>);

/// How a stream is decoded.
#[derive(Clone, Copy)]
pub struct Terms {
    pub codec: Codec,
    pub bytes_max: usize,
    /// Whether compression is agreed on.
    pub deflate: bool,
}

impl Terms {
    pub fn plain(codec: Codec, bytes_max: usize) -> Terms {
        Terms {
            codec,
            bytes_max,
            deflate: false,
        }
    }

    /// The most bytes of a message as it comes: what cannot be compressed grows a little by it.
    pub fn room(self, compressed: bool) -> usize {
        match compressed {
            true => self.bytes_max + self.bytes_max / 8 + 64,
            false => self.bytes_max,
        }
    }

    fn decoder(self) -> Decoder {
        match self.deflate {
            true => Decoder::deflate(self.bytes_max),
            false => Decoder::new(self.codec, self.bytes_max),
        }
    }

    /// Decodes a stream that comes in pieces, each in memory of its own. With `moves`, what an event leaves
    /// unread goes on in other memory, as when a connection moves to another core.
    pub fn decode<'a>(self, pieces: impl Iterator<Item = &'a [u8]>, moves: bool) -> Outcome {
        let mut decoder = self.decoder();
        let mut inflater = Inflater::default();
        let mut seen = Vec::new();
        for piece in pieces {
            let mut input = piece.to_vec();
            let mut at = 0;
            loop {
                let before = (at, input.clone());
                let event = match decoder.next(&mut input, &mut at) {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(reason) => return (seen, Some(reason)),
                };
                match self.see(event, &mut inflater) {
                    Ok(event) => seen.push(event),
                    Err(reason) => return (seen, Some(reason)),
                }
                assert!(before.0 <= at && at <= input.len());
                assert!(
                    input[at..] == before.1[at..],
                    "bytes not taken were changed"
                );
                if moves {
                    input = input[at..].to_vec();
                    at = 0;
                }
            }
            assert_eq!(at, input.len(), "nothing is left when nothing is found");
            let held = decoder.bytes_held();
            let room = self.room(self.deflate).max(64);
            assert!(
                held <= room + 512,
                "{held} bytes are held of a message of {room}"
            );
        }
        (seen, None)
    }
    /// An event as the core sees it, which inflates what is compressed.
    fn see(self, event: Decoded<'_>, inflater: &mut Inflater) -> Result<Seen, CloseReason> {
        let message = match event {
            Decoded::Message(message) => message,
            Decoded::CompressedText(bytes) => inflater.inflate(bytes, true, self.bytes_max)?,
            Decoded::CompressedBinary(bytes) => inflater.inflate(bytes, false, self.bytes_max)?,
            Decoded::Ping(payload) => return Ok(Seen::Ping(payload.to_vec())),
            Decoded::Pong => return Ok(Seen::Pong),
            Decoded::TooLong(_) | Decoded::NotUtf8(_) | Decoded::Unended(_) => {
                unreachable!("no decoder here tells of lines")
            }
            Decoded::Close { code } => return Ok(Seen::Close(code)),
        };
        assert!(
            message.len() <= self.bytes_max,
            "a message beyond the limit"
        );
        Ok(Seen::copy(message))
    }

    /// The same however the stream comes: whole, in the input's pieces, and byte by byte if that is not long.
    pub fn decode_each_way(self, input: &Input<'_>) -> Outcome {
        let [moves, _] = input.switches();
        let whole = self.decode(std::iter::once(input.stream), false);
        let pieces = self.decode(input.pieces().map(|(_, piece)| piece), moves);
        assert_eq!(pieces, whole, "cuts change nothing");
        if input.stream.len() < 300 {
            let bytes = self.decode(input.stream.chunks(1), moves);
            assert_eq!(bytes, whole, "bytes one by one change nothing");
        }
        whole
    }
}

/// A message as it is sent, its length foretold.
pub fn encode(codec: Codec, message: Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec.encode(message, &mut bytes);
    assert_eq!(bytes.len(), codec.encoded_len(message));
    bytes
}

/// The status of an answer of ours, which is well-formed and has no more than its head and body.
pub fn status(response: &[u8]) -> u16 {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Response::new(&mut fields);
    let len = match parsed.parse(response) {
        Ok(httparse::Status::Complete(len)) => len,
        other => panic!("{other:?}: {}", response.escape_ascii()),
    };
    let length = parsed
        .headers
        .iter()
        .find(|field| field.name == "Content-Length");
    let length = length.map(|field| str::from_utf8(field.value).unwrap_or_default().parse());
    assert_eq!(
        length.unwrap_or(Ok(0)),
        Ok(response.len() - len),
        "its length"
    );
    parsed.code.unwrap_or_default()
}

/// What holds for every request's head that is let in, by its bytes alone.
pub fn check_head_bytes(mut head: &[u8]) {
    // A few empty lines may come before it.
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        head = rest;
    }
    let head = head
        .strip_suffix(b"\r\n\r\n")
        .expect("a head ends with an empty line");
    let mut lines = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        lines.push(line.strip_suffix(b"\r").unwrap_or(line));
    }
    let text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    assert!(
        lines
            .iter()
            .all(|line| !line.is_empty() && line.iter().all(text))
    );
    let is_old = lines[0].ends_with(b" HTTP/1.0");
    assert!(is_old || lines[0].ends_with(b" HTTP/1.1"));
    let count = |name: &[u8]| {
        let named = |line: &&&[u8]| {
            line.get(..name.len())
                .is_some_and(|own| own.eq_ignore_ascii_case(name))
        };
        lines[1..].iter().filter(named).count()
    };
    let may_lack = is_old
        || head.starts_with(b"OPTIONS ")
        || lines[0]
            .windows(2)
            .any(|part| part == b"z " || part == b"z?");
    assert!(count(b"Host:") == 1 || may_lack && count(b"Host:") == 0);
    assert!(!is_old || count(b"Transfer-Encoding:") == 0);
    assert!(count(b"Content-Length:") + count(b"Transfer-Encoding:") <= 1);
    assert_eq!(
        count(b" ") + count(b"\t") + count(b":"),
        0,
        "a folded line, or one without a name"
    );
}
