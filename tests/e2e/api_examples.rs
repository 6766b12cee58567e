//! The examples in docs/http-api.md, run as they stand there by curl, which nobody here wrote.

use std::process::Command;

use serde_json::Value;

use crate::api_connections::id_of;
use crate::on_cores;
use crate::server::Server;

on_cores! { each_example_of_the_page_does_what_it_says }

/// What the page calls the client's connection.
const EXAMPLE_ID: &str = "1-2f00000004";
const PAGE: &str = include_str!("../../docs/http-api.md");

/// The commands, each with the answer that follows it there, if one does.
fn examples() -> Vec<(&'static str, Option<&'static str>)> {
    let (_, section) = PAGE.split_once("## Examples\n").expect("the section");
    let (_, block) = section.split_once("```sh\n").expect("its examples");
    let (block, _) = block.split_once("```").expect("their end");
    let mut examples = Vec::new();
    for line in block.lines() {
        if line.starts_with("curl ") {
            examples.push((line, None));
        } else if let (Some(answer), Some((_, last))) =
            (line.strip_prefix("# "), examples.last_mut())
        {
            *last = Some(answer);
        }
    }
    examples
}

async fn each_example_of_the_page_does_what_it_says(cores: usize) {
    if Command::new("curl").arg("--version").output().is_err() {
        return println!("there is no curl here; tests/run sees to one");
    }
    let server = Server::start(cores).await;
    let address = server.address("http", "page").to_string();
    let mut client = server.push("ws", "uid1").await;
    server.wait_online("uid1").await;
    let examples = examples();
    assert!(examples.len() > 10, "only {} examples", examples.len());
    let id = id_of(&server, "uid1", &client).await;
    for (line, answer) in examples {
        let command = line.replace("127.0.0.1:8080", &address);
        let command = command.replace(EXAMPLE_ID, &id);
        let command = command.replacen("curl ", "curl -sS --noproxy '*' --fail-with-body ", 1);
        let output = Command::new("sh")
            .args(["-c", &command])
            .output()
            .expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{command}: {output:?}");
        let got: Value = serde_json::from_str(&text).expect("JSON");
        if let Some(answer) = answer {
            let answer = answer.replace(EXAMPLE_ID, &id);
            let expected: Value = serde_json::from_str(&answer).expect("JSON in the page");
            assert!(is_like(&got, &expected), "{command}: {got}, not {expected}");
        }
    }
    for text in [
        "{\"percent\":88}",
        "hello",
        "maintenance at noon",
        "extra",
        "one",
        "for this tab",
        "for later",
        "bye",
    ] {
        client.expect(text).await;
    }
    client.expect_end(4007).await;
}

/// Whether they are the same, where "…" stands for any text.
fn is_like(got: &Value, expected: &Value) -> bool {
    match (got, expected) {
        (Value::String(_), Value::String(any)) if any == "…" => true,
        (Value::Array(got), Value::Array(expected)) => {
            let mut each = got.iter().zip(expected);
            got.len() == expected.len() && each.all(|(got, expected)| is_like(got, expected))
        }
        (Value::Object(got), Value::Object(expected)) => {
            let mut each = expected.iter();
            got.len() == expected.len()
                && each
                    .all(|(key, expected)| got.get(key).is_some_and(|got| is_like(got, expected)))
        }
        (got, expected) => got == expected,
    }
}
