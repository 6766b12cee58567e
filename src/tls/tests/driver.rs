//! The smallest server around the handshake and the records: blocking, one connection a call.

use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use super::*;
use crate::tls::{End, Failure, Records};

/// How a connection went that was served.
#[derive(Debug)]
pub struct Report {
    pub is_resumed: bool,
    pub records: Option<Box<Records>>,
    pub end: Option<End>,
    pub error: Option<HandshakeError>,
    pub bytes: usize,
}

/// What answers: all that has arrived so far in, and what is to be sent out.
type Answer = fn(&mut Vec<u8>) -> Vec<u8>;

/// Sends back each line that is complete.
pub fn echo(plain: &mut Vec<u8>) -> Vec<u8> {
    let lines = plain
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    plain.drain(..lines).collect()
}

/// Answers each request.
pub fn http(plain: &mut Vec<u8>) -> Vec<u8> {
    match plain.windows(4).position(|four| four == b"\r\n\r\n") {
        None => Vec::new(),
        Some(at) => {
            plain.drain(..at + 4);
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n".to_vec()
        }
    }
}

/// Serves so many connections, one after another.
pub fn serve(
    config: Arc<ServerConfig>,
    connections: usize,
    answer: Answer,
) -> (u16, JoinHandle<Vec<Report>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serving = thread::spawn(move || {
        let one = |_| talk(listener.accept().expect("a client").0, &config, answer);
        (0..connections).map(one).collect()
    });
    (port, serving)
}

fn talk(mut socket: TcpStream, config: &Arc<ServerConfig>, answer: Answer) -> Report {
    let mut report = Report {
        is_resumed: false,
        records: None,
        end: None,
        error: None,
        bytes: 0,
    };
    let mut handshake = TlsHandshake::new(config).expect("one");
    let mut buffer = vec![0; 64 << 10];
    // The records' unfinished one at the buffer's beginning, and what it held in clear.
    let (mut kept, mut plain) = (0, Vec::new());
    while report.end.is_none() {
        let read = match socket.read(&mut buffer[kept..]) {
            Ok(read @ 1..) => read,
            _ => return report,
        };
        let mut arrived = kept + read;
        let mut output = Vec::new();
        if report.records.is_none() {
            let (taken, step) = handshake.advance(&buffer[..arrived], &mut output);
            buffer.copy_within(taken..arrived, 0);
            arrived -= taken;
            match step {
                Ok(HandshakeStep::More) => {}
                Ok(HandshakeStep::Done(established)) => {
                    report.is_resumed = established.is_resumed;
                    report.records = Some(established.records);
                }
                Err(error) => {
                    let _ = socket.write_all(&output);
                    report.error = Some(error);
                    return report;
                }
            }
        }
        if let Some(records) = &mut report.records {
            let opened = records.open(&mut buffer[..arrived]);
            plain.extend_from_slice(&buffer[..opened.plain]);
            report.bytes += opened.plain;
            buffer.copy_within(opened.taken..arrived, 0);
            arrived -= opened.taken;
            let reply = answer(&mut plain);
            records
                .seal([&reply[..]], &mut output)
                .expect("a key that is good");
            report.end = opened.end;
            match opened.end {
                Some(End::Closed) => records.seal_close(&mut output),
                Some(End::Failed(failure)) => {
                    records.seal_alert(Failure::alert(failure), &mut output)
                }
                _ => {}
            }
        }
        kept = arrived;
        if socket.write_all(&output).is_err() {
            return report;
        }
    }
    report
}
