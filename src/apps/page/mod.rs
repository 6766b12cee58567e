//! The page that the program serves at `/`: a relay client, a push console, the chat room and the server's status; and
//! the console at `/console`, for those who look after it.

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
        asset!("/console", HTML, "console.html"),
        asset!("/console.css", CSS, "console.css"),
        asset!("/act.js", JAVASCRIPT, "act.js"),
        asset!("/api.js", JAVASCRIPT, "api.js"),
        asset!("/app.js", JAVASCRIPT, "app.js"),
        asset!("/chart.js", JAVASCRIPT, "chart.js"),
        asset!("/chat.js", JAVASCRIPT, "chat.js"),
        asset!("/command.js", JAVASCRIPT, "command.js"),
        asset!("/console.js", JAVASCRIPT, "console.js"),
        asset!("/detail.js", JAVASCRIPT, "detail.js"),
        asset!("/groups.js", JAVASCRIPT, "groups.js"),
        asset!("/link.js", JAVASCRIPT, "link.js"),
        asset!("/live.js", JAVASCRIPT, "live.js"),
        asset!("/log.js", JAVASCRIPT, "log.js"),
        asset!("/login.js", JAVASCRIPT, "login.js"),
        asset!("/metrics.js", JAVASCRIPT, "metrics.js"),
        asset!("/nodes.js", JAVASCRIPT, "nodes.js"),
        asset!("/people.js", JAVASCRIPT, "people.js"),
        asset!("/push.js", JAVASCRIPT, "push.js"),
        asset!("/receiver.js", JAVASCRIPT, "receiver.js"),
        asset!("/relay.js", JAVASCRIPT, "relay.js"),
        // What sdk/js builds; its tests hold one against the other.
        asset!("/ringpost.js", JAVASCRIPT, "ringpost.js"),
        asset!("/server.js", JAVASCRIPT, "server.js"),
        asset!("/status.css", CSS, "status.css"),
        asset!("/status.js", JAVASCRIPT, "status.js"),
        asset!("/token.js", JAVASCRIPT, "token.js"),
        asset!("/units.js", JAVASCRIPT, "units.js"),
    ],
    reach: &["relay", "push"],
    roles: Roles::ALL,
};
