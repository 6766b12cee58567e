//! Origins against hosts and lists: what gets in, and what looks as if it should.

use super::*;

fn list(names: &[&str]) -> Origins {
    let names: Vec<_> = names.iter().map(|one| (*one).to_owned()).collect();
    Origins::new(&names)
}

impl Origins {
    /// On a listener that other machines reach, too.
    fn admits(&self, origin: Option<&str>, host: &str, strict: bool) -> bool {
        let on_loopback = false;
        let visitor = Visitor {
            origin,
            host,
            strict,
            on_loopback,
        };
        self.admit(visitor).is_ok()
    }

    fn on_loopback(&self, origin: Option<&str>, host: &str) -> Result<(), Foreign> {
        self.admit(Visitor {
            origin,
            host,
            strict: false,
            on_loopback: true,
        })
    }
}

/// A name that somebody else owns may resolve to this machine.
#[test]
fn on_loopback_only_this_machines_own_names_are_the_same_host() {
    let default = Origins::default();
    for (origin, host, expected) in [
        (None, "evil.example:1234", Ok(())),
        (Some("http://localhost:8080"), "127.0.0.1:1234", Ok(())),
        (Some("http://[::1]"), "app.localhost", Ok(())),
        (
            Some("http://evil.example:1234"),
            "evil.example:1234",
            Err(Foreign::Host),
        ),
        (
            Some("https://Push.Example"),
            "push.example",
            Err(Foreign::Host),
        ),
        (Some("http://192.0.2.7"), "192.0.2.7:1", Err(Foreign::Host)),
        (
            Some("http://evil.example"),
            "127.0.0.1:1234",
            Err(Foreign::Origin),
        ),
        (
            Some("http://localhost"),
            "evil.example",
            Err(Foreign::Origin),
        ),
        (Some("null"), "127.0.0.1", Err(Foreign::Null)),
    ] {
        assert_eq!(
            default.on_loopback(origin, host),
            expected,
            "{origin:?} {host}"
        );
    }
    let listed = list(&["https://push.example"]);
    assert_eq!(
        listed.on_loopback(Some("https://push.example"), "push.example"),
        Ok(())
    );
    let other = listed.on_loopback(Some("https://evil.example"), "evil.example");
    assert_eq!(other, Err(Foreign::Origin));
}

/// A page's own requests say no origin, so the host alone tells.
#[test]
fn a_host_without_an_origin() {
    let default = Origins::default();
    for host in ["127.0.0.1:8080", "localhost", "[::1]:1", ""] {
        assert_eq!(default.admit_host(host, true), Ok(()), "{host}");
    }
    for host in [
        "evil.example:8080",
        "localhost.evil.example",
        "192.0.2.7",
        "a b",
    ] {
        assert_eq!(default.admit_host(host, true), Err(Foreign::Host), "{host}");
        assert_eq!(default.admit_host(host, false), Ok(()), "{host}");
    }
    let listed = list(&["https://push.example", "http://*.b.example:81"]);
    for (host, admitted) in [
        ("PUSH.example", true),
        ("push.example:443", true),
        ("push.example:80", false),
        ("a.b.example:81", true),
        ("a.b.example", false),
        ("127.0.0.1", true),
    ] {
        assert_eq!(listed.admit_host(host, true).is_ok(), admitted, "{host}");
    }
}

#[test]
fn a_wildcard_stands_for_hosts_below() {
    let origins = list(&["https://*.Shop.example", "http://*.a.example:8080"]);
    for (origin, admitted) in [
        ("https://a.shop.example", true),
        ("https://A.B.shop.example", true),
        ("https://a-1_b.shop.example:443", true),
        ("https://xn--bcher-kva.shop.example", true),
        ("http://x.a.example:8080", true),
        ("https://shop.example", false),
        ("https://.shop.example", false),
        ("https://a..shop.example", false),
        ("https://ashop.example", false),
        ("http://a.shop.example", false),
        ("wss://a.shop.example", false),
        ("https://a.shop.example:8443", false),
        ("https://a.shop.example.evil.example", false),
        ("https://evil.example/.shop.example", false),
        ("https://evil.example#.shop.example", false),
        ("https://evil.example?.shop.example", false),
        ("https://evil.example\\.shop.example", false),
        ("https://evil.example:1.shop.example", false),
        ("https://me@a.shop.example", false),
        ("https://a\u{130}.shop.example", false),
        ("https://*.shop.example", false),
        ("https://a.shop.example/", false),
        ("x.a.example:8080", false),
        ("http://x.a.example", false),
    ] {
        assert_eq!(
            origins.admits(Some(origin), "push.example", false),
            admitted,
            "{origin}"
        );
    }
    assert!(origins.admits(None, "push.example", false));
}

#[test]
fn what_web_views_send() {
    let origins = list(&["file://", "capacitor://localhost"]);
    assert!(origins.admits(Some("file://"), "127.0.0.1:1", false));
    assert!(origins.admits(Some("capacitor://localhost"), "push.example", false));
    assert!(!origins.admits(Some("file://x"), "push.example", false));
    assert!(!Origins::default().admits(Some("file://"), "127.0.0.1:1", false));
}

