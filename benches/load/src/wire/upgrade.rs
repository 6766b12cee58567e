//! The client's side of the opening handshake (RFC 6455, section 4.1): the request, and whether the
//! answer lets us in. Bounded by [`ANSWER_BYTES_MAX`].

/// Longest answer to a request.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// The key and its answer are the RFC's own example: nothing secret hangs on it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The request for a path on a host.
pub fn request(host: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Reads the answer; how many bytes it took once the connection is open.
pub fn read(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return match bytes.len() > ANSWER_BYTES_MAX {
            true => Err("its answer to the upgrade does not end".to_owned()),
            false => Ok(None),
        };
    };
    let head = &bytes[..end];
    if !head.starts_with(b"HTTP/1.1 101") {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or(head);
        let line = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        return Err(format!("it answers the upgrade with \"{line}\""));
    }
    match memchr::memmem::find(head, ACCEPT) {
        Some(_) => Ok(Some(end + 4)),
        None => Err("its Sec-WebSocket-Accept is wrong".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_whole() {
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {}\r\n\r\nmore",
            String::from_utf8_lossy(ACCEPT)
        );
        let whole = answer.len() - 4;
        assert_eq!(read(answer.as_bytes()), Ok(Some(whole)));
        for len in 0..whole {
            assert_eq!(read(&answer.as_bytes()[..len]), Ok(None), "{len}");
        }
    }

    #[test]
    fn a_refusal_is_told() {
        let error = read(b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap_err();
        assert!(error.contains("403 Forbidden"), "{error}");
        assert!(read(b"HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: x\r\n\r\n").is_err());
        assert!(read(&[b'x'; 20_000]).is_err());
    }
}
