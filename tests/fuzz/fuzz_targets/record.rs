//! TLS records, sealed by the connection's other end as the input has it, with flaws and cut anywhere: whole or in pieces
//! the outcome is the same; what is opened is what was sealed, from the beginning on; and nothing that was changed gets
//! through.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::tls::{Cipher, End, Failure, Given, OpenedRecords, Records, Secret};

const CIPHERS: [Cipher; 3] = [
    Cipher::Aes128Gcm,
    Cipher::Aes256Gcm,
    Cipher::ChaCha20Poly1305,
];
const APPLICATION_DATA: u8 = 23;

fuzz_target!(|bytes: &[u8]| {
    let mut plan = Plan(bytes);
    let (kind, seed) = (plan.byte(), plan.byte());
    let mut sent = Sent::new(kind);
    while !plan.0.is_empty() {
        sent.go_on(&mut plan);
    }
    let mut whole = ends(kind).0;
    let (plain, end) = open(&mut whole, &sent.stream, usize::MAX, 0);
    let mut pieces = ends(kind).0;
    let cut = open(&mut pieces, &sent.stream, 1 + usize::from(seed) * 7, seed);
    assert_eq!((&plain, end), (&cut.0, cut.1), "cut");
    assert!(sent.all.starts_with(&plain), "what was not sealed");
    if end != Some(End::Failed(Failure::Fruitless)) {
        assert!(plain.starts_with(&sent.before), "what came before a flaw");
    }
    // The other way is open, whatever has come.
    let mut reply = Vec::new();
    whole
        .seal([&b"reply"[..]], &mut reply)
        .expect("a key that is new");
    let mut peer = ends(kind).1;
    assert_eq!(open(&mut peer, &reply, 3, 1), (b"reply".to_vec(), None));
});

fn ends(kind: u8) -> (Records, Records) {
    let cipher = CIPHERS[usize::from(kind >> 1) % CIPHERS.len()];
    let long = match cipher {
        Cipher::Aes128Gcm => 16,
        _ => 32,
    };
    let server = if kind & 1 == 0 {
        let given = |key, iv| Given {
            key,
            iv,
            sequence: 1,
        };
        let [theirs, ours] = [1, 2].map(|byte| vec![byte; long]);
        Records::new_12(cipher, given(&theirs, &[3; 12]), given(&ours, &[4; 12])).expect("keys")
    } else {
        let long = if cipher == Cipher::Aes256Gcm { 48 } else { 32 };
        let secret = |byte| Secret::new(&vec![byte; long]).expect("a secret");
        Records::new(cipher, &secret(1), &secret(2))
    };
    let client = server.mirrored();
    (server, client)
}

/// Opens a stream in pieces of up to so many bytes.
fn open(records: &mut Records, stream: &[u8], piece: usize, seed: u8) -> (Vec<u8>, Option<End>) {
    let (mut held, mut plain, mut rest) = (Vec::new(), Vec::new(), stream);
    let mut random = u32::from(seed) | 1;
    loop {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let now = match piece {
            usize::MAX => rest.len(),
            piece => (1 + (random >> 8) as usize % piece).min(rest.len()),
        };
        held.extend_from_slice(&rest[..now]);
        rest = &rest[now..];
        let OpenedRecords {
            taken,
            plain: len,
            end,
        } = records.open(&mut held);
        assert!(len <= taken && taken <= held.len());
        plain.extend_from_slice(&held[..len]);
        held.drain(..taken);
        if end.is_some() {
            assert!(records.has_ended());
            return (plain, end);
        }
        if rest.is_empty() {
            return (plain, None);
        }
    }
}

/// What the other end sends.
struct Sent {
    by: Records,
    stream: Vec<u8>,
    /// Where the last record begins.
    last: usize,
    /// What was sealed for the application, in all and before the first flaw.
    all: Vec<u8>,
    before: Vec<u8>,
    is_flawed: bool,
}

impl Sent {
    fn new(kind: u8) -> Sent {
        Sent {
            by: ends(kind).1,
            stream: Vec::new(),
            last: 0,
            all: Vec::new(),
            before: Vec::new(),
            is_flawed: false,
        }
    }

    fn go_on(&mut self, plan: &mut Plan<'_>) {
        let begin = self.stream.len();
        match plan.byte() % 8 {
            0 | 1 => {
                let length = usize::from(plan.byte()) * usize::from(plan.byte());
                let held: Vec<u8> = (0..length).map(|at| at as u8).collect();
                self.by
                    .seal([&held[..]], &mut self.stream)
                    .expect("a key that is new");
                self.sealed(&held);
            }
            2 => self.by.update_key(plan.byte() & 1 == 1),
            3 => self.by.seal_record(APPLICATION_DATA, &[], &mut self.stream),
            4 => {
                // Zero is none: it would be padding.
                let kind = plan.byte().max(1);
                let held = plan.some();
                self.by.seal_record(kind, held, &mut self.stream);
                match kind {
                    APPLICATION_DATA => self.sealed(held),
                    _ => self.is_flawed = true,
                }
            }
            5 => {
                self.stream.extend_from_slice(plan.some());
                self.is_flawed |= self.stream.len() > begin;
            }
            6 => {
                let last = &mut self.stream[self.last..];
                let at = usize::from(plan.byte());
                let length = last.len();
                if let Some(byte) = last.get_mut(at % length.max(1)) {
                    *byte ^= 1 << (plan.byte() % 8);
                    // It was whole before, and the next one has another number.
                    self.is_flawed = true;
                    self.before.clear();
                }
            }
            _ => {
                let last = self.stream[self.last..].to_vec();
                self.is_flawed |= !last.is_empty();
                self.stream.extend(last);
            }
        }
        if self.stream.len() > begin {
            self.last = begin;
        }
    }

    fn sealed(&mut self, held: &[u8]) {
        self.all.extend_from_slice(held);
        if !self.is_flawed {
            self.before.extend_from_slice(held);
        }
    }
}

/// The input, taken bit by bit; zeros when it is over.
struct Plan<'a>(&'a [u8]);

impl<'a> Plan<'a> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn some(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte() % 64).min(self.0.len());
        let (some, rest) = self.0.split_at(length);
        self.0 = rest;
        some
    }
}
