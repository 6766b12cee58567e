//! [`StopStage`]: how far the server is with its end, as the connections of a core are concerned.

/// See the module.
#[derive(Default)]
pub struct StopStage {
    /// It drains: no clients are let in.
    pub(super) is_shut: bool,
    /// All has been handed over to another process, which may have it by now: what the wire tells is put aside.
    pub(super) is_handed_over: bool,
    /// It stops: nothing is read,
    pub(super) is_quiet: bool,
    /// and no further request is answered, whatever is read.
    pub(super) is_stopping: bool,
}
