//! The cores' threads, and the news of the first that fails.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

/// The threads of a server's cores, while they run.
pub struct CoreThreads {
    threads: Vec<JoinHandle<()>>,
    end: Sender<io::Result<()>>,
    ends: Receiver<io::Result<()>>,
}

impl CoreThreads {
    pub fn new() -> CoreThreads {
        let (end, ends) = channel();
        CoreThreads {
            threads: Vec::new(),
            end,
            ends,
        }
    }

    /// Starts the thread of one core.
    pub fn spawn(
        &mut self,
        number: usize,
        core: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let end = self.end.clone();
        let thread = thread::Builder::new()
            .name(format!("core-{number}"))
            .spawn(move || {
                let ended = catch_unwind(AssertUnwindSafe(core))
                    .unwrap_or_else(|_| Err(io::Error::other(format!("core {number} panicked"))));
                // Nobody may be waiting any more.
                let _ = end.send(ended);
            })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Returns when all have ended, or as soon as one has failed, whichever it is: without it the others
    /// lose what they send there.
    pub fn wait(self) -> io::Result<()> {
        for _ in &self.threads {
            self.ends
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("the cores cannot be watched")))?;
        }
        for thread in self.threads {
            // What it had to tell it has told.
            let _ = thread.join();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_failure_of_any_core_is_told_while_others_run() {
        let (stop, stopped) = mpsc::channel::<()>();
        let mut cores = CoreThreads::new();
        cores
            .spawn(0, move || {
                let _ = stopped.recv();
                Ok(())
            })
            .unwrap();
        cores.spawn(1, || panic!("a mistake")).unwrap();
        let error = cores.wait().unwrap_err();
        assert_eq!(error.to_string(), "core 1 panicked");
        drop(stop);
    }

    #[test]
    fn all_are_waited_for() {
        let mut cores = CoreThreads::new();
        for number in 0..3 {
            cores.spawn(number, || Ok(())).unwrap();
        }
        cores.wait().unwrap();
    }
}
