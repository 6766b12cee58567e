//! Namespaces made while running, by what an app sees of them: who is reached, and until when one may enter.

use super::*;

/// `TENANT verb rest`: `enter` and bind, `join`, or send by one of the ways, within the tenant's namespace.
fn tenants(cx: &mut Context<'_, Scripted>, _: &mut State, event: &str) {
    if event == "bound Ok(())" {
        return cx.send("bound");
    }
    let Some(text) = event.strip_prefix("message ") else {
        return;
    };
    let words: Vec<&str> = text.split(' ').collect();
    let namespace = cx.namespace(words[0]).unwrap();
    match words[1..] {
        ["enter", uid] => {
            // Before, or behind: it is bound where it is at the callback's end.
            cx.bind_uid(uid);
            cx.join("g");
            cx.enter(namespace).unwrap();
        }
        ["join", group] => cx.within(namespace).join(group),
        ["uid", uid] => cx.within(namespace).send_to_uid(uid, text),
        ["tell", uid] => cx.within(namespace).send_to_uid_or_tell(uid, text),
        ["group", group] => cx.within(namespace).send_to_group(group, text),
        ["refresh", group] => cx.within(namespace).refresh_group(group, text),
        ["all"] => cx.within(namespace).broadcast(text),
        ["push", uid] => drop(cx.within(namespace).push(uid, text)),
        ["online", uid] => drop(cx.within(namespace).online(uid)),
        ["kick", uid] => drop(cx.within(namespace).kick(uid)),
        ["own"] => {
            cx.send_to_uid("u0", text);
            cx.send_to_group("g", text);
            cx.broadcast(text);
        }
        _ => panic!("{text}"),
    }
}

fn answers(cores: &Cores) -> Vec<String> {
    let log = cores.log().into_iter();
    log.filter(|event| event.starts_with("answer")).collect()
}

#[test]
fn what_is_called_alike_in_two_namespaces_has_nothing_to_do_with_each_other() {
    for count in [1, 3] {
        let mut cores = Cores::new(count, tenants);
        let clients: Vec<usize> = (0..3).map(|nth| cores.open(nth % count)).collect();
        // One is called like the app's own, and is not that.
        for (client, name) in clients.iter().zip(["a", "b", "test"]) {
            cores.say(*client, &format!("{name} enter u0"));
            assert_eq!(cores.lines(*client), ["bound"]);
        }
        for way in [
            "uid u0",
            "group g",
            "refresh g",
            "all",
            "push u0",
            "push all",
        ] {
            let text = format!("b {way}");
            cores.say(clients[0], &text);
            for (client, lines) in clients.iter().zip([0, 1, 0]) {
                assert_eq!(
                    cores.lines(*client).len(),
                    lines,
                    "{way} with {count} cores"
                );
            }
        }
        assert_eq!(answers(&cores), ["answer Reached(1)"; 2]);
        // The app's own has nobody in it.
        cores.say(clients[0], "a own");
        cores.say(clients[0], "c tell u0");
        for client in &clients {
            assert!(cores.lines(*client).is_empty());
        }
        assert!(cores.log().contains(&"offline u0".to_owned()));
        for ask in [
            "c online u0",
            "b online u0",
            "b kick u0",
            "b online u0",
            "a online u0",
        ] {
            cores.say(clients[0], ask);
        }
        let reached = [0, 1, 1, 0, 1].map(|reached| format!("answer Reached({reached})"));
        assert_eq!(answers(&cores)[2..], reached);
        let phases = clients.iter().map(|client| cores.phase(*client));
        let phases: Vec<Phase> = phases.collect();
        assert_eq!(phases, [Phase::Home, Phase::Closing, Phase::Home]);
        cores.end();
    }
}

#[test]
fn a_group_is_joined_where_the_connection_is() {
    let mut cores = Cores::new(2, tenants);
    let client = cores.open(0);
    cores.say(client, "a enter u0");
    cores.say(client, "b join h");
    cores.lines(client);
    cores.say(client, "b group h");
    assert!(cores.lines(client).is_empty());
    cores.say(client, "a group h");
    assert_eq!(cores.lines(client), ["a group h"]);
    cores.end();
}

