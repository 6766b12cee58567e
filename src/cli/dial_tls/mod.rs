//! TLS of the client commands: [`Secured`], a connection whose handshake is done.
//!
//! Trusted is what the system trusts, or a file's certificates, or the one certificate of a fingerprint.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use ringpost::escape::Escaped;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};
use rustls_platform_verifier::BuilderVerifierExt;
use sha2::{Digest, Sha256};

use super::trust::TrustArgs;

/// A connection by TLS.
pub type Secured = StreamOwned<ClientConnection, TcpStream>;

/// Speaks TLS with a server at this host. The stream has its timeouts already.
pub fn secure(stream: TcpStream, host: &str, trust: &TrustArgs) -> Result<Secured, String> {
    let config = config(trust)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        format!(
            "\"{}\" is no name that a certificate can be for",
            Escaped(host)
        )
    })?;
    let connection =
        ClientConnection::new(Arc::new(config), name).map_err(|error| format!("TLS: {error}"))?;
    let mut secured = StreamOwned::new(connection, stream);
    while secured.conn.is_handshaking() {
        let done = secured.conn.complete_io(&mut secured.sock);
        done.map_err(|error| {
            format!(
                "no TLS with {}: {error} (--ca-file FILE trusts others than the system does, --fingerprint SHA256 one \
                 certificate)",
                Escaped(host)
            )
        })?;
    }
    Ok(secured)
}

fn config(trust: &TrustArgs) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    let builder = match (&trust.fingerprint, &trust.ca_file) {
        (Some(fingerprint), _) => {
            let fingerprint = parse_fingerprint(fingerprint)
                .ok_or("--fingerprint: expected 64 hexadecimal digits, with colons or without")?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned {
                    fingerprint,
                    provider,
                }))
        }
        (None, Some(file)) => builder.with_root_certificates(roots(file)?),
        (None, None) => builder
            .with_platform_verifier()
            .map_err(|error| format!("TLS: {error}"))?,
    };
    let (Some(certificate), key) = (&trust.certificate_file, &trust.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let key_file = key.as_ref().unwrap_or(certificate);
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| format!("{}: {error}", key_file.display()))?;
    builder
        .with_client_auth_cert(certificates(certificate)?, key)
        .map_err(|error| format!("{}: {error}", certificate.display()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let named = |error: rustls::pki_types::pem::Error| format!("{}: {error}", file.display());
    let all = CertificateDer::pem_file_iter(file).map_err(named)?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(named)?;
    match all.is_empty() {
        true => Err(format!("{}: there is no certificate in it", file.display())),
        false => Ok(all),
    }
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(roots)
}

/// As `serve --tls-self-signed` prints it, or openssl does.
fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|one| *one != ':')
        .map(|one| one.to_digit(16))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|two| (16 * two[0] + two[1]) as u8)
        .collect();
    match digits.len() {
        64 => bytes.try_into().ok(),
        _ => None,
    }
}

/// Trusts one certificate, whatever it says. Its key still has to sign the handshake.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown: [u8; 32] = Sha256::digest(certificate).into();
        match shown == self.fingerprint {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::General(
                "its certificate has another fingerprint".to_owned(),
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_has_colons_or_not() {
        let plain = "0123456789abcdefABCDEF01".repeat(3)[..64].to_owned();
        let colons: Vec<&str> = plain
            .as_bytes()
            .chunks(2)
            .filter_map(|two| std::str::from_utf8(two).ok())
            .collect();
        let read = parse_fingerprint(&plain);
        assert!(read.is_some_and(|bytes| bytes[..3] == [0x01, 0x23, 0x45]));
        assert_eq!(parse_fingerprint(&colons.join(":")), read);
        for text in [
            "",
            "01",
            &plain[..62],
            &plain[..63],
            &format!("{plain}00"),
            &plain.replace('a', "x"),
        ] {
            assert_eq!(parse_fingerprint(text), None, "{text}");
        }
    }
}
