//! What the benchmarks are fed with: texts, and the frames in which a client sends them, all from one seed.

use fastrand::Rng;

const SEED: u64 = 0x7269_6e67;

/// A client's mask that makes text of text, whatever its plane: it turns the low two bits only, which lead
/// no ASCII out of ASCII and no [`wide`] character out of its three bytes. So a buffer that a decoder has
/// unmasked in place can be decoded again, masked or not, and no copy of it has to be made between.
pub const MASK: [u8; 4] = [1, 2, 3, 2];

pub fn random() -> Rng {
    Rng::with_seed(SEED)
}

/// So many bytes of printable ASCII.
pub fn ascii(bytes: usize) -> String {
    let mut random = random();
    (0..bytes).map(|_| random.char(' '..='~')).collect()
}

/// So many bytes of text, nearly all in characters of three.
pub fn wide(bytes: usize) -> String {
    let mut random = random();
    let mut text: String = (0..bytes / 3)
        .map(|_| random.char('\u{4e00}'..'\u{8000}'))
        .collect();
    text.extend((text.len()..bytes).map(|_| '.'));
    text
}

/// So many bytes of text, in characters of one to four bytes.
pub fn mixed(bytes: usize) -> String {
    let mut random = random();
    let mut text = String::with_capacity(bytes);
    while text.len() + 4 <= bytes {
        text.push(
            random
                .choice(['e', ' ', 'ü', 'ж', '李', '한', '🚀'])
                .expect("one of these"),
        );
    }
    text.extend((text.len()..bytes).map(|_| '.'));
    text
}

/// A text as a client's websocket sends it: one frame, masked.
pub fn client_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(
        text.bytes()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}
