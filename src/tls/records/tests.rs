//! The record layer against RFC 8448's vectors, against itself with every flaw that a peer may send, and at its limits.

use std::mem::size_of;

use super::keys::RECORDS_PER_KEY_MAX;
use super::*;
use crate::tls::TlsConnection;
use crate::tls::failure::{End, Failure};

const CIPHERS: [Cipher; 3] = [
    Cipher::Aes128Gcm,
    Cipher::Aes256Gcm,
    Cipher::ChaCha20Poly1305,
];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect()
}

fn secret(cipher: Cipher, byte: u8) -> Secret {
    Secret::new(&vec![byte; cipher.secret_bytes()]).expect("a secret")
}

/// Both ends of a connection.
fn ends(version: Version, cipher: Cipher) -> (Records, Records) {
    let server = match version {
        Version::Tls13 => Records::new(cipher, &secret(cipher, 1), &secret(cipher, 2)),
        Version::Tls12 => {
            let [theirs, ours] = [1, 2].map(|byte| vec![byte; cipher.key_bytes()]);
            let given = |key, iv| Given {
                key,
                iv,
                sequence: 1,
            };
            let ends = Records::new_12(cipher, given(&theirs, &[3; 12]), given(&ours, &[4; 12]));
            ends.expect("keys")
        }
    };
    let client = server.mirrored();
    (server, client)
}

fn all_ends() -> Vec<(Records, Records)> {
    let versions = [Version::Tls12, Version::Tls13];
    let kinds = versions
        .iter()
        .flat_map(|version| CIPHERS.map(|cipher| (*version, cipher)));
    kinds
        .map(|(version, cipher)| ends(version, cipher))
        .collect()
}

/// A record of any kind.
fn record(by: &mut Records, kind: u8, held: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    by.seal_record(kind, held, &mut out);
    out
}

fn sealed(by: &mut Records, held: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    by.seal([held], &mut out).expect("a key that is good");
    out
}

/// What is opened of one piece of input, all of which is taken.
fn opened(by: &mut Records, mut input: Vec<u8>) -> (Vec<u8>, Option<End>) {
    let opened = by.open(&mut input);
    assert_eq!(opened.taken, input.len());
    input.truncate(opened.plain);
    (input, opened.end)
}

fn failure(by: &mut Records, input: Vec<u8>) -> Failure {
    match opened(by, input) {
        (plain, Some(End::Failed(failure))) if plain.is_empty() => failure,
        other => panic!("no failure: {other:?}"),
    }
}

/// RFC 8448, section 3: simple 1-RTT handshake.
#[test]
fn the_published_connection_is_read_and_written_as_published() {
    let client = hex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
    let server = hex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
    let secrets = [client, server].map(|secret| Secret::new(&secret).expect("a secret"));
    let mut records = Records::new(Cipher::Aes128Gcm, &secrets[0], &secrets[1]);
    let key = hex("17422dda596ed5d9acd890e3c63f5051");
    assert!(
        records
            .theirs
            .are(Cipher::Aes128Gcm, &key, &hex("5b78923dee08579033e523d9"))
    );
    let key = hex("9f02283b6c9c07efc26bb9f2ac92e356");
    assert!(
        records
            .ours
            .are(Cipher::Aes128Gcm, &key, &hex("cf782b88dd83549aadf1e984"))
    );
    // The server's first record is its ticket.
    records.ours.set_sequence(1);
    let payload: Vec<u8> = (0..50).collect();
    let from_client = hex(
        "17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 a5 \
         b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4",
    );
    let from_server = hex(
        "17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad 36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 aa 1b 36 e3 0e fa f9 7d \
         90 e6 df fc 60 2d cb 50 1a 59 a8 fc c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54 0d d0 32 e1 67 c2 95 5d",
    );
    assert_eq!(opened(&mut records, from_client), (payload.clone(), None));
    assert_eq!(sealed(&mut records, &payload), from_server);
    let close = hex("17 03 03 00 13 c9 87 27 60 65 56 66 b7 4d 7f f1 15 3e fd 6d b6 d0 b0 e3");
    assert_eq!(opened(&mut records, close), (vec![], Some(End::Closed)));
    let mut out = Vec::new();
    records.seal_close(&mut out);
    assert_eq!(
        out,
        hex("17 03 03 00 13 b5 8f d6 71 66 eb f5 99 d2 47 20 cf be 7e fa 7a 88 64 a9")
    );
}

