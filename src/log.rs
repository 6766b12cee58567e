//! Log lines on their way to standard error: a bounded queue, and a thread of its own that writes.
//!
//! A pipe that nobody reads, or a terminal after Ctrl-S, keeps whoever writes waiting. That may be this thread alone: a
//! core that waits serves nobody, and peers can cause lines. What finds no room is lost, counted ([`lost`]), and told of
//! as soon as lines are taken again. Bound: [`QUEUE_BYTES_MAX`].
//!
//! The program's log goes this way. Another program's does by
//! `tracing_subscriber::fmt().with_writer(ringpost::log::stderr).init()`.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use tracing::error;

/// Bytes of lines that may wait to be written, each counting 64 bytes more. What does not fit is lost.
pub const QUEUE_BYTES_MAX: usize = 1 << 20;
/// What a line takes beside its text.
const LINE_COST: usize = 64;
/// Losses that go on are told of so often.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// Between two tries where standard error is told not to block, and is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// Between two looks at whether all is written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(1);

static STDERR: OnceLock<Option<LineQueue>> = OnceLock::new();

thread_local! {
    /// Whether this thread is the one that writes.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// A way to standard error on which nobody waits. Each `write` is a line of the log, with its end.
#[derive(Clone, Copy, Debug)]
pub struct Lines(());

/// A way to standard error on which nobody waits. The first call starts the thread that writes.
pub fn stderr() -> Lines {
    STDERR.get_or_init(|| LineQueue::start(io::stderr()).ok());
    Lines(())
}

/// Waits until all lines are written that have been given before, but for no longer than this: who has been waited for
/// so long is not reading.
pub fn flush(time_max: Duration) {
    if let Some(Some(queue)) = STDERR.get() {
        queue.flush(time_max);
    }
}

/// Lines that are lost since the start: there was no room for them, or they could not be written.
pub fn lost() -> u64 {
    let before = LOST_BEFORE.load(Ordering::Relaxed);
    match STDERR.get() {
        Some(Some(queue)) => before + queue.counts.lost.load(Ordering::Relaxed),
        _ => before,
    }
}

/// Lines that an earlier process has lost, in whose place this one goes on.
static LOST_BEFORE: AtomicU64 = AtomicU64::new(0);

/// Counts on from those.
pub(crate) fn count_on_from(lost: u64) {
    LOST_BEFORE.fetch_add(lost, Ordering::Relaxed);
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match STDERR.get() {
            Some(Some(queue)) => queue.put(line),
            // There is no thread to be had: then as everybody does.
            _ => write_whole(&mut io::stderr(), line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Counts {
    /// Bytes of lines that are not written, and what these take beside.
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// Where lines are put.
struct LineQueue {
    lines: Sender<Box<[u8]>>,
    counts: Arc<Counts>,
}

impl LineQueue {
    /// Starts a thread that writes what is put.
    fn start(to: impl Write + Send + 'static) -> io::Result<LineQueue> {
        let (queue, outlet) = LineQueue::new();
        thread::Builder::new().name("log".into()).spawn(move || {
            WRITES.set(true);
            outlet.run(to, |lines, in_all| {
                error!(
                    lines,
                    in_all, "lines of the log were lost, since standard error did not take them"
                );
            });
        })?;
        Ok(queue)
    }

    fn new() -> (LineQueue, Outlet) {
        let (sender, lines) = unbounded();
        let counts = Arc::new(Counts::default());
        let queue = LineQueue {
            lines: sender,
            counts: Arc::clone(&counts),
        };
        (queue, Outlet { lines, counts })
    }

    fn put(&self, line: &[u8]) {
        let Counts { waiting, lost } = &*self.counts;
        let cost = line.len() + LINE_COST;
        // What the thread itself has to say is of what was lost, and must not be.
        let most = if WRITES.get() {
            usize::MAX
        } else {
            QUEUE_BYTES_MAX
        };
        let more = |waiting: usize| Some(waiting + cost).filter(|sum| *sum <= most);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        if waiting.fetch_update(set, get, more).is_err() || self.lines.send(line.into()).is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self, time_max: Duration) {
        let end = Instant::now() + time_max;
        while self.counts.waiting.load(Ordering::Acquire) > 0 && Instant::now() < end {
            thread::sleep(FLUSH_INTERVAL);
        }
    }
}

/// Where they come out again.
struct Outlet {
    lines: Receiver<Box<[u8]>>,
    counts: Arc<Counts>,
}

impl Outlet {
    /// Writes until nobody can put any more. `tell` is called with how many were lost since it was last called, and in
    /// all.
    fn run(self, mut to: impl Write, mut tell: impl FnMut(u64, u64)) {
        let Counts { waiting, lost } = &*self.counts;
        let (mut told, mut told_at) = (0, None::<Instant>);
        for line in &self.lines {
            let written = write_whole(&mut to, &line);
            let before = waiting.fetch_sub(line.len() + LINE_COST, Ordering::Release);
            if written.is_err() {
                // Nothing is said of it where nothing can be said.
                lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let lost = lost.load(Ordering::Relaxed);
            let has_room = before <= QUEUE_BYTES_MAX / 2;
            let is_time = told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL);
            if lost > told && (has_room || is_time) {
                tell(lost - told, lost);
                (told, told_at) = (lost, Some(Instant::now()));
            }
        }
    }
}

fn write_whole(to: &mut impl Write, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match to.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Whoever shares a terminal with us may have told it not to block.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(RETRY_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};

    use super::*;

    const LINE: &[u8] =
        b"a line of the log, as long as most are, with fields and all the rest of it\n";

    /// Lines until the queue has no room, and some more.
    fn overflow(queue: &LineQueue, more: u64) {
        while queue.counts.lost.load(Ordering::Relaxed) == 0 {
            queue.put(LINE);
        }
        (1..more).for_each(|_| queue.put(LINE));
    }

    #[test]
    fn a_pipe_that_nobody_reads_keeps_nobody_waiting() {
        let (mut reading, writing) = pipe().expect("a pipe");
        let (queue, outlet) = LineQueue::new();
        let counts = Arc::clone(&queue.counts);
        let (told, tells) = std::sync::mpsc::channel();
        let writes = thread::spawn(move || {
            outlet.run(writing, |lines, in_all| {
                told.send((lines, in_all)).expect("who listens");
            });
        });
        overflow(&queue, 100);
        assert!(counts.waiting.load(Ordering::Relaxed) <= QUEUE_BYTES_MAX);
        // It may wait for the reader, and does no longer than it is told to.
        queue.flush(Duration::from_millis(20));
        assert!(counts.waiting.load(Ordering::Relaxed) > 0);
        // All of them in the end, or counted, and that is told once there is somebody to tell.
        let reads = thread::spawn(move || {
            let mut all = String::new();
            reading.read_to_string(&mut all).map(|_| all)
        });
        while counts.waiting.load(Ordering::Relaxed) > 0 {
            thread::sleep(FLUSH_INTERVAL);
        }
        queue.put(b"the last\n");
        drop(queue);
        writes.join().expect("it ends with the queue");
        let all = reads.join().expect("a reader").expect("all of them");
        assert!(all.ends_with("the last\n"));
        let lines = all.matches('\n').count();
        let lost = counts.lost.load(Ordering::Relaxed);
        let told: Vec<(u64, u64)> = tells.iter().collect();
        assert_eq!(told.iter().map(|(lines, _)| lines).sum::<u64>(), lost);
        assert_eq!(told.last().map(|(_, in_all)| *in_all), Some(lost));
        assert!(lost >= 100 && lines > 5_000, "{lost} lost, {lines} written");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_not_told_of() {
        let (reading, writing) = pipe().expect("a pipe");
        drop(reading);
        let (queue, outlet) = LineQueue::new();
        let counts = Arc::clone(&queue.counts);
        (0..10).for_each(|_| queue.put(LINE));
        drop(queue);
        outlet.run(writing, |lines, _| panic!("{lines} were told of"));
        assert_eq!(counts.lost.load(Ordering::Relaxed), 10);
        assert_eq!(counts.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_full_for_a_moment_takes_it_later() {
        struct Reluctant(Vec<u8>, bool);
        impl Write for Reluctant {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let some = bytes.len().min(40);
                self.0.extend_from_slice(&bytes[..some]);
                Ok(some)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut to = Reluctant(Vec::new(), false);
        write_whole(&mut to, LINE).expect("it is taken in the end");
        assert_eq!(to.0, LINE);
    }
}
