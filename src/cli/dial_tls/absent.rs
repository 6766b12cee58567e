//! What stands for TLS of the client commands in a build without the feature `tls`: an error.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::trust::TrustArgs;

/// There is none.
pub struct Secured {
    pub sock: TcpStream,
    _none: Infallible,
}

pub fn secure(_: TcpStream, _: &str, _: &TrustArgs) -> Result<Secured, String> {
    Err("this build has no TLS (it was made without the feature tls)".to_owned())
}

impl Read for Secured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.sock.read(buffer)
    }
}

impl Write for Secured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sock.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