#[test]
fn a_connection_keeps_224_bytes() {
    assert!(size_of::<Records>() <= 212, "{}", size_of::<Records>());
    let whole = size_of::<TlsConnection>();
    assert!(whole <= 224, "{whole}");
    assert!(std::mem::needs_drop::<Records>(), "its keys are cleared");
}

#[test]
fn cutting_the_input_anywhere_changes_nothing() {
    let mut random = fastrand::Rng::with_seed(1);
    for (mut server, mut client) in all_ends() {
        let mut input = Vec::new();
        let mut plain = Vec::new();
        for _ in 0..200 {
            match random.u8(..6) {
                0 => client.update_key(random.bool()),
                1 => input.extend(record(&mut client, APPLICATION_DATA, &[])),
                _ => {}
            }
            let lengths = [
                0,
                1,
                2,
                130,
                RECORD_PLAIN_MAX - 1,
                RECORD_PLAIN_MAX,
                RECORD_PLAIN_MAX + 1,
            ];
            let mut length = lengths[random.usize(..lengths.len())];
            if length > 200 && random.u8(..8) > 0 {
                length = random.usize(..200);
            }
            let held: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            input.extend(sealed(&mut client, &held));
            plain.extend(held);
        }
        let (mut held, mut got) = (Vec::new(), Vec::new());
        while !input.is_empty() {
            let pieces = [1, 4, 5, 6, 100, 3_000, 70_000];
            let now = pieces[random.usize(..pieces.len())].min(input.len());
            held.extend(input.drain(..now));
            let opened = server.open(&mut held);
            assert!(opened.end.is_none() && opened.plain <= opened.taken);
            got.extend_from_slice(&held[..opened.plain]);
            held.drain(..opened.taken);
            assert!(held.len() < RECORD_BYTES_MAX);
        }
        assert!(got == plain && held.is_empty(), "{server:?}");
    }
}

#[test]
fn many_pieces_are_sealed_as_one_write() {
    for (mut server, mut client) in all_ends() {
        let pieces: Vec<Vec<u8>> = (0..100u8).map(|number| vec![number; 400]).collect();
        let mut out = b"before".to_vec();
        let slices = pieces.iter().map(Vec::as_slice);
        server.seal(slices, &mut out).expect("a key that is good");
        assert_eq!(&out[..6], b"before");
        let out = out.split_off(6);
        // Three records: two of 16 KiB, and what is left of 40,000.
        let overhead = out.len() - 40_000;
        assert!(
            (3 * 21..=3 * OVERHEAD_MAX).contains(&overhead),
            "{overhead}"
        );
        assert_eq!(opened(&mut client, out), (pieces.concat(), None));
        // No bytes, no record.
        let mut out = Vec::new();
        server.seal([], &mut out).expect("nothing to do");
        server
            .seal([&[][..], &[]], &mut out)
            .expect("nothing to do");
        assert!(out.is_empty());
    }
}

#[test]
fn it_goes_on_where_it_was_written_down() {
    for (mut server, mut client) in all_ends() {
        client.update_key(true);
        let first = sealed(&mut client, b"first");
        let mut second = sealed(&mut client, b"second");
        assert_eq!(opened(&mut server, first), (b"first".to_vec(), None));
        let cut = second.split_off(7);
        assert_eq!(server.open(&mut second.clone()).taken, 0);
        // Amid a record, with a key update that is owed; the peer is in the middle of a key update.
        let written = postcard::to_allocvec(&server).expect("written");
        assert!(written.len() <= size_of::<Records>(), "{}", written.len());
        drop(server);
        let mut server: Records = postcard::from_bytes(&written).expect("read");
        second.extend(cut);
        assert_eq!(opened(&mut server, second), (b"second".to_vec(), None));
        let answer = sealed(&mut server, b"answer");
        assert_eq!(opened(&mut client, answer), (b"answer".to_vec(), None));
        let mut again: Records = postcard::from_bytes(&written).expect("read");
        again.held_len = 255;
        // What was changed on its way does no harm.
        let _ = again.open(&mut record(&mut client, HANDSHAKE, &[24]));
    }
}

