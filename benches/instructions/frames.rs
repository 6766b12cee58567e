//! What clients send: a browser's opening request, and masked frames. The same bytes in every run.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// Numbers that look random and are the same in every run and with every library (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }
}

/// Appends what a browser asks before its first frame.
pub fn push_request(numbers: &mut Numbers, out: &mut Vec<u8>) {
    let nonce = [numbers.next().to_le_bytes(), numbers.next().to_le_bytes()].concat();
    let key = STANDARD.encode(nonce);
    let request = format!(
        "GET / HTTP/1.1\r\nHost: push.example.com:1234\r\nConnection: Upgrade\r\nPragma: no-cache\r\n\
         Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 \
         (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\n\
         Origin: http://push.example.com\r\nSec-WebSocket-Version: 13\r\n\
         Accept-Encoding: gzip, deflate\r\nAccept-Language: en-US,en;q=0.9\r\n\
         Sec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    );
    out.extend_from_slice(request.as_bytes());
}

/// How long the answer to that is (RFC 6455, section 4.2.2, as this server writes it).
pub const ACCEPTED_BYTES: usize = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    .len();

/// Appends a text message as a client sends it.
pub fn push_text(numbers: &mut Numbers, text: &str, out: &mut Vec<u8>) {
    push_masked(numbers, TEXT, text.as_bytes(), out);
}

/// Appends a binary message as a client sends it.
pub fn push_binary(numbers: &mut Numbers, bytes: &[u8], out: &mut Vec<u8>) {
    push_masked(numbers, BINARY, bytes, out);
}

fn push_masked(numbers: &mut Numbers, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    push_header(opcode, payload.len(), 0x80, out);
    let mask = (numbers.next() as u32).to_le_bytes();
    out.extend_from_slice(&mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    out.extend(masked.map(|(byte, mask)| byte ^ mask));
}

/// A text message as the server sends it.
pub fn sent_text(text: &str) -> Vec<u8> {
    sent(TEXT, text.as_bytes())
}

/// A binary message as the server sends it.
pub fn sent_binary(bytes: &[u8]) -> Vec<u8> {
    sent(BINARY, bytes)
}

fn sent(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_header(opcode, payload.len(), 0, &mut out);
    out.extend_from_slice(payload);
    out
}

fn push_header(opcode: u8, len: usize, mask_bit: u8, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match len {
        0..=125 => out.push(mask_bit | len as u8),
        _ => {
            out.push(mask_bit | 126);
            let len = u16::try_from(len).expect("short messages only");
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}
