//! [`SocketFile`]: whose the file of a Unix socket is.

/// Whose the file of a listener's Unix socket is, and so who may connect.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct SocketFile {
    /// Its mode; 0660 if there is none: its owner and its group connect.
    pub mode: Option<u32>,
    /// A user of this machine, by name or number; the server's own if there is none. It takes root to give it away.
    pub owner: Option<String>,
    /// A group of this machine, by name or number; the server's own if there is none.
    pub group: Option<String>,
}
