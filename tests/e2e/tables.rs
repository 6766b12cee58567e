//! Descriptor tables: with one for each core the limit of descriptors holds for each core.

use crate::on_drivers;
use crate::server::Server;

/// Descriptors that the fullest table has left.
const LEFT: usize = 44;
/// More than one table holds. Chance does not put so many on one of two cores.
const CLIENTS: usize = 56;

on_drivers! {
    each_core_has_the_limit_for_itself,
    where_all_share_a_table_it_ends_sooner,
}

async fn each_core_has_the_limit_for_itself(driver: &'static str) {
    let server = Server::with(2, &[("DRIVER", driver), ("DESCRIPTOR_TABLES", "per_core")]).await;
    let mut backend = server.backend().await;
    server.limit_descriptors(Some(LEFT));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(server.relay("ws", &format!("table{number}")).await);
    }
    assert_eq!(server.count("connections").await, CLIENTS as u64 + 2);
    let news = "{\"uid\":\"all\"}";
    assert_eq!(backend.ask(news).await, "ok");
    for client in &mut clients {
        client.expect(news).await;
    }
    assert!(!server.log().contains("cannot accept"), "{}", server.log());
}

async fn where_all_share_a_table_it_ends_sooner(driver: &'static str) {
    let server = Server::with(2, &[("DRIVER", driver), ("DESCRIPTOR_TABLES", "shared")]).await;
    server.limit_descriptors(Some(LEFT));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let address = server.address("ws", "relay");
        clients.push(tokio::net::TcpStream::connect(address).await);
    }
    server.wait_log(&["cannot accept", "ulimit"]).await;
}
