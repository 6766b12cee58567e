//! [`Stamp`]: what every message of a run carries, so that its receiver can tell a lost, doubled,
//! reordered or damaged one: sender, receiver, sequence, time of sending, and a checksum over all of
//! it, padding included.
//!
//! Text of a fixed form, since a relay passes text and a back end's line is JSON: hexadecimal
//! digits, then letters up to the size asked for. Written and read by the workloads.

/// Bytes of a stamp without padding.
pub const STAMP_BYTES_MIN: usize = HEAD_BYTES + SUM_BYTES;
/// Bytes that a message of a run may have: within the 64 KiB that a server takes by default.
pub const STAMP_BYTES_MAX: usize = 60_000;
/// The receiver of a message to everybody.
pub const EVERYBODY: u32 = u32::MAX;

const HEAD_BYTES: usize = 8 + 8 + 8 + 16;
const SUM_BYTES: usize = 8;
const DIGITS: &[u8; 16] = b"0123456789abcdef";
const PADDING: &[u8] = b"the quick brown fox jumps over the lazy dog and ";

/// The first bytes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Which connection of the run sent it.
    pub sender: u32,
    /// Which one is to receive it, or [`EVERYBODY`].
    pub receiver: u32,
    /// Counted by the sender, from 0.
    pub sequence: u32,
    /// When it was sent, or, at a fixed rate, when it was due: nanoseconds of the monotonic clock.
    pub time: u64,
}

impl Stamp {
    /// Appends the message of `size` bytes; a smaller size than [`STAMP_BYTES_MIN`] is raised to it.
    pub fn write(&self, size: usize, out: &mut Vec<u8>) {
        let start = out.len();
        write_hex(u64::from(self.sender), 8, out);
        write_hex(u64::from(self.receiver), 8, out);
        write_hex(u64::from(self.sequence), 8, out);
        write_hex(self.time, 16, out);
        out.extend_from_slice(&[b'0'; SUM_BYTES]);
        let mut left = size.saturating_sub(STAMP_BYTES_MIN);
        while left > 0 {
            let piece = &PADDING[..left.min(PADDING.len())];
            out.extend_from_slice(piece);
            left -= piece.len();
        }
        let sum = sum(&out[start..]);
        for (at, digit) in out[start + HEAD_BYTES..][..SUM_BYTES]
            .iter_mut()
            .enumerate()
        {
            *digit = DIGITS[(sum >> (28 - 4 * at)) as usize & 15];
        }
    }

    /// Reads a message; `None` if it is not, to the last byte, what a sender wrote.
    pub fn read(message: &[u8]) -> Option<Stamp> {
        if message.len() < STAMP_BYTES_MIN {
            return None;
        }
        let stamp = Stamp {
            sender: read_hex(&message[..8])? as u32,
            receiver: read_hex(&message[8..16])? as u32,
            sequence: read_hex(&message[16..24])? as u32,
            time: read_hex(&message[24..HEAD_BYTES])?,
        };
        let said = read_hex(&message[HEAD_BYTES..STAMP_BYTES_MIN])?;
        (said == u64::from(sum(message))).then_some(stamp)
    }
}

fn write_hex(value: u64, digits: usize, out: &mut Vec<u8>) {
    for at in (0..digits).rev() {
        out.push(DIGITS[(value >> (4 * at)) as usize & 15]);
    }
}

/// Only the digits that [`write_hex`] writes: a capital is damage too.
fn read_hex(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for digit in digits {
        let four = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(four);
    }
    Some(value)
}

/// A checksum of the message without the checksum itself. Not a CRC, since the generator must stay
/// cheap: eight bytes a multiplication, and the length counts too.
fn sum(message: &[u8]) -> u32 {
    let mut sum = mix(message.len() as u64, 0x51_7c_c1_b7_27_22_0a_95);
    for part in [&message[..HEAD_BYTES], &message[STAMP_BYTES_MIN..]] {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            sum = mix(sum, u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sum = mix(sum, u64::from_le_bytes(last));
    }
    (sum ^ sum >> 32) as u32
}

fn mix(sum: u64, word: u64) -> u64 {
    let product = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 29
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        sender: 7,
        receiver: EVERYBODY,
        sequence: 0xfedc_ba98,
        time: 0x0123_4567_89ab_cdef,
    };

    fn written(size: usize) -> Vec<u8> {
        let mut message = Vec::new();
        STAMP.write(size, &mut message);
        message
    }

    #[test]
    fn what_was_written_is_read() {
        for size in [STAMP_BYTES_MIN, 49, 55, 56, 57, 128, 1_000] {
            let message = written(size);
            assert_eq!(message.len(), size);
            assert!(message.iter().all(|byte| (b' '..=b'z').contains(byte)));
            assert!(!message.iter().any(|byte| b":\"\\\n".contains(byte)));
            assert_eq!(Stamp::read(&message), Some(STAMP));
        }
        assert_eq!(written(3).len(), STAMP_BYTES_MIN);
    }

    #[test]
    fn every_changed_bit_is_damage() {
        let message = written(100);
        for bit in 0..message.len() * 8 {
            let mut damaged = message.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Stamp::read(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn every_cut_and_every_exchange_is_damage() {
        let message = written(100);
        for len in 0..message.len() {
            assert_eq!(Stamp::read(&message[..len]), None, "{len}");
        }
        let mut longer = message.clone();
        longer.push(0);
        assert_eq!(Stamp::read(&longer), None);
        let mut exchanged = message;
        exchanged.swap(60, 61);
        assert_eq!(Stamp::read(&exchanged), None);
    }
}
