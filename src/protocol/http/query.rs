//! Percent-encoding (RFC 3986, section 2.1) in a request's target: in its path, and in a query, as forms and
//! `URLSearchParams` write it.

/// A part of a path without it; `None` if that is none, or does not give UTF-8.
pub fn decode(part: &str) -> Option<String> {
    without_escapes(part, b'+')
}

/// A value in a query, where `+` is a space. `None` if its escapes are none, or give no UTF-8.
pub fn unescape(value: &str) -> Option<String> {
    without_escapes(value, b' ')
}

fn without_escapes(text: &str, plus: u8) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => plus,
            b'%' => {
                let (digits, after) = after.split_first_chunk::<2>()?;
                rest = after;
                let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
                (high? << 4 | low?) as u8
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_escaped_comes_back(text in any::<String>(), all in any::<bool>()) {
            let escape = |byte: &u8| match byte {
                b' ' if !all => "+".to_owned(),
                b'a'..=b'z' if !all => char::from(*byte).to_string(),
                byte => format!("%{byte:02x}"),
            };
            let escaped: String = text.as_bytes().iter().map(escape).collect();
            prop_assert_eq!(unescape(&escaped), Some(text));
        }
    }
}
