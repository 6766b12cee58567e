//! The page that the program serves at `/`: a relay client, a push console, the chat room and the server's status.

use ringpost::{Asset, Roles, Site};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($path:literal, $content_type:expr, $file:literal) => {
        Asset {
            path: $path,
            content_type: $content_type,
            bytes: include_bytes!($file),
        }
    };
}

/// The page's files, and whom its push console reaches.
pub const SITE: Site = Site {
    assets: &[
        asset!("/", HTML, "index.html"),
        asset!("/style.css", CSS, "style.css"),
        asset!("/logo.svg", SVG, "logo.svg"),
        asset!("/app.js", JAVASCRIPT, "app.js"),
        asset!("/chart.js", JAVASCRIPT, "chart.js"),
        asset!("/chat.js", JAVASCRIPT, "chat.js"),
        asset!("/command.js", JAVASCRIPT, "command.js"),
        asset!("/link.js", JAVASCRIPT, "link.js"),
        asset!("/log.js", JAVASCRIPT, "log.js"),
        asset!("/login.js", JAVASCRIPT, "login.js"),
        asset!("/metrics.js", JAVASCRIPT, "metrics.js"),
        asset!("/push.js", JAVASCRIPT, "push.js"),
        asset!("/relay.js", JAVASCRIPT, "relay.js"),
        asset!("/server.js", JAVASCRIPT, "server.js"),
        asset!("/status.css", CSS, "status.css"),
        asset!("/status.js", JAVASCRIPT, "status.js"),
        asset!("/token.js", JAVASCRIPT, "token.js"),
    ],
    reach: &["relay", "push"],
    roles: Roles::ALL,
};