#[test]
fn a_changed_repeated_or_missing_record_is_a_bad_one() {
    for (mut server, mut client) in all_ends() {
        let written = postcard::to_allocvec(&server).expect("written");
        let fresh = || postcard::from_bytes::<Records>(&written).expect("read");
        let first = sealed(&mut client, b"first");
        let second = sealed(&mut client, b"second");
        for at in 3..first.len() {
            let mut changed = first.clone();
            changed[at] ^= 1;
            let opened = fresh().open(&mut changed);
            // A greater length waits for more.
            match opened.end {
                None => assert!((3..5).contains(&at) && opened.taken == 0),
                end => assert!(matches!(end, Some(End::Failed(_))), "{at}: {end:?}"),
            }
            assert_eq!(opened.plain, 0);
        }
        assert_eq!(failure(&mut fresh(), second), Failure::BadRecordMac);
        let mut twice = first.clone();
        twice.extend(&first);
        let (plain, end) = opened(&mut server, twice);
        // What was good before is given.
        assert_eq!(plain, b"first");
        assert_eq!(end, Some(End::Failed(Failure::BadRecordMac)));
        // It has ended: nothing is looked at any more.
        assert!(server.has_ended());
        assert_eq!(opened(&mut server, b"whatever".to_vec()), (vec![], None));
    }
}

#[test]
fn records_have_a_greatest_length() {
    for (mut server, mut client) in all_ends() {
        let expansion = match server.version {
            Version::Tls12 => EXPANSION_12_MAX,
            Version::Tls13 => EXPANSION_13_MAX,
        };
        let header = |length: usize| {
            let length = (length as u16).to_be_bytes();
            vec![APPLICATION_DATA, 3, 3, length[0], length[1]]
        };
        let written = postcard::to_allocvec(&server).expect("written");
        let fresh = || postcard::from_bytes::<Records>(&written).expect("read");
        // By the header alone.
        let too_long = header(RECORD_PLAIN_MAX + expansion + 1);
        assert_eq!(failure(&mut fresh(), too_long), Failure::RecordOverflow);
        let mut longest = header(RECORD_PLAIN_MAX + expansion);
        assert_eq!(fresh().open(&mut longest).end, None);
        // What it holds.
        let mut full = vec![0; RECORD_PLAIN_MAX];
        full[0] = 1;
        let sealed = record(&mut client, APPLICATION_DATA, &full);
        assert_eq!(opened(&mut server, sealed), (full.clone(), None));
        full.push(1);
        let sealed = record(&mut client, APPLICATION_DATA, &full);
        assert_eq!(failure(&mut server, sealed), Failure::RecordOverflow);
        // Too short to have a tag.
        for length in 0..17 {
            let mut short = header(length);
            short.resize(5 + length, 0);
            assert_eq!(failure(&mut fresh(), short), Failure::BadRecordMac);
        }
    }
}

/// A record of TLS 1.3 whose inner plaintext is given whole.
fn inner(by: &mut Records, plaintext: &[u8]) -> Vec<u8> {
    let (last, held) = plaintext.split_last().expect("a type");
    record(by, *last, held)
}

#[test]
fn padding_is_taken_off() {
    for cipher in CIPHERS {
        let (mut server, mut client) = ends(Version::Tls13, cipher);
        for padding in [1, 5, 255, RECORD_PLAIN_MAX - 3] {
            let mut plaintext = b"abc\x17".to_vec();
            plaintext.resize(4 + padding, 0);
            let sealed = inner(&mut client, &plaintext);
            assert_eq!(opened(&mut server, sealed), (b"abc".to_vec(), None));
        }
        let written = postcard::to_allocvec(&server).expect("written");
        let mut too_long = b"abc\x17".to_vec();
        too_long.resize(RECORD_PLAIN_MAX + 2, 0);
        let sealed = inner(&mut client, &too_long);
        assert_eq!(failure(&mut server, sealed), Failure::RecordOverflow);
        let mut server: Records = postcard::from_bytes(&written).expect("read");
        client.ours.set_sequence(client.ours.sequence() - 1);
        // Nothing but padding.
        let sealed = inner(&mut client, &[0; 20]);
        assert_eq!(failure(&mut server, sealed), Failure::UnexpectedMessage);
    }
}