#[test]
fn every_refusal_names_the_key() {
    for foreign in [
        Foreign::Origin,
        Foreign::Host,
        Foreign::Null,
        Foreign::Nothing,
        Foreign::Embedded,
    ] {
        assert!(foreign.answer().text.contains("\"origins\""), "{foreign:?}");
    }
}

#[test]
fn by_default_the_same_host_on_any_port() {
    let origins = Origins::default();
    for (origin, host, admitted) in [
        (None, "push.example:1234", true),
        (Some("null"), "push.example", false),
        (Some("NULL"), "127.0.0.1", false),
        (Some("none"), "push.example", false),
        (Some("https://push.example"), "push.example:1234", true),
        (Some("http://PUSH.example:8080"), "push.example:1234", true),
        (Some("http://localhost:8080"), "127.0.0.1:1234", true),
        (Some("http://127.0.0.1:8080"), "[::1]:1234", true),
        (Some("http://[::1]"), "LOCALHOST:1234", true),
        (Some("http://[::ffff:127.0.0.1]:1"), "127.9.9.9", true),
        (Some("https://app.localhost:3000"), "127.0.0.1:1234", true),
        (
            Some("http://[2001:db8::1]:8080"),
            "[2001:db8::1]:1234",
            true,
        ),
        (Some("http://[2001:db8::1]"), "[2001:db8::2]", false),
        (Some("http://evil.example"), "push.example:1234", false),
        (Some("http://evil.example"), "127.0.0.1:1234", false),
        (Some("http://localhost.evil.example"), "localhost:1", false),
        (Some("http://127.0.0.1.evil.example"), "127.0.0.1:1", false),
        (Some("http://notlocalhost"), "localhost:1", false),
        (
            Some("http://push.example.evil.example"),
            "push.example",
            false,
        ),
        (Some("http://evil.push.example"), "push.example", false),
        (Some("http://10.0.0.1"), "127.0.0.1", false),
        (Some("http://0.0.0.0"), "127.0.0.1", false),
        // No browser writes these, and nobody else gets in by them.
        (
            Some("http://push.example:80@evil.example"),
            "push.example",
            false,
        ),
        (Some("http://127.0.0.1:80@evil.example"), "127.0.0.1", false),
        (Some("http://push.example:1/../"), "push.example", false),
        (Some("http://push.example/"), "push.example", false),
        (Some("http://[::1]evil.example"), "[::1]", false),
        (Some("http://[::1"), "[::1", false),
        (Some("http://:80"), ":80", false),
        (Some("http://"), "push.example", false),
        (Some("push.example"), "push.example", false),
        (Some("evil"), "push.example", false),
        (Some(""), "push.example", false),
    ] {
        assert_eq!(
            origins.admits(origin, host, false),
            admitted,
            "{origin:?} {host}"
        );
    }
}

#[test]
fn what_says_nothing_is_listed_where_that_matters() {
    let listed = list;
    let own = "push.example:1234";
    let default = Origins::default();
    assert!(default.admits(Some("https://push.example"), own, true));
    assert!(!default.admits(Some("null"), own, true));
    assert!(!default.admits(None, own, true));
    assert!(!listed(&["https://push.example"]).admits(None, own, true));
    assert!(listed(&["https://push.example", "none"]).admits(None, own, true));
    assert!(!listed(&["none"]).admits(Some("null"), own, true));
    assert!(!listed(&["none"]).admits(Some("none"), own, true));
    assert!(listed(&["null"]).admits(Some("null"), own, true));
    assert!(listed(&["*"]).admits(Some("null"), own, true));
    assert!(listed(&["*"]).admits(None, own, true));
}

#[test]
fn a_list_replaces_that() {
    let origins = Origins::new(&["https://Shop.example".into()]);
    assert!(origins.admits(Some("https://shop.example"), "push.example", false));
    assert!(!origins.admits(Some("https://push.example"), "push.example", false));
    assert!(!origins.admits(Some("null"), "push.example", false));
    assert!(origins.admits(None, "push.example", false));
    assert!(!origins.admits(Some("http://shop.example"), "push.example", false));
    assert!(!origins.admits(Some("https://shop.example:8443"), "push.example", false));
    assert!(Origins::new(&["*".into()]).admits(Some("http://any.example"), "x", false));
    assert!(Origins::new(&["NULL".into()]).admits(Some("null"), "x", false));
    // The port that a browser leaves out may be written.
    for (listed, sent) in [
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example", "http://shop.example:80"),
    ] {
        let origins = Origins::new(&[listed.into()]);
        assert!(origins.admits(Some(sent), "push.example", false), "{sent}");
    }
    let origins = Origins::new(&["http://shop.example:443".into()]);
    assert!(!origins.admits(Some("http://shop.example"), "push.example", false));
}
