//! The plain token as PHP, Python and JavaScript make it, by the programs in `examples/`; and `ringpost token`.
//! A language that is not here is left out, and said so.

use std::process::Command;

use crate::on_cores;
use crate::server::binary;
use crate::tokens::{Carrier, File, SECRET, in_seconds, server};

on_cores! {
    what_other_languages_sign_gets_in,
    what_the_program_signs_gets_in,
}

/// What a program prints, or `None` if it cannot be started.
fn printed(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    Some(
        String::from_utf8(output.stdout)
            .expect("ASCII")
            .trim()
            .to_owned(),
    )
}

async fn what_other_languages_sign_gets_in(cores: usize) {
    let keys = File::new(&format!("{SECRET}\n"));
    let server = server(cores, "hmac", &keys, &[]).await;
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tokens");
    for (program, file) in [
        ("php", "token.php"),
        ("python3", "token.py"),
        ("node", "token.js"),
    ] {
        for uid in ["tom", "a.b c", "李雷"] {
            let mut command = Command::new(program);
            command
                .arg(format!("{examples}/{file}"))
                .args([uid, keys.path()]);
            let Some(token) = printed(&mut command) else {
                println!("{program} is not here: its token is not tried");
                break;
            };
            let expires: u64 = token
                .split('.')
                .nth(1)
                .and_then(|it| it.parse().ok())
                .expect("a time");
            assert!(
                expires.abs_diff(in_seconds(3_600)) < 60,
                "{program}: {token}"
            );
            for carrier in [
                Carrier::Query,
                Carrier::Subprotocol,
                Carrier::Message("text"),
            ] {
                let mut client = carrier
                    .connect(&server, "relay", &token)
                    .await
                    .expect("101");
                client
                    .expect(&format!("login success, your uid is {uid}"))
                    .await;
            }
        }
    }
}

async fn what_the_program_signs_gets_in(cores: usize) {
    let keys = File::new(SECRET);
    for auth in ["hmac", "jwt"] {
        let mut server = server(cores, auth, &keys, &[]).await;
        let mut command = Command::new(binary());
        command.args(["token", "tom", "--ttl", "1h"]);
        command
            .env("RINGPOST_AUTH", auth)
            .env("RINGPOST_AUTH_KEY_FILE", keys.path());
        let token = printed(&mut command).expect("the binary starts");
        let mut client = Carrier::Query
            .connect(&server, "relay", &token)
            .await
            .expect("101");
        client.expect("login success, your uid is tom").await;
        assert!(server.is_running());
    }
    let mut command = Command::new(binary());
    let refused = command
        .args(["token", "tom"])
        .env_remove("RINGPOST_AUTH")
        .output();
    let refused = refused.expect("the binary starts");
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("auth"),
        "{refused:?}"
    );
}
