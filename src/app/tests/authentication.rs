//! What an app may bind where connections have to prove who they are.

use std::sync::Arc;

use super::*;
use crate::auth::{Credential, Keyring, Verifier, ends_after, wall_time};
use crate::config::Auth;

/// Cores that ask for proofs, and what makes them.
fn authentication(cores: usize, script: Script) -> (Cores, Arc<Keyring>) {
    let name = format!("ringpost-app-{}-{}", std::process::id(), fastrand::u64(..));
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, "a secret that has 32 characters!").expect("a file is written");
    let config = Config {
        auth: Auth::Hmac,
        auth_key_file: Some(file.clone()),
        ..Config::default()
    };
    let keyring = Keyring::open(&config).expect("a key").expect("a ring");
    let _ = std::fs::remove_file(file);
    let mut cores = Cores::with(cores, &config, true, script);
    for host in &mut cores.hosts {
        host.set_verifier(Verifier::new(Arc::clone(&keyring)));
    }
    (cores, keyring)
}

fn token(keyring: &Keyring, uid: &str) -> String {
    let expires = ends_after(Duration::from_secs(60));
    keyring.mint(uid, expires).expect("a secret signs")
}

#[test]
fn a_proof_stands_in_for_the_first_message() {
    for core in 0..2 {
        let (mut cores, keyring) = authentication(2, |cx, _, event| {
            if let Some(uid) = event.strip_prefix("proved ") {
                cx.bind_uid(uid);
            }
        });
        let uid = cores.uid_of(core);
        let client = cores.open(0);
        cores.say(client, &token(&keyring, &uid));
        cores.say(client, "hello");
        let (at, id) = cores.clients[client];
        assert_eq!(at, core);
        assert_eq!(cores.hosts[at].shard().proved(id), Some(&*uid));
        let proved = format!("proved {uid}");
        assert_eq!(
            cores.log(),
            ["connect", &proved, "bound Ok(())", "message hello"]
        );
        // A further proof is none of the app's messages, wherever the connection is.
        cores.say(client, &format!("auth {}", token(&keyring, &uid)));
        assert_eq!(cores.log().len(), 4);
        assert_eq!(cores.phase(client), Phase::Home);
        cores.end();
    }
}

#[test]
fn nothing_binds_that_was_not_proved() {
    let (mut cores, keyring) = authentication(2, |cx, _, event| {
        if event.starts_with("proved ") {
            cx.bind_uid("ann");
        }
    });
    let client = cores.open(0);
    cores.say(client, &token(&keyring, "tom"));
    assert_eq!(cores.phase(client), Phase::Closing);
    let log = cores.log();
    assert_eq!(
        log[2..],
        ["bound Err(Unproved(OtherUid))", "close BadLogin"]
    );
    cores.end();
}

#[test]
fn nothing_binds_before_a_proof() {
    for address in [false, true] {
        let script: Script = match address {
            true => |cx, _, event| {
                if event == "connect" {
                    cx.bind_address();
                }
            },
            false => |cx, _, event| {
                if event == "connect" {
                    cx.bind_uid("tom");
                }
            },
        };
        let (mut cores, _) = authentication(2, script);
        let client = cores.open(0);
        assert_eq!(cores.phase(client), Phase::Closing);
        let log = cores.log();
        assert_eq!(log[1..], ["bound Err(Unproved(Missing))", "close BadLogin"]);
        cores.end();
    }
}

#[test]
fn an_address_binds_with_any_proof() {
    let (mut cores, keyring) = authentication(2, |cx, _, event| {
        if event.starts_with("proved ") {
            assert_eq!(cx.proved(), Some("tom"));
            cx.bind_address();
        }
    });
    let client = cores.open(0);
    cores.say(client, &token(&keyring, "tom"));
    assert_eq!(cores.phase(client), Phase::Home);
    assert!(cores.log().contains(&"bound Ok(())".to_owned()));
    cores.end();
}

#[test]
fn a_proof_comes_with_the_handshake_too() {
    let (mut cores, keyring) = authentication(1, |cx, _, event| {
        if let Some(uid) = event.strip_prefix("proved ") {
            cx.bind_uid(uid);
        }
    });
    let client = cores.open(0);
    let (core, id) = cores.clients[client];
    let token = token(&keyring, "tom");
    let credential = cores.hosts[core]
        .check_credential(&token)
        .expect("a good token");
    assert!(credential.expires > wall_time());
    cores.hosts[core].prove(id, Credential { ..credential });
    assert_eq!(cores.phase(client), Phase::Home);
    assert_eq!(cores.hosts[core].shard().connections.uid(id), Some("tom"));
    assert!(cores.hosts[core].check_credential("tom").is_err());
    cores.end();
}