#[test]
fn what_has_no_place_is_refused() {
    let key_update = [24, 0, 0, 1, 0];
    let both = [key_update, key_update].concat();
    let flaws: [(u8, &[u8], Failure); 16] = [
        (HANDSHAKE, &[], Failure::UnexpectedMessage),
        (HANDSHAKE, &[1, 0, 0, 1, 0], Failure::UnexpectedMessage),
        (HANDSHAKE, &[4, 0, 0, 1, 0], Failure::UnexpectedMessage),
        (HANDSHAKE, &[24, 1], Failure::Decode),
        (HANDSHAKE, &[24, 0, 0, 2, 0, 0], Failure::Decode),
        (HANDSHAKE, &[24, 0, 0, 0], Failure::Decode),
        (HANDSHAKE, &[24, 0, 0, 1, 2], Failure::IllegalParameter),
        (HANDSHAKE, &[24, 0, 0, 1, 0, 0], Failure::UnexpectedMessage),
        (HANDSHAKE, &both, Failure::UnexpectedMessage),
        (ALERT, &[], Failure::UnexpectedMessage),
        (ALERT, &[1], Failure::Decode),
        (ALERT, &[1, 0, 1, 0], Failure::Decode),
        (CHANGE_CIPHER_SPEC, &[1], Failure::UnexpectedMessage),
        (24, b"heartbeat", Failure::UnexpectedMessage),
        (26, b"ack", Failure::UnexpectedMessage),
        (255, b"?", Failure::UnexpectedMessage),
    ];
    for (kind, held, expected) in flaws {
        let (mut server, mut client) = ends(Version::Tls13, Cipher::Aes128Gcm);
        let mut input = record(&mut client, kind, held);
        assert_eq!(
            failure(&mut server, input.clone()),
            expected,
            "{kind} {held:?}"
        );
        let mut out = Vec::new();
        server.seal_alert(expected.alert(), &mut out);
        let heard = opened(&mut client, out);
        assert_eq!(heard, (vec![], Some(End::Alert(expected.alert()))));
        // A header that shows the kind is none of TLS 1.3.
        let (mut server, _) = ends(Version::Tls13, Cipher::Aes128Gcm);
        input[0] = HANDSHAKE;
        assert_eq!(failure(&mut server, input), Failure::UnexpectedMessage);
    }
}

#[test]
fn a_plain_record_after_the_handshake_is_refused() {
    for plain in [
        &[CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1][..],
        &[ALERT, 3, 3, 0, 2, 1, 0],
    ] {
        let (mut server, _) = ends(Version::Tls13, Cipher::Aes128Gcm);
        assert_eq!(
            failure(&mut server, plain.to_vec()),
            Failure::UnexpectedMessage
        );
        let (mut server, _) = ends(Version::Tls12, Cipher::Aes128Gcm);
        assert_eq!(failure(&mut server, plain.to_vec()), Failure::BadRecordMac);
    }
}

#[test]
fn tls_1_2_refuses_a_second_handshake() {
    for cipher in CIPHERS {
        for held in [&[1, 0, 0, 1, 0][..], &[0, 0, 0, 0], &[24, 0, 0, 1, 0]] {
            let (mut server, mut client) = ends(Version::Tls12, cipher);
            let hello = record(&mut client, HANDSHAKE, held);
            assert_eq!(failure(&mut server, hello), Failure::Renegotiation);
            let mut out = Vec::new();
            server.seal_alert(Failure::Renegotiation.alert(), &mut out);
            // A warning (RFC 5246, 7.2.2), which is said of nothing else.
            assert_eq!(opened(&mut client, out), (vec![], None));
        }
        let (mut server, mut client) = ends(Version::Tls12, cipher);
        let mut wrong = sealed(&mut client, b"hello");
        wrong[2] = 1;
        assert_eq!(failure(&mut server, wrong), Failure::UnexpectedMessage);
        let (mut server, mut client) = ends(Version::Tls12, cipher);
        let spec = record(&mut client, CHANGE_CIPHER_SPEC, &[1]);
        assert_eq!(failure(&mut server, spec), Failure::UnexpectedMessage);
    }
}

