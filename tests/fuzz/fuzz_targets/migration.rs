//! A connection in writing, as another process sends it: whatever is read can be written again and says the same then, and
//! it goes on with whatever its client sends.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use ringpost::Message;
use ringpost::migration::{Input, Migration, Unreadable, VERSION};
use ringpost::protocol::Decoded;

const BYTES_MAX: usize = 1_000;

fuzz_target!(|bytes: &[u8]| {
    // What its client sends then, after the first byte that says how much that is.
    let Some((&more, bytes)) = bytes.split_first() else {
        return;
    };
    let (written, follow) = bytes.split_at(bytes.len() - usize::from(more).min(bytes.len()));
    let mut migration = match Migration::read(written, Instant::now()) {
        Ok(migration) => migration,
        Err(Unreadable::Version(version)) => return assert_ne!(version, VERSION),
        Err(Unreadable::Damaged(_)) => return,
    };
    let held = migration.transport_part.progress.bytes_held();
    assert!(
        held <= 8 * written.len() + 2_048,
        "{held} bytes are held of {} that were written",
        written.len()
    );
    let once = migration.write().expect("its session was written");
    let again = Migration::read(&once, Instant::now()).expect("what was written is read");
    assert_eq!(again.write(), Some(once), "it says something else");
    let mut input = follow.to_vec();
    let mut at = 0;
    match &mut migration.transport_part.progress.input {
        Input::Messages(decoder) => {
            decoder.set_message_bytes_max(BYTES_MAX);
            while let Ok(Some(event)) = decoder.next(&mut input, &mut at) {
                if let Decoded::Message(message) = event {
                    check_message(message);
                }
            }
        }
        Input::Requests(decoder) => {
            if decoder.is_in_body() {
                let _ = decoder.body(&input, &mut at);
            } else {
                let _ = decoder.head(&input, &mut at, BYTES_MAX);
            }
        }
        Input::Handshake(handshake) => drop(handshake.advance(&input)),
        Input::ProxyHeader(header) => drop(header.advance(&input)),
        Input::Ignored => {}
    }
});

fn check_message(message: Message<'_>) {
    assert!(message.len() <= BYTES_MAX);
    if let Message::Text(text) = message {
        assert!(str::from_utf8(text.as_bytes()).is_ok(), "text is UTF-8");
    }
}
