//! Tickets: who has been here before has less to compute, until that is no longer wanted.

use super::*;

fn resumes(server: &TlsServer, config: &Arc<ClientConfig>) -> bool {
    let mut client = connect(config, "localhost");
    let (mut established, _) =
        shake(server.http(), &mut client, || usize::MAX).expect("a handshake");
    let mut random = fastrand::Rng::with_seed(8);
    converse(&mut client, &mut established, &mut random, 2);
    established.is_resumed
}

#[test]
fn a_client_comes_back_with_a_ticket_also_after_new_certificates() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut terms = Terms::default();
        terms.suites.retain(|suite| suite.version() == version);
        let config = terms.client();
        let server = server(&["p256"]);
        assert!(!resumes(&server, &config));
        assert!(resumes(&server, &config));
        let (renewed, _) = server
            .renewed(&sources(&["p384"]), NOW)
            .expect("certificates");
        assert!(resumes(&renewed, &config));
        // Another server, another key.
        assert!(!resumes(&super::server(&["p256"]), &config));
    }
}

#[test]
fn a_client_that_shows_a_certificate_is_asked_again_after_a_reload() {
    let sources = Sources {
        client_ca_file: Some(file("ca.pem")),
        ..sources(&["p256"])
    };
    let (server, _) = TlsServer::open(&sources, NOW).expect("certificates");
    let terms = Terms {
        certificate: Some("client"),
        ..Terms::default()
    };
    let config = terms.client();
    assert!(!resumes(&server, &config));
    assert!(resumes(&server, &config));
    let mut client = connect(&config, "localhost");
    let (established, _) = shake(server.http(), &mut client, || usize::MAX).expect("a handshake");
    assert!(established.is_resumed && &*established.client_names[0] == "shop.test");
    let (renewed, _) = server.renewed(&sources, NOW).expect("certificates");
    assert!(!resumes(&renewed, &config));
}

#[test]
fn early_data_are_never_taken() {
    let server = server(&["p256"]);
    let mut config = (*Terms::default().client()).clone();
    config.enable_early_data = true;
    let config = Arc::new(config);
    assert!(!resumes(&server, &config));
    let mut client = connect(&config, "localhost");
    // The ticket allows none, so the client has no way to send any.
    assert!(client.early_data().is_none());
    let (established, _) = shake(server.http(), &mut client, || usize::MAX).expect("a handshake");
    assert!(established.is_resumed && !client.is_early_data_accepted());
}
