//! What the program gives the HTTP port to serve: its page, whom a push reaches, and which parts.

use super::Roles;

/// One file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its path, beginning with `/`.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its contents.
    pub bytes: &'static [u8],
}

/// What an HTTP listener serves beside `/healthz`, `/metrics`, `/listeners.json` and the API.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// The files of the page.
    pub assets: &'static [Asset],
    /// The namespaces that pushes reach.
    pub reach: &'static [&'static str],
    /// Which parts are served; what belongs to another gets 404.
    pub roles: Roles,
}
