//! The mask on everything that a websocket client sends (RFC 6455, section 5.3).

/// Applies the mask to a payload's bytes; doing it twice restores them. The first byte meets
/// `mask[0]`.
pub fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    // Whole words: the compiler makes vector instructions of it.
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= mask;
    }
}

/// The mask as the byte after `len` further bytes meets it.
pub fn rotate(mut mask: [u8; 4], len: usize) -> [u8; 4] {
    mask.rotate_left(len % 4);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applies_byte_by_byte_or_at_once() {
        let mask = [0x11, 0x82, 0xf4, 0x08];
        for len in 0..70 {
            for cut in 0..=len {
                let plain: Vec<u8> = (0..len as u8).collect();
                let expected: Vec<u8> = (0..len).map(|at| plain[at] ^ mask[at % 4]).collect();
                let mut bytes = plain.clone();
                let (head, tail) = bytes.split_at_mut(cut);
                apply(mask, head);
                apply(rotate(mask, cut), tail);
                assert_eq!(bytes, expected, "len {len}, cut {cut}");
            }
        }
    }
}
