//! The requests themselves: a blocking client, used by the one thread that delivers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::attempt::AttemptResult;
use super::signature::FIELD;
use crate::config::Webhooks;
use crate::escape::Escaped;

/// Shortest secret: as long as what it signs with (RFC 2104, section 3).
const SECRET_BYTES_MIN: usize = 32;
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Of a response more is not read: its status says all, the rest only lets the connection be used again.
const RESPONSE_BYTES_MAX: u64 = 64 << 10;
/// A connection that is idle for longer is not used again: the receiver may be about to close it.
const IDLE_AGE_MAX: Duration = Duration::from_secs(3);

/// What the configuration comes to, checked.
pub struct WebhookTarget {
    url: String,
    pub key: hmac::Key,
    roots: RootCerts,
}

impl WebhookTarget {
    /// `None` where there are no webhooks. The error names the key that is wrong, and shows no secret.
    pub fn open(config: &Webhooks) -> io::Result<Option<WebhookTarget>> {
        let Some(url) = &config.url else {
            return Ok(None);
        };
        check_url(url).map_err(|problem| {
            // One that holds a password is not shown.
            let shown = match url.contains('@') {
                true => String::new(),
                false => format!(" = {url:?}"),
            };
            invalid(&format!("webhooks.url{shown}: {problem}"))
        })?;
        let roots = match &config.ca_file {
            Some(file) => {
                let named = |problem: &str| {
                    invalid(&format!("webhooks.ca_file {}: {problem}", file.display()))
                };
                let pem = read(file).map_err(|error| named(&error.to_string()))?;
                RootCerts::from(certificates(pem.as_bytes()).map_err(named)?)
            }
            None => RootCerts::PlatformVerifier,
        };
        Ok(Some(WebhookTarget {
            url: url.clone(),
            key: secret(config)?,
            roots,
        }))
    }
}

/// What is wrong with webhooks so configured, if anything.
pub fn check_webhooks(config: &Webhooks) -> io::Result<()> {
    WebhookTarget::open(config).map(|_| ())
}

fn check_url(url: &str) -> Result<(), &'static str> {
    const EXPECTED: &str = "expected a URL such as https://shop.example/ringpost";
    let uri: Uri = url.parse().map_err(|_| EXPECTED)?;
    let authority = uri.authority().ok_or(EXPECTED)?;
    if authority.as_str().contains('@') {
        return Err("it holds a name or password; batches are signed with webhooks.secret");
    }
    match uri.scheme_str() {
        Some("http" | "https") if !authority.host().is_empty() => Ok(()),
        _ => Err(EXPECTED),
    }
}

fn secret(config: &Webhooks) -> io::Result<hmac::Key> {
    let (name, text) = match (&config.secret, &config.secret_file) {
        (Some(_), Some(_)) => {
            return Err(invalid(
                "webhooks.secret and webhooks.secret_file: one of them is enough",
            ));
        }
        (Some(secret), None) => ("webhooks.secret".to_owned(), secret.clone()),
        (None, Some(file)) => {
            let name = format!("webhooks.secret_file {}", file.display());
            let text = read(file).map_err(|error| invalid(&format!("{name}: {error}")))?;
            (name, text)
        }
        (None, None) => {
            return Err(invalid(
                "webhooks.url needs webhooks.secret or webhooks.secret_file, to sign batches with",
            ));
        }
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.len() < SECRET_BYTES_MIN || text.contains(char::is_control) {
        return Err(invalid(&format!(
            "{name}: a secret has at least {SECRET_BYTES_MIN} characters on one line; make one with: openssl rand \
             -hex 32"
        )));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))
}

