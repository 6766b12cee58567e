//! A client's offers of compression on a header line, and what is agreed on, against a plain reader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::protocol::websocket::extension::Offer;

const ANSWER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
    client_no_context_takeover";
/// The largest window that we use.
const BITS: u32 = 12;

fuzz_target!(|line: &[u8]| {
    let offer = Offer::first(line);
    let asked = plain(line);
    assert_eq!(
        offer.is_some(),
        asked.is_some(),
        "the plain reader: {asked:?}"
    );
    // Another extension before it, an empty one, and space change nothing.
    for before in ["x-other; a=1; b=\"2\" ,", ",", " ,\t"] {
        assert_eq!(Offer::first(&[before.as_bytes(), line].concat()), offer);
    }
    let (Some(offer), Some(asked)) = (offer, asked) else {
        return;
    };
    let window = match asked {
        Some(bits) => format!("; server_max_window_bits={}", bits.min(BITS)),
        None => String::new(),
    };
    assert_eq!(offer.answer(), format!("{ANSWER}{window}\r\n"));
    // A message is compressed only if the window of the client's choice holds it.
    for bits in 8..=15 {
        let holds = asked.is_none_or(|most| most >= BITS.min(bits));
        assert_eq!(offer.window().holds(1 << bits), holds);
    }
});

/// The window that the first usable offer asks for, or none. Neither a comma nor a semicolon can stand in quotes
/// here, so a line falls apart at each.
fn plain(line: &[u8]) -> Option<Option<u32>> {
    for element in line.split(|byte| *byte == b',') {
        let mut parts = element.split(|byte| *byte == b';');
        let name = trim(parts.next()?);
        if name.is_empty() && parts.next().is_none() {
            continue;
        }
        let mut parameters = Vec::new();
        for part in element.split(|byte| *byte == b';').skip(1) {
            let mut sides = part.splitn(2, |byte| *byte == b'=');
            let name = token(trim(sides.next()?))?;
            let value = match sides.next().map(trim) {
                Some([b'"', value @ .., b'"']) => Some(token(value)?),
                Some(value) => Some(token(value)?),
                None => None,
            };
            parameters.push((name, value));
        }
        if token(name)? == "permessage-deflate"
            && let Some(asked) = take_up(&parameters)
        {
            return Some(asked);
        }
    }
    None
}

/// The window asked for, if all parameters are known, right, and there once.
fn take_up(parameters: &[(&str, Option<&str>)]) -> Option<Option<u32>> {
    let bits = |value: &str| {
        let found = (8..=15).find(|bits: &u32| bits.to_string() == value);
        found.ok_or(())
    };
    let mut asked = None;
    for (at, (name, value)) in parameters.iter().enumerate() {
        let twice = parameters[..at].iter().any(|(other, _)| other == name);
        let right = match (*name, *value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => true,
            ("client_max_window_bits", value) => value.is_none_or(|value| bits(value).is_ok()),
            ("server_max_window_bits", Some(value)) => {
                asked = bits(value).ok();
                asked.is_some()
            }
            _ => false,
        };
        if twice || !right {
            return None;
        }
    }
    Some(asked)
}

fn trim(bytes: &[u8]) -> &[u8] {
    let space = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let begin = bytes
        .iter()
        .position(|byte| !space(byte))
        .unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .rposition(|byte| !space(byte))
        .map_or(begin, |at| at + 1);
    &bytes[begin..end]
}

fn token(bytes: &[u8]) -> Option<&str> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let token = str::from_utf8(bytes).ok()?;
    (!token.is_empty() && bytes.iter().all(fits)).then_some(token)
}
