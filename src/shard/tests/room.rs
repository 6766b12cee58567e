//! Whether an outbox has room for what a codec makes of a message.

use std::rc::Rc;

use super::*;
use crate::shard::Joining;

/// An outbox that holds a largest message and its head, no more, and what a codec makes most of: bytes that are no
/// UTF-8 are three each on a text connection, line ends seven each among events.
#[test]
fn whoever_has_refused_nothing_takes_a_largest_message_of_any_codec() {
    const BYTES: usize = 1_000;
    let most = BYTES + 10 + OUTBOX_MESSAGE_COST;
    let flawed = [0xff; BYTES];
    let lines = "\n".repeat(BYTES);
    for (codec, message, encoded_least) in [
        (Codec::WebSocket, Message::Binary(&flawed), BYTES),
        (Codec::Frame, Message::Binary(&flawed), BYTES),
        (Codec::Text, Message::Binary(&flawed), 3 * BYTES),
        (Codec::Sse, Message::Text(&lines), 7 * BYTES),
    ] {
        let specs = Rc::from([spec(codec, 0, most)]);
        let mut shard = Shard::new(&Config::default(), specs, 2);
        let id = bound(&mut shard, 0, "u");
        let joining = shard.join(id, "g", None);
        assert!(matches!(joining, Joining::In { .. }), "{joining:?}");
        for way in 0..4 {
            let reached = match way {
                0 => u32::from(shard.send(id, message)),
                1 => shard.send_to_uid(REACH, "u", message),
                2 => shard.send_to_everybody(REACH, message),
                _ => shard.send_to_group(REACH, "g", message, false),
            };
            assert_eq!(reached, 1, "{codec:?}, way {way}");
            assert!(waiting(&shard, id).len() >= encoded_least, "{codec:?}");
            write_all(&mut shard, id);
        }
        assert_eq!(shard.connections.phase(id), Phase::Home, "{codec:?}");
        // Who has refused one has no room for another.
        assert!(shard.send(id, message));
        shard.set_blocked(id, true);
        assert!(!shard.send(id, message), "{codec:?}");
        assert_eq!(
            shard.connections.reason(id),
            Some(CloseReason::SlowConsumer)
        );
        check_accounts(&shard, "codecs");
    }
}
