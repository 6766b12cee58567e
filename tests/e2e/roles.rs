//! Roles of HTTP listeners: what belongs to one that a listener does not have is not found there.

use crate::http::{JSON, exchange, get, post};
use crate::on_cores;
use crate::server::Server;

on_cores! {
    a_path_is_found_where_its_role_is,
    who_listens_is_served_under_any_name,
}

/// A path of each role, and what answers for it where the role is there.
const PATHS: [(&str, &str); 3] = [
    ("page", "/"),
    ("page", "/listeners.json"),
    ("api", "/v1/push"),
];

async fn a_path_is_found_where_its_role_is(cores: usize) {
    for roles in ["page", "api", "metrics", "events", "page+api+events"] {
        let listener = format!("http://127.0.0.1:0=page:{roles}");
        let server = Server::on(cores, &[], &[&listener]).await;
        let address = server.address("http", "page");
        for (role, path) in PATHS {
            let status = match path {
                "/v1/push" => {
                    let push = "{\"uid\":\"nobody\",\"text\":\"\"}";
                    post(address, path, JSON, push).await.status
                }
                path => get(address, path).await.status,
            };
            let expected = if roles.contains(role) { 200 } else { 404 };
            assert_eq!(status, expected, "{path} with {roles}");
        }
        let events = get(address, "/v1/events").await.status;
        assert_eq!(
            events == 404,
            !roles.contains("events"),
            "{roles}: {events}"
        );
        assert_eq!(get(address, "/healthz").await.status, 200, "{roles}");
    }
}

async fn who_listens_is_served_under_any_name(cores: usize) {
    let listeners = ["http://0.0.0.0:0=page:events", "http://127.0.0.1:0=page"];
    let server = Server::on(cores, &[], &listeners).await;
    let addresses = server.addresses("http", "page");
    for (address, expected) in addresses.into_iter().zip([400, 403]) {
        let request = "GET /v1/events HTTP/1.1\r\nHost: push.example\r\n\r\n";
        let answer = exchange(([127, 0, 0, 1], address.port()).into(), request).await;
        assert_eq!(answer.status, expected, "{answer:?}");
    }
}
