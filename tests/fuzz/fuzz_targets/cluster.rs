//! What nodes of a cluster say to each other: whatever is read can be written again and says the same then; what is cut off is
//! no whole message; and nothing is held that has not come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::protocol::cluster::{ClusterMessage, DecodeError, VERSION, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let message = match decode(bytes) {
        Ok(message) => message,
        Err(DecodeError::Version(version)) => {
            assert_ne!(version, VERSION);
            return;
        }
        Err(DecodeError::Unknown(head)) => {
            // Whoever sent it is told.
            assert!(head.namespaces.len() <= bytes.len());
            return;
        }
        Err(DecodeError::Flawed) => return,
    };
    match &message {
        ClusterMessage::Order(_, order) => assert!(order.bytes() <= bytes.len()),
        ClusterMessage::Answers(answers) => assert!(answers.len() <= bytes.len()),
        ClusterMessage::Word(word) => assert!(word.name.len() <= bytes.len()),
        ClusterMessage::Marker(_) => {}
    }
    let once = encode(&message);
    // Numbers may have been written longer than they need be.
    assert!(once.len() <= bytes.len());
    for end in 0..once.len().min(64) {
        assert!(decode(&once[..end]).is_err(), "a part of it is a message");
    }
    assert_eq!(decode(&once), Ok(message));
});