/// The log says with what.
fn enter(cx: &mut Context<'_, Scripted>, state: &mut State, name: &str) {
    let namespace = cx.namespace(name).unwrap();
    state.log.push(format!("{:?}", cx.enter(namespace)));
}

#[test]
fn one_enters_until_it_is_bound() {
    let mut cores = Cores::new(2, |cx, state, event| match event {
        "connect" => enter(cx, state, "a"),
        "message enter" | "bound Ok(())" | "note 1" => enter(cx, state, "b"),
        "message close" => {
            cx.close(CloseReason::Normal);
            enter(cx, state, "b");
            cx.tell(To::Core(cx.core()), 1);
        }
        "message bind" => cx.bind_uid("u0"),
        _ => {}
    });
    let client = cores.open(0);
    for text in ["enter", "bind", "enter", "close"] {
        cores.say(client, text);
    }
    let log = cores.log().into_iter();
    let entered: Vec<String> = log
        .filter(|event| event.starts_with("Ok") || event.starts_with("Err"))
        .collect();
    let (late, none) = ("Err(AtHome)", "Err(NoConnection)");
    assert_eq!(entered, ["Ok(())", "Ok(())", late, late, none, none]);
    cores.end();
}

/// One that never binds is at home from its start, and reached where it has entered all the same.
#[test]
fn one_that_never_binds_enters_in_on_connect() {
    let mut cores = Cores::with(
        2,
        &Config::default(),
        false,
        |cx, state, event| match event {
            "connect" => {
                cx.broadcast("to the app's own");
                enter(cx, state, "a");
                enter(cx, state, "b");
                cx.join("g");
                enter(cx, state, "c");
                let namespace = cx.namespace("b").unwrap();
                let mut within = cx.within(namespace);
                within.broadcast("to all");
                within.send_to_group("g", "to the group");
            }
            "message enter" => enter(cx, state, "a"),
            "message own" => cx.broadcast("to the app's own"),
            _ => {}
        },
    );
    let client = cores.open(0);
    cores.say(client, "enter");
    let log = [
        "connect",
        "Ok(())",
        "Ok(())",
        "Err(InGroup)",
        "joined g Ok(())",
        "message enter",
        "Err(AtHome)",
    ];
    assert_eq!(cores.log(), log);
    let lines = cores.lines(client);
    assert_eq!(lines, ["to the app's own", "to all", "to the group"]);
    cores.say(client, "own");
    assert!(cores.lines(client).is_empty());
    cores.end();
}

#[test]
fn one_namespace_too_many_is_the_apps_to_answer() {
    let config = Config {
        namespaces_max: 3,
        ..Config::default()
    };
    let mut cores = Cores::with(2, &config, true, |cx, _, event| {
        if let Some(name) = event.strip_prefix("message ") {
            match cx.namespace(name) {
                Ok(_) => cx.send("made"),
                Err(error) => cx.send(format!("{error}")),
            }
        }
    });
    let client = cores.open(1);
    for name in ["a", "b", "c", "a", "all"] {
        cores.say(client, name);
    }
    let lines = cores.lines(client);
    assert_eq!(
        (&*lines[0], &*lines[1], &*lines[3]),
        ("made", "made", "made")
    );
    assert!(lines[2].contains("namespaces_max"), "{lines:?}");
    assert!(lines[4].contains("reserved"), "{lines:?}");
    cores.end();
}

/// What a core has of a namespace goes with the last one in it.
#[test]
fn nothing_is_left_of_those_that_were_in_a_namespace() {
    let mut cores = Cores::new(2, tenants);
    for nth in 0..200 {
        let client = cores.open(nth % 2);
        cores.say(client, &format!("t{} enter u{}", nth % 50, nth % 7));
    }
    for (core, id) in cores.clients.clone() {
        cores.hosts[core].close(id, CloseReason::ByPeer);
        cores.hosts[core].shard().check();
        cores.hosts[core].shard().remove(id);
    }
    for host in &mut cores.hosts {
        assert_eq!(host.shard().leftovers(), 0);
    }
}
