//! What a request has come to ([`AttemptResult`]), and how long to wait before it is made again ([`Backoff`]).

use std::time::Duration;

/// The first pause; each later one is twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// A receiver that asks for more patience than this gets this much.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// What a request has come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttemptResult {
    /// The receiver has the batch.
    Delivered,
    /// It may have it later, perhaps after a time that it names.
    Later {
        why: String,
        after: Option<Duration>,
    },
    /// It does not want it, and will not.
    Refused { why: String },
}

impl AttemptResult {
    /// What a response means.
    pub fn of(status: u16, retry_after: Option<&str>) -> AttemptResult {
        let why = format!("status {status}");
        match status {
            200..=299 => AttemptResult::Delivered,
            408 | 425 | 429 | 500..=599 => AttemptResult::Later {
                why,
                after: retry_after.and_then(seconds),
            },
            // The configured URL is meant: another one might be anybody's, and would get uids and addresses.
            300..=399 => AttemptResult::Refused {
                why: format!("{why}: redirects are not followed"),
            },
            _ => AttemptResult::Refused { why },
        }
    }
}

/// A time in seconds (RFC 9110, section 10.2.3); one as a date is not read.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// The pauses between requests that come to nothing.
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub fn new(max: Duration) -> Backoff {
        let next = FIRST_DELAY.min(max);
        Backoff { next, max }
    }

    /// The next pause, `random` being from 0 to 1: half of it is by chance, so that servers whose receiver was
    /// away do not all come back at once.
    pub fn pause(&mut self, random: f64) -> Duration {
        let pause = self.next.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
        self.next = (self.next * 2).min(self.max);
        pause
    }

    /// A request has come to something.
    pub fn reset(&mut self) {
        *self = Backoff::new(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_responses_mean() {
        for status in [200, 204, 299] {
            assert_eq!(AttemptResult::of(status, None), AttemptResult::Delivered);
        }
        for status in [408, 429, 500, 503, 599] {
            let outcome = AttemptResult::of(status, None);
            assert!(
                matches!(outcome, AttemptResult::Later { after: None, .. }),
                "{status}"
            );
        }
        for status in [301, 307, 400, 401, 404, 410, 999] {
            let outcome = AttemptResult::of(status, Some("1"));
            assert!(matches!(outcome, AttemptResult::Refused { .. }), "{status}");
        }
    }

    #[test]
    fn a_receiver_may_ask_for_patience() {
        for (text, expected) in [
            ("2", Some(2)),
            (" 120 ", Some(120)),
            ("0", Some(0)),
            ("99999999", Some(3_600)),
            ("-1", None),
            ("soon", None),
            ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ] {
            let AttemptResult::Later { after, .. } = AttemptResult::of(429, Some(text)) else {
                panic!("{text}")
            };
            assert_eq!(after, expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let pauses = |random: f64| {
            let mut backoff = Backoff::new(Duration::from_secs(2));
            let pauses: Vec<u128> = (0..5).map(|_| backoff.pause(random).as_millis()).collect();
            backoff.reset();
            assert_eq!(backoff.pause(1.0).as_millis(), 250);
            pauses
        };
        assert_eq!(pauses(1.0), [250, 500, 1_000, 2_000, 2_000]);
        assert_eq!(pauses(0.0), [125, 250, 500, 1_000, 1_000]);
        let mut short = Backoff::new(Duration::from_millis(10));
        assert_eq!(short.pause(1.0).as_millis(), 10);
    }
}
