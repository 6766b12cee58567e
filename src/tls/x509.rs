//! What rustls does not tell of a certificate: its names and how long it is valid (RFC 5280, 4.1 and 4.2.1.6).
//!
//! A reader of as much DER as that needs. It checks no signature: of a client's certificate that has been done before.

use std::net::{Ipv4Addr, Ipv6Addr};

const BOOLEAN: u8 = 0x01;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, `[3]` around a value.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Kinds of names in subjectAltName.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// id-ce-subjectAltName, id-at-commonName.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// What is read of a certificate.
#[derive(Debug, Default)]
pub struct CertificateFacts<'a> {
    /// The names themselves, as DER: they are compared only.
    pub issuer: &'a [u8],
    pub subject: &'a [u8],
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// Names of hosts; a first label of `*` stands for any.
    pub dns: Vec<&'a str>,
    pub ips: Vec<String>,
    /// URIs and e-mail addresses.
    pub others: Vec<&'a str>,
    pub common_name: Option<&'a str>,
}

/// Reads a certificate. `None` if it is none.
pub fn read(der: &[u8]) -> Option<CertificateFacts<'_>> {
    let mut certificate = Reader(Reader(der).expect(SEQUENCE)?);
    let mut body = Reader(certificate.expect(SEQUENCE)?);
    if body.peek() == Some(VERSION) {
        body.next()?;
    }
    // Serial number and signature algorithm.
    body.next()?;
    body.next()?;
    let issuer = body.expect(SEQUENCE)?;
    let mut validity = Reader(body.expect(SEQUENCE)?);
    let subject = body.expect(SEQUENCE)?;
    let mut facts = CertificateFacts {
        issuer,
        subject,
        not_before: time(validity.next()?)?,
        not_after: time(validity.next()?)?,
        common_name: common_name(subject),
        ..CertificateFacts::default()
    };
    // The public key, and ids that nobody uses.
    while let Some((tag, value)) = body.next() {
        if tag == EXTENSIONS {
            extensions(Reader(value).expect(SEQUENCE)?, &mut facts)?;
        }
    }
    Some(facts)
}

fn extensions<'a>(extensions: &'a [u8], facts: &mut CertificateFacts<'a>) -> Option<()> {
    let mut extensions = Reader(extensions);
    while !extensions.0.is_empty() {
        let mut extension = Reader(extensions.expect(SEQUENCE)?);
        let id = extension.expect(OID)?;
        if extension.peek() == Some(BOOLEAN) {
            extension.next()?;
        }
        let value = extension.expect(OCTETS)?;
        if id == SUBJECT_ALT_NAME {
            let mut names = Reader(Reader(value).expect(SEQUENCE)?);
            while !names.0.is_empty() {
                let (tag, name) = names.next()?;
                match tag {
                    DNS => facts.dns.push(str::from_utf8(name).ok()?),
                    URI | EMAIL => facts.others.push(str::from_utf8(name).ok()?),
                    IP => facts.ips.extend(ip(name)),
                    _ => {}
                }
            }
        }
    }
    Some(())
}

fn ip(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(sixteen).to_string())
}

/// The common name of a subject or an issuer: the last one, which is the most specific.
pub fn common_name(subject: &[u8]) -> Option<&str> {
    let mut parts = Reader(subject);
    let mut found = None;
    while let Some((SET, part)) = parts.next() {
        let mut attributes = Reader(part);
        while let Some((SEQUENCE, attribute)) = attributes.next() {
            let mut attribute = Reader(attribute);
            if attribute.expect(OID) == Some(COMMON_NAME) {
                found = attribute.next();
            }
        }
    }
    str::from_utf8(found?.1).ok()
}

/// A time as seconds since 1970 (RFC 5280, 4.1.2.5).
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME if text.len() == 12 => {
            let year: i64 = text[..2].parse().ok()?;
            (
                if year < 50 { 2000 + year } else { 1900 + year },
                &text[2..],
            )
        }
        GENERALIZED_TIME if text.len() == 14 => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let two = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (two(0)?, two(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = two(4)? * 3_600 + two(6)? * 60 + two(8)?;
    Some(days(year, month, day) * 86_400 + seconds)
}

/// Days since 1970 of a date of our calendar, counted in years that begin with March, whose leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let until_1970 = 719_468;
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - until_1970
}

/// Values of DER one after another.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value, by its tag of one byte.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.is_empty() || bytes.len() > 4 {
                return None;
            }
            length = bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (value, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, value))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, value)| value)
    }
}
