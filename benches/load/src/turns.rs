//! [`Turns`]: how long ringpost's cores stayed away from their sockets, from its own `/metrics`: the histogram of the
//! turns between two scrapes. Only by `--metrics`; no other server has it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde::Serialize;

/// For the whole scrape, a step of it each.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A page of metrics has some 100 KB.
const PAGE_BYTES_MAX: u64 = 16 << 20;
const BUCKET: &str = "ringpost_turn_duration_seconds_bucket{";
/// What no turn should pass.
const LONG_SECONDS: f64 = 0.01;

/// Turns of all cores so far, by the bucket's bound in seconds: cumulative, as Prometheus has them.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Turns(BTreeMap<u64, (f64, u64)>);

/// Turns in the measured time and the draining.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct TurnsMade {
    pub count: u64,
    /// The bound of the bucket that the longest is in; nothing where it was longer than them all.
    pub longest_at_most_seconds: Option<f64>,
    pub above_10_ms: u64,
}

impl Turns {
    /// Scrapes `HOST:PORT`; the error says what was there instead.
    pub fn scrape(address: &str, token: Option<&str>) -> Result<Turns, String> {
        let page =
            fetch(address, token).map_err(|error| format!("--metrics {address}: {error}"))?;
        let turns = Turns::read(&page);
        match turns.0.is_empty() {
            true => {
                let first = page.lines().next().unwrap_or("nothing");
                let first = super::escape::escaped(first);
                Err(format!(
                    "--metrics {address}: expected ringpost's metrics, and it answers \"{first}\""
                ))
            }
            false => Ok(turns),
        }
    }

    fn read(page: &str) -> Turns {
        let mut turns = Turns::default();
        for line in page.lines().filter_map(|line| line.strip_prefix(BUCKET)) {
            let Some((labels, count)) = line.rsplit_once(' ') else {
                continue;
            };
            let bound = labels.split_once("le=\"").and_then(|(_, rest)| {
                let (bound, _) = rest.split_once('"')?;
                bound.parse::<f64>().ok()
            });
            if let (Some(bound), Ok(count)) = (bound, count.parse::<f64>()) {
                // Positive numbers are in the order of their bits.
                turns.0.entry(bound.to_bits()).or_insert((bound, 0)).1 += count as u64;
            }
        }
        turns
    }

    pub fn since(&self, earlier: &Turns) -> TurnsMade {
        let made = |(bits, (bound, count)): (&u64, &(f64, u64))| {
            let before = earlier.0.get(bits).map_or(0, |(_, count)| *count);
            (*bound, count.saturating_sub(before))
        };
        let made: Vec<(f64, u64)> = self.0.iter().map(made).collect();
        let count = made.last().map_or(0, |(_, count)| *count);
        let within = made.iter().rev().find(|(bound, _)| *bound <= LONG_SECONDS);
        let longest = made.iter().find(|(_, up_to)| *up_to == count);
        TurnsMade {
            count,
            longest_at_most_seconds: longest
                .map(|(bound, _)| *bound)
                .filter(|bound| bound.is_finite()),
            above_10_ms: count - within.map_or(0, |(_, count)| *count),
        }
    }
}

fn fetch(address: &str, token: Option<&str>) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let token = match token {
        Some(token) => format!("Authorization: Bearer {token}\r\n"),
        None => String::new(),
    };
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut page = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(counts: [[u64; 3]; 2]) -> Turns {
        let mut page = String::from("# TYPE ringpost_turn_duration_seconds histogram\n");
        for (core, counts) in counts.iter().enumerate() {
            for (bound, count) in ["0.005", "0.01", "+Inf"].iter().zip(counts) {
                page.push_str(&format!(
                    "{BUCKET}core=\"{core}\",le=\"{bound}\"}} {count}\n"
                ));
            }
        }
        page.push_str("ringpost_turn_duration_seconds_sum{core=\"0\"} 3.5\n");
        Turns::read(&page)
    }

    #[test]
    fn the_longest_is_of_the_time_between() {
        let before = page([[1, 2, 9], [0, 0, 0]]);
        let made = page([[5, 6, 13], [7, 7, 7]]).since(&before);
        assert_eq!((made.count, made.above_10_ms), (11, 0));
        assert_eq!(made.longest_at_most_seconds, Some(0.005));
        let made = page([[5, 6, 13], [7, 8, 8]]).since(&before);
        assert_eq!((made.count, made.above_10_ms), (12, 0));
        assert_eq!(made.longest_at_most_seconds, Some(0.01));
        let made = page([[5, 6, 13], [7, 8, 9]]).since(&before);
        assert_eq!((made.count, made.above_10_ms), (13, 1));
        assert_eq!(made.longest_at_most_seconds, None);
    }

    #[test]
    fn what_is_no_page_of_metrics_has_no_turns() {
        assert_eq!(
            Turns::read("HTTP/1.1 404 Not Found\r\n\r\n"),
            Turns::default()
        );
    }
}
