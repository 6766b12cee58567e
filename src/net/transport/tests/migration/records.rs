//! Moves amid records: a connection that speaks TLS is taken out at any byte of them, and goes on elsewhere.

use super::*;
use crate::tls::{Cipher, End, Records, Secret, TlsConnection};

/// Both ends of a connection, the client's first.
fn ends(rng: &mut fastrand::Rng) -> (Records, Records) {
    let ciphers = [
        Cipher::Aes128Gcm,
        Cipher::Aes256Gcm,
        Cipher::ChaCha20Poly1305,
    ];
    let cipher = ciphers[rng.usize(..ciphers.len())];
    let mut secret = || {
        let bytes: Vec<u8> = (0..32).map(|_| rng.u8(..)).collect();
        Secret::new(&bytes).unwrap()
    };
    let server = Records::new(cipher, &secret(), &secret());
    (server.mirrored(), server)
}

/// What a client says, in records of any size, with new keys in between, up to its close_notify.
fn sealed(client: &mut Records, said: &[u8], rng: &mut fastrand::Rng) -> Vec<u8> {
    let (mut sealed, mut at) = (Vec::new(), 0);
    while at < said.len() {
        let next = (at + rng.usize(1..900)).min(said.len());
        client.seal([&said[at..next]], &mut sealed).unwrap();
        at = next;
        if rng.u8(..) < 40 {
            client.update_key(rng.bool());
        }
    }
    client.seal_close(&mut sealed);
    sealed
}

#[test]
fn who_moves_amid_records_is_answered_as_who_stays() {
    on_both(|kind| {
        let (mut seen, mut all) = (HashMap::new(), 0);
        for seed in 0..400 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (listener, said) = said(&mut rng);
            if [PROXIED, PROXIED_TEXT].contains(&listener) {
                continue;
            }
            let expected = answered(kind, listener, &said);
            let (mut client, server) = ends(&mut rng);
            let said = sealed(&mut client, &said, &mut rng);
            let mut scene = Scene::new(kind, listener, 2);
            for core in &mut scene.cores {
                core.transport.tls.is_on = true;
            }
            let core = &mut scene.cores[0];
            let id = core.host.shard().connections.ids()[0];
            let link = core.transport.links.get_mut(id).unwrap();
            link.progress.tls = Some(Box::new(TlsConnection::established(server)));
            let mut at = 0;
            while at < said.len() && !scene.is_over {
                let most = if rng.bool() { 20 } else { 700 };
                let next = (at + rng.usize(0..most)).min(said.len());
                // What comes after its end is refused by its kernel.
                let _ = scene.client.write_all(&said[at..next]);
                at = next;
                match rng.u8(0..3) {
                    0 => scene.turn(),
                    1 => scene.half_turn(),
                    _ => {}
                }
                if rng.bool() {
                    let to = match rng.bool() {
                        true => Destination::Core,
                        false => Destination::Process,
                    };
                    for one in scene.go(to) {
                        *seen.entry(one).or_insert(0) += 1;
                    }
                }
            }
            let mut heard = scene.end();
            let opened = client.open(&mut heard);
            heard.truncate(opened.plain);
            assert_eq!(
                heard.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "seed {seed}"
            );
            assert_eq!(opened.end, Some(End::Closed), "seed {seed}");
            all += heard.len();
        }
        assert!(all > 50_000, "{all} bytes were answered");
        for one in ["half a record", "unread", "unsent", "closing", "home"] {
            assert!(seen.contains_key(one), "{one}: {seen:?}");
        }
    });
}
