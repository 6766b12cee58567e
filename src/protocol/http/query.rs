//! Values in a query, as forms and `URLSearchParams` write them.

/// A value: `+` is a space, `%` begins a byte in two digits. `None` if that is no UTF-8.
pub fn unescape(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
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
