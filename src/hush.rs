//! [`Hush`]: a log line that peers can cause as often as they like, said once a second at most.
//!
//! Who refuses peers has one for each line it says of them; what is kept is a time and a count.

use std::time::{Duration, Instant};

/// The least time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often one log line is said.
#[derive(Default)]
pub struct Hush {
    next: Option<Instant>,
    unsaid: u64,
}

impl Hush {
    /// Whether the line may be said now, and then how many have not been said since the last.
    pub fn ends(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.unsaid += 1;
            return None;
        }
        self.next = Some(now + INTERVAL);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_tells_of_the_others() {
        let (mut hush, start) = (Hush::default(), Instant::now());
        let said: Vec<(usize, u64)> = (0..100)
            .filter_map(|n| Some((n, hush.ends(start + Duration::from_millis(20) * n as u32)?)))
            .collect();
        assert_eq!(said, [(0, 0), (50, 49)]);
    }
}
