//! [`StopStage`]: how far the server is with its end, as the connections of a core are concerned.

/// See the module.
#[derive(Default)]
pub struct StopStage {
    /// It drains: no clients are let in.
    pub(super) is_shut: bool,
    /// It stops: nothing is read,
    pub(super) is_quiet: bool,
    /// and no further request is answered, whatever is read.
    pub(super) is_stopping: bool,
}
