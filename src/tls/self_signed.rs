//! A certificate for a try, made at the start and signed by itself: [`make`]. No client trusts it unless it is told to, by its
//! fingerprint.
//!
//! As much DER (X.690) as one certificate of ECDSA P-256 needs (RFC 5280, 4.1; RFC 5480).

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// How long it is valid, and from when: clocks differ.
const DAYS: i64 = 90;
const BEFORE: i64 = 86_400;

const FAILED: &str = "no certificate could be made";

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, `[3]` around a value; kinds of names.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS: u8 = 0x82;
const IP: u8 = 0x87;

/// ecdsa-with-SHA256, id-ecPublicKey, secp256r1, commonName, subjectAltName.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// A certificate for `localhost`, the loopback addresses and this machine's name, and its key. `now` is in seconds since 1970.
pub fn make(now: i64) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), String> {
    let failed = |_| FAILED.to_owned();
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(failed)?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref());
    let pair = pair.map_err(|_| FAILED.to_owned())?;
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(failed)?;
    // A positive number, in as few bytes as it has.
    serial[0] = serial[0] & 0x7f | 0x40;
    let algorithm = value(SEQUENCE, &value(OID, ECDSA_SHA256));
    let name = value(SEQUENCE, &common_name("ringpost (self-signed)"));
    let key_algorithm = [value(OID, EC_PUBLIC_KEY), value(OID, P256)].concat();
    let public_key = [&[0], pair.public_key().as_ref()].concat();
    let key = [
        value(SEQUENCE, &key_algorithm),
        value(BIT_STRING, &public_key),
    ]
    .concat();
    let validity = [time(now - BEFORE), time(now + DAYS * 86_400)].concat();
    let names = value(OCTETS, &value(SEQUENCE, &alternative_names()));
    let extension = value(SEQUENCE, &[value(OID, SUBJECT_ALT_NAME), names].concat());
    let body = [
        value(VERSION, &value(INTEGER, &[2])),
        value(INTEGER, &serial),
        algorithm.clone(),
        name.clone(),
        value(SEQUENCE, &validity),
        name,
        value(SEQUENCE, &key),
        value(EXTENSIONS, &value(SEQUENCE, &extension)),
    ];
    let body = value(SEQUENCE, &body.concat());
    let signature = pair.sign(&random, &body).map_err(failed)?;
    let signature = value(BIT_STRING, &[&[0], signature.as_ref()].concat());
    let certificate = value(SEQUENCE, &[body, algorithm, signature].concat());
    let key = PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec());
    Ok((certificate.into(), key.into()))
}

fn common_name(name: &str) -> Vec<u8> {
    let attribute = [value(OID, COMMON_NAME), value(UTF8, name.as_bytes())].concat();
    value(SET, &value(SEQUENCE, &attribute))
}

fn alternative_names() -> Vec<u8> {
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let own = own.trim();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let mut names = value(DNS, b"localhost");
    if !own.is_empty() && own != "localhost" && own.bytes().all(is_name) {
        names.extend(value(DNS, own.as_bytes()));
    }
    for address in ["127.0.0.1", "::1"] {
        match address.parse() {
            Ok(IpAddr::V4(four)) => names.extend(value(IP, &four.octets())),
            Ok(IpAddr::V6(sixteen)) => names.extend(value(IP, &sixteen.octets())),
            Err(_) => {}
        }
    }
    names
}

/// A tag, a length, and what has it.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        length @ 0..0x80 => out.push(length as u8),
        length @ 0x80..0x100 => out.extend([0x81, length as u8]),
        length => {
            out.push(0x82);
            out.extend((length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(content);
    out
}

/// A time in seconds since 1970 (RFC 5280, 4.1.2.5: until 2049 with two digits of the year).
fn time(seconds: i64) -> Vec<u8> {
    let at = UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64);
    // 2026-11-29T15:22:00Z, without what separates.
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    match digits.as_str() < "2050" {
        true => value(UTC_TIME, format!("{}Z", &digits[2..]).as_bytes()),
        false => value(GENERALIZED_TIME, format!("{digits}Z").as_bytes()),
    }
}