#[test]
fn alerts_end_it_or_not() {
    for (server, client) in all_ends() {
        let written = [&server, &client].map(|end| postcard::to_allocvec(end).expect("written"));
        let is_12 = server.version == Version::Tls12;
        for (alert, end) in [
            ([1, 0], Some(End::Closed)),
            ([2, 0], Some(End::Closed)),
            ([1, 90], None),
            ([2, 40], Some(End::Alert(40))),
            // In TLS 1.3 the level says nothing (RFC 8446, 6).
            ([1, 41], (!is_12).then_some(End::Alert(41))),
        ] {
            let [mut server, mut client] =
                [0, 1].map(|end| postcard::from_bytes::<Records>(&written[end]).expect("read"));
            let mut input = sealed(&mut client, b"before");
            input.extend(record(&mut client, ALERT, &alert));
            input.extend(sealed(&mut client, b"after"));
            let expected = match end {
                None => b"beforeafter".to_vec(),
                // What comes after it is ignored.
                Some(_) => b"before".to_vec(),
            };
            assert_eq!(opened(&mut server, input), (expected, end), "{alert:?}");
        }
    }
}

#[test]
fn a_key_update_may_come_in_pieces_but_with_nothing_between() {
    let message = [24, 0, 0, 1, 1];
    for cut in 1..5 {
        let (mut server, mut client) = ends(Version::Tls13, Cipher::ChaCha20Poly1305);
        let mut input = record(&mut client, HANDSHAKE, &message[..cut]);
        input.extend(record(&mut client, HANDSHAKE, &message[cut..]));
        client.ours.update(client.cipher);
        input.extend(sealed(&mut client, b"by the next key"));
        for end in 1..input.len() {
            let mut server: Records =
                postcard::from_bytes(&postcard::to_allocvec(&server).expect("written"))
                    .expect("read");
            let mut first = input[..end].to_vec();
            let opened = server.open(&mut first);
            let mut rest = first[opened.taken..].to_vec();
            rest.extend(&input[end..]);
            let opened = server.open(&mut rest);
            assert_eq!(
                (&rest[..opened.plain], opened.end),
                (&b"by the next key"[..], None)
            );
        }
        assert_eq!(
            opened(&mut server, input),
            (b"by the next key".to_vec(), None)
        );
        // It has asked for one of ours, which goes before what we send next.
        let answer = sealed(&mut server, b"answer");
        assert_eq!(answer.len(), 5 + 5 + 17 + 5 + 6 + 17);
        assert_eq!(opened(&mut client, answer), (b"answer".to_vec(), None));
        assert_eq!(sealed(&mut server, b"answer").len(), 5 + 6 + 17);
        for (kind, held) in [
            (APPLICATION_DATA, &b"x"[..]),
            (ALERT, &[1, 0]),
            (APPLICATION_DATA, &[]),
        ] {
            let (mut server, mut client) = ends(Version::Tls13, Cipher::Aes256Gcm);
            let mut input = record(&mut client, HANDSHAKE, &message[..cut]);
            input.extend(record(&mut client, kind, held));
            assert_eq!(failure(&mut server, input), Failure::UnexpectedMessage);
        }
    }
}

#[test]
fn many_requests_for_a_new_key_are_answered_once() {
    let (mut server, mut client) = ends(Version::Tls13, Cipher::Aes128Gcm);
    for _ in 0..20 {
        client.update_key(true);
        let question = sealed(&mut client, b"?");
        assert_eq!(opened(&mut server, question), (b"?".to_vec(), None));
    }
    assert_eq!(sealed(&mut server, b"!").len(), 5 + 5 + 17 + 5 + 1 + 17);
}