fn read(file: &std::path::Path) -> io::Result<String> {
    let metadata = std::fs::metadata(file)?;
    // A device or a pipe would be read for ever.
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(invalid("expected a file of at most 1 MiB"));
    }
    std::fs::read_to_string(file)
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, &'static str> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => return Err("expected certificates alone"),
            Err(_) => return Err("expected certificates in PEM"),
        }
    }
    let mut store = rustls::RootCertStore::empty();
    for certificate in &certificates {
        let der = rustls::pki_types::CertificateDer::from(certificate.der());
        store
            .add(der)
            .map_err(|_| "a certificate in it cannot be read")?;
    }
    match certificates.is_empty() {
        true => Err("there is no certificate in it"),
        false => Ok(certificates),
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Makes one request.
pub trait Post {
    fn post(&mut self, body: &[u8], signature: &str, timeout: Duration) -> AttemptResult;
}

/// The client.
pub struct Poster {
    agent: Agent,
    url: String,
    timeout: Duration,
}

impl Poster {
    pub fn new(target: WebhookTarget, timeout: Duration) -> Poster {
        let cryptography = rustls::crypto::aws_lc_rs::default_provider();
        let tls = TlsConfig::builder()
            .root_certs(target.roots)
            .unversioned_rustls_crypto_provider(Arc::new(cryptography))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            // What the environment says of proxies is for whoever started us, not for the back end next door.
            .proxy(None)
            .timeout_global(Some(timeout))
            .max_idle_age(IDLE_AGE_MAX)
            .user_agent(concat!("ringpost/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Poster {
            agent,
            url: target.url,
            timeout,
        }
    }
}

impl Post for Poster {
    fn post(&mut self, body: &[u8], signature: &str, timeout: Duration) -> AttemptResult {
        let mut request = self.agent.post(&self.url);
        if timeout < self.timeout {
            request = request.config().timeout_global(Some(timeout)).build();
        }
        let sent = request
            .header("Content-Type", "application/json")
            .header(FIELD, signature)
            .send(body);
        match sent {
            Ok(mut response) => {
                let retry_after = response.headers().get("Retry-After");
                let retry_after = retry_after.and_then(|value| value.to_str().ok());
                let outcome = AttemptResult::of(response.status().as_u16(), retry_after);
                let body = response.body_mut().with_config();
                let _ = body.limit(RESPONSE_BYTES_MAX).read_to_vec();
                outcome
            }
            // It may quote the receiver.
            Err(error) => AttemptResult::Later {
                why: Escaped(&error.to_string()).to_string(),
                after: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(hooks: &Webhooks) -> String {
        let error = check_webhooks(hooks).expect_err("a mistake").to_string();
        assert!(!error.contains("s3cret"), "{error}");
        error
    }

    fn to(url: &str) -> Webhooks {
        Webhooks {
            url: Some(url.to_owned()),
            secret: Some("s3cret-s3cret-s3cret-s3cret-s3cret".to_owned()),
            ..Webhooks::default()
        }
    }

    #[test]
    fn without_a_url_there_are_none() {
        assert!(WebhookTarget::open(&Webhooks::default()).unwrap().is_none());
    }

    #[test]
    fn what_a_url_may_be() {
        for url in [
            "https://shop.example/hooks?x=1",
            "http://127.0.0.1:8000",
            "http://[::1]:80/",
        ] {
            assert!(check_webhooks(&to(url)).is_ok(), "{url}");
        }
        for url in [
            "",
            "shop.example/hooks",
            "/hooks",
            "ftp://shop.example/",
            "https://",
            "http://a b/",
            "https://me:s3cret@shop.example/",
        ] {
            let problem = problem(&to(url));
            assert!(problem.starts_with("webhooks.url"), "{problem}");
        }
    }

    #[test]
    fn a_secret_is_needed_and_long() {
        let mut hooks = to("https://shop.example/");
        hooks.secret = Some("s3cret".to_owned());
        assert!(problem(&hooks).contains("at least 32"));
        hooks.secret = None;
        assert!(problem(&hooks).contains("webhooks.secret_file"));
        hooks.secret_file = Some("/nowhere/s".into());
        assert!(problem(&hooks).contains("/nowhere/s"));
        hooks.secret_file = Some("/dev/zero".into());
        assert!(problem(&hooks).contains("expected a file"));
    }

    #[test]
    fn certificates_are_looked_at_before_they_are_needed() {
        let mut hooks = to("https://shop.example/");
        for (number, text) in [
            "nothing",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ]
        .iter()
        .enumerate()
        {
            let name = format!("ringpost-ca-{}-{number}", std::process::id());
            let file = std::env::temp_dir().join(name);
            std::fs::write(&file, text).unwrap();
            hooks.ca_file = Some(file.clone());
            let problem = problem(&hooks);
            let _ = std::fs::remove_file(file);
            assert!(problem.starts_with("webhooks.ca_file "), "{problem}");
        }
    }
}
