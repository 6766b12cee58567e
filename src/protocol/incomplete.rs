//! How the bytes of an incomplete message are kept: [`append`]. Bound: the codec's, for it says how long a message may be.

/// Appends bytes to an incomplete message that cannot get longer than `bytes_max`. The room doubles,
/// so pieces cost linear time, but it never passes what the message can need.
pub fn append(buffer: &mut Vec<u8>, bytes: &[u8], bytes_max: usize) {
    let len = buffer.len() + bytes.len();
    if len > buffer.capacity() {
        let room = (2 * buffer.capacity()).max(64).min(bytes_max).max(len);
        buffer.reserve_exact(room - buffer.len());
    }
    buffer.extend_from_slice(bytes);
}
