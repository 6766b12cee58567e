//! What Redis answers, in words for whoever runs the server.

use redis::RedisError;

const WRONG_PASSWORD: &str =
    "the name or password is wrong (cluster.secret_file, and the user in cluster.redis)";
/// What is told of an error.
const ERROR_CHARS_MAX: usize = 120;
/// What is said where a slot has another master.
pub const MOVED: &str = "the slot has another master now";

/// What is said where its time is over.
pub const NO_ANSWER: &str = "Redis does not answer";
/// What is said where Redis, or the network, has ended the connection that is subscribed.
pub const SUBSCRIPTIONS_ENDED: &str = "Redis has ended the subscriptions' connection";

/// An error as whoever runs the server can use it.
pub fn in_words(error: &RedisError) -> String {
    match error.code() {
        Some("WRONGPASS") => WRONG_PASSWORD.to_owned(),
        Some("MOVED") => MOVED.to_owned(),
        Some("NOAUTH") => {
            "it wants a password; name the file that holds it in cluster.secret_file".to_owned()
        }
        _ if error.kind() == redis::ErrorKind::AuthenticationFailed => WRONG_PASSWORD.to_owned(),
        _ if error.kind() == redis::ErrorKind::RESP3NotSupported => {
            "it does not know RESP3 (HELLO): it is too old, or a proxy; a cluster needs Redis 6.2 or later, or Valkey"
                .to_owned()
        }
        _ if error.kind() == redis::ErrorKind::Parse => {
            "what answers there does not speak Redis' protocol; is the port right?".to_owned()
        }
        _ if error.is_timeout() => {
            "it does not answer in time; is it a Redis, and its port one by TLS where the URL is rediss://?".to_owned()
        }
        _ => plain(&error.to_string()),
    }
}

/// What has no kind of its own; of TLS it is a word of the program's.
fn plain(words: &str) -> String {
    let certificate = words.split_once("invalid peer certificate: ");
    match certificate.map(|(_, why)| why) {
        Some("UnknownIssuer") => {
            "its certificate is of an authority that is not known; name that authority's file in cluster.ca_file"
                .to_owned()
        }
        Some(why) if why.contains("CaUsedAsEndEntity") => {
            "its certificate is an authority's own; it needs one that this authority has signed".to_owned()
        }
        Some(why) => format!("its certificate will not do: {}", shortened(why)),
        None if words.contains("InvalidContentType") => {
            "what answers there does not speak TLS; is the port right? By redis:// it goes without".to_owned()
        }
        None => shortened(words),
    }
}

/// Its first line, and not all of one that is long: Redis may quote what it was told.
fn shortened(words: &str) -> String {
    let line = words.lines().next().unwrap_or_default();
    match line.char_indices().nth(ERROR_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_tls_are_told_in_words() {
        for (words, told) in [
            ("invalid peer certificate: UnknownIssuer", "cluster.ca_file"),
            (
                "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
                "has signed",
            ),
            ("invalid peer certificate: Expired", "will not do: Expired"),
            (
                "received corrupt message of type InvalidContentType",
                "does not speak TLS",
            ),
        ] {
            assert!(plain(words).contains(told), "{words}");
        }
    }

    #[test]
    fn an_error_is_a_line() {
        assert_eq!(shortened("unknown\nmore"), "unknown");
        assert_eq!(shortened(&"é".repeat(300)).chars().count(), 121);
    }
}
