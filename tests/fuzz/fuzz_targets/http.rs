//! Requests of HTTP, one after the other: heads, bodies with a length, chunks; by the decoder that the server reads them
//! with, and by a plain reader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::config::REQUEST_HEAD_BYTES_DEFAULT;
use ringpost::protocol::http::{
    self, BodyReader, Framing, HeadScan, HttpError, Part, RequestDecoder, check_head, decode_head,
};
use ringpost_fuzz::{Input, check_head_bytes, status};

/// A request in words that can be compared: what its head says, and its body.
type Request = (String, Vec<u8>);

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::new(bytes) else {
        return;
    };
    let bytes_max = input.bytes_max();
    let whole = read_all(std::iter::once(input.stream), bytes_max);
    let pieces = read_all(input.pieces().map(|(_, piece)| piece), bytes_max);
    assert_eq!(pieces, whole, "cuts change nothing");
    let decoded = decode_all(input.pieces().map(|(_, piece)| piece), bytes_max);
    assert_eq!(
        decoded,
        decode_all(std::iter::once(input.stream), bytes_max)
    );
    // It passes over any number of empty lines, and so may go on where the other stops.
    let bodies = plain(&whole.0);
    let (short, long) = match decoded.0.len() < bodies.len() {
        // It has refused two Authorization fields, which the other does not look at.
        true => (&decoded.0, &bodies),
        false => (&bodies, &decoded.0),
    };
    assert!(long.starts_with(short), "{decoded:?} {whole:?}");
    if let Some(error) = whole.1 {
        assert_eq!(status(&error.response()), error.status);
    }
    let [chunked, _] = input.switches();
    if chunked {
        check_chunks(&input, bytes_max);
    }
});

/// The bodies of requests.
fn plain(requests: &[Request]) -> Vec<Vec<u8>> {
    requests.iter().map(|(_, body)| body.clone()).collect()
}

/// Reads requests as the server does, and returns their bodies.
fn decode_all<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    bytes_max: usize,
) -> (Vec<Vec<u8>>, Option<HttpError>) {
    let (mut decoder, mut bodies) = (RequestDecoder::default(), Vec::new());
    for piece in pieces {
        if let Err(error) = decode(&mut decoder, piece, bytes_max, &mut bodies) {
            return (bodies, Some(error));
        }
    }
    (bodies, None)
}

fn decode(
    decoder: &mut RequestDecoder,
    piece: &[u8],
    bytes_max: usize,
    bodies: &mut Vec<Vec<u8>>,
) -> Result<(), HttpError> {
    let mut at = 0;
    loop {
        if !decoder.is_in_body() {
            let Some(head) = decoder.head(piece, &mut at, REQUEST_HEAD_BYTES_DEFAULT)? else {
                return Ok(());
            };
            let body = BodyReader::new(head.framing, bytes_max)?;
            let request = http::Request::new(&head)?;
            assert_eq!(request.method(), head.method);
            decoder.expect_body(request, body);
        }
        let Some(request) = decoder.body(piece, &mut at)? else {
            return Ok(());
        };
        assert_eq!(decoder.bytes_held(), 0);
        bodies.push(request.body);
    }
}

/// Reads requests as a plain reader does: a head whole, then its body, of which nothing is kept but what it holds.
fn read_all<'a>(
    mut pieces: impl Iterator<Item = &'a [u8]>,
    bytes_max: usize,
) -> (Vec<Request>, Option<HttpError>) {
    let mut requests = Vec::new();
    let mut input = Vec::new();
    loop {
        match read_one(&mut input, &mut pieces, bytes_max) {
            Ok(Some(request)) => requests.push(request),
            Ok(None) => return (requests, None),
            Err(error) => return (requests, Some(error)),
        }
    }
}

fn read_one<'a>(
    input: &mut Vec<u8>,
    pieces: &mut impl Iterator<Item = &'a [u8]>,
    bytes_max: usize,
) -> Result<Option<Request>, HttpError> {
    let mut scan = HeadScan::new(REQUEST_HEAD_BYTES_DEFAULT);
    let (words, framing, len) = loop {
        if let Some(head) = check_head(&mut scan, input)? {
            check_head_bytes(&input[..head.len]);
            assert!(head.len <= REQUEST_HEAD_BYTES_DEFAULT);
            let words = format!("{head:?}");
            // What the other decoder refuses is a malformed request, and what it takes is the same one.
            let decoded = decode_head(&input[..head.len])?;
            assert_eq!(decoded.method.as_str(), head.method);
            break (words, head.framing, head.len);
        }
        let Some(piece) = pieces.next() else {
            return Ok(None);
        };
        input.extend_from_slice(piece);
    };
    input.drain(..len);
    let mut reader = BodyReader::new(framing, bytes_max)?;
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        match reader.next(input, &mut at)? {
            Some(Part::Bytes(bytes)) => body.extend_from_slice(bytes),
            Some(Part::End) => break,
            None => {
                *input = match pieces.next() {
                    Some(piece) => piece.to_vec(),
                    None => return Ok(None),
                };
                at = 0;
            }
        }
        assert!(body.len() <= bytes_max, "a body beyond the limit");
    }
    input.drain(..at);
    if let Framing::Length(len) = framing {
        assert_eq!(body.len() as u64, len);
    }
    Ok(Some((words, body)))
}

/// The stream as a body in chunks, against a plain reader; and as the body of others, in one chunk.
fn check_chunks(input: &Input<'_>, bytes_max: usize) {
    if let Ok(Some((body, taken))) = dechunk(input.stream, bytes_max) {
        let plain = plain_chunks(&input.stream[..taken]);
        assert_eq!(plain.as_ref(), Some(&body), "the plain reader");
    }
    let one = [
        format!("{:x};a=\"b\"\r\n", input.stream.len()).as_bytes(),
        input.stream,
        b"\r\n0\r\nName: value\r\n\r\n",
    ]
    .concat();
    let expected = match input.stream.len() {
        // A chunk of no bytes is the last.
        0 => return,
        len if len > bytes_max => Err(413),
        _ => Ok(Some((input.stream.to_vec(), one.len()))),
    };
    assert_eq!(
        dechunk(&one, bytes_max).map_err(|error| error.status),
        expected
    );
}

/// A body and the bytes that it took, if it is whole.
fn dechunk(stream: &[u8], bytes_max: usize) -> Result<Option<(Vec<u8>, usize)>, HttpError> {
    let mut reader = BodyReader::new(Framing::Chunked, bytes_max)?;
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        match reader.next(stream, &mut at)? {
            Some(Part::Bytes(bytes)) => body.extend_from_slice(bytes),
            Some(Part::End) => return Ok(Some((body, at))),
            None => return Ok(None),
        }
    }
}

/// The chunks of a stream that is nothing but a body.
fn plain_chunks(mut stream: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = stream.windows(2).position(|pair| pair == b"\r\n")?;
        let line =
            str::from_utf8(stream[..end].split(|byte| b"; \t".contains(byte)).next()?).ok()?;
        let size = usize::from_str_radix(line, 16).ok()?;
        stream = &stream[end + 2..];
        if size == 0 {
            // Trailers, each a line with a colon, and an empty line.
            let lines = stream.strip_suffix(b"\r\n")?;
            let whole = lines.is_empty() || lines.ends_with(b"\r\n");
            return whole.then_some(body);
        }
        body.extend_from_slice(stream.get(..size)?);
        stream = stream[size..].strip_prefix(b"\r\n")?;
    }
}