#[test]
fn records_without_a_byte_come_to_an_end() {
    for (server, client) in all_ends() {
        let written = [&server, &client].map(|end| postcard::to_allocvec(end).expect("written"));
        let is_13 = server.version == Version::Tls13;
        let kinds: &[(u8, &[u8])] = match is_13 {
            true => &[
                (APPLICATION_DATA, &[]),
                (HANDSHAKE, &[24, 0, 0, 1, 0]),
                (ALERT, &[1, 90]),
            ],
            false => &[(APPLICATION_DATA, &[]), (ALERT, &[1, 41])],
        };
        for (kind, held) in kinds {
            let [mut server, mut client] =
                [0, 1].map(|end| postcard::from_bytes::<Records>(&written[end]).expect("read"));
            let fruitless = |client: &mut Records| {
                let sealed = record(client, *kind, held);
                if *kind == HANDSHAKE {
                    client.ours.update(client.cipher);
                }
                sealed
            };
            for _ in 0..3 {
                for _ in 0..FRUITLESS_MAX {
                    let sealed = fruitless(&mut client);
                    assert_eq!(opened(&mut server, sealed), (vec![], None));
                }
                let sealed = sealed(&mut client, b"x");
                assert_eq!(opened(&mut server, sealed), (b"x".to_vec(), None));
            }
            let input: Vec<u8> = (0..=FRUITLESS_MAX)
                .flat_map(|_| fruitless(&mut client))
                .collect();
            assert_eq!(failure(&mut server, input), Failure::Fruitless);
        }
    }
}

#[test]
fn a_key_is_renewed_before_it_is_worn() {
    for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm] {
        let (mut server, mut client) = ends(Version::Tls13, cipher);
        for end in [&mut server.ours, &mut client.theirs] {
            end.set_sequence(RECORDS_PER_KEY_MAX - 2);
        }
        let mut out = Vec::new();
        for number in 0..5u8 {
            server
                .seal([&[number][..]], &mut out)
                .expect("a key that is good");
        }
        // Amid one write, too.
        let long = vec![7; 5 * RECORD_PLAIN_MAX];
        server.ours.set_sequence(RECORDS_PER_KEY_MAX - 2);
        let (plain, end) = opened(&mut client, out);
        assert_eq!((plain, end), ((0..5).collect(), None));
        assert_eq!(client.theirs.sequence(), 3);
        client.theirs.set_sequence(RECORDS_PER_KEY_MAX - 2);
        let sealed_long = sealed(&mut server, &long);
        assert_eq!(opened(&mut client, sealed_long), (long, None));
        assert_eq!(server.ours.sequence(), 3);
        // A peer that has used its own key enough is asked for another.
        for end in [&mut server.theirs, &mut client.ours] {
            end.set_sequence(RECORDS_PER_KEY_MAX - 1);
        }
        client.wants_update = false;
        let mut out = Vec::new();
        client.seal_record(APPLICATION_DATA, b"last", &mut out);
        assert_eq!(opened(&mut server, out), (b"last".to_vec(), None));
        let asking = sealed(&mut server, b"renew");
        client.owes_update = false;
        assert_eq!(opened(&mut client, asking), (b"renew".to_vec(), None));
        assert!(client.owes_update);
    }
    // No key of ChaCha20 is worn.
    let (mut server, _) = ends(Version::Tls13, Cipher::ChaCha20Poly1305);
    server.ours.set_sequence(1 << 40);
    assert_eq!(sealed(&mut server, b"x").len(), 5 + 1 + 17);
}

#[test]
fn tls_1_2_ends_when_its_key_is_worn() {
    let (mut server, mut client) = ends(Version::Tls12, Cipher::Aes128Gcm);
    for end in [&mut server.ours, &mut client.theirs] {
        end.set_sequence(RECORDS_PER_KEY_MAX - 1);
    }
    let last = sealed(&mut server, b"last");
    assert_eq!(opened(&mut client, last), (b"last".to_vec(), None));
    let mut out = Vec::new();
    assert_eq!(server.seal([&b"more"[..]], &mut out), Err(Exhausted));
    assert!(out.is_empty());
    // But that it ends can be said.
    server.seal_close(&mut out);
    assert_eq!(opened(&mut client, out), (vec![], Some(End::Closed)));
}

#[test]
fn no_key_is_shown() {
    let (server, _) = ends(Version::Tls13, Cipher::Aes128Gcm);
    let text = format!("{server:?}");
    assert_eq!(
        text,
        "Records { version: Tls13, cipher: Aes128Gcm, opened: 0, sealed: 0, .. }"
    );
    assert_eq!(format!("{:?}", secret(Cipher::Aes128Gcm, 1)), "Secret");
}
