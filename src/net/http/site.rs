//! What the program gives the HTTP port to serve: its page, and whom a push reaches.

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

/// What an HTTP listener serves beside `/healthz`, `/metrics`, `/listeners.json` and `POST /v1/push`.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// The files of the page.
    pub assets: &'static [Asset],
    /// The spaces that pushes reach.
    pub reach: &'static [&'static str],
}
