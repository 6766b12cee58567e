//! The page: a section for each workload, with its table and its plots.

use std::fmt::Write;

use serde_json::Value;

use super::plot::{Axis, Plot, Scale, Series, escape};
use crate::show;

/// In this order.
const WORKLOADS: [&str; 10] = [
    "echo",
    "relay",
    "broadcast",
    "push",
    "connect",
    "churn",
    "flood",
    "reconnect",
    "chat",
    "idle",
];

const STYLE: &str = "\
:root{color-scheme:light}\
body{font:16px/1.5 system-ui,sans-serif;color:#1c1c1c;background:#fff;max-width:1040px;\
margin:2rem auto;padding:0 1rem}\
h1{font-size:1.7rem;margin-bottom:.2rem}h2{margin:2.5rem 0 .3rem;border-bottom:2px solid #e4e4e4}\
h3{font-size:1rem;margin:1.6rem 0 .2rem}\
.lead,.note{color:#555}.note{font-size:.85rem}\
table{border-collapse:collapse;width:100%;font-size:.86rem;font-variant-numeric:tabular-nums}\
th,td{padding:.35rem .5rem;text-align:right;border-bottom:1px solid #e8e8e8;white-space:nowrap}\
th{color:#555;font-weight:600;vertical-align:bottom}th:first-child,td:first-child{text-align:left}\
td.main{font-weight:700}.bad{color:#b00020;font-weight:700}.scroll{overflow-x:auto}\
svg{width:100%;height:auto;display:block}svg text{font-size:12px;fill:#555}\
svg .title{fill:#1c1c1c;font-size:13px}.grid{stroke:#e8e8e8}.line{fill:none;stroke-width:2.2;\
stroke-linejoin:round}\
.legend{margin:.2rem 0 0 4.6rem;font-size:.86rem}.legend span{margin-right:1.2rem;\
white-space:nowrap;display:inline-block}\
.legend i{display:inline-block;width:.9rem;height:.25rem;margin-right:.4rem;vertical-align:middle}";

/// The whole page.
pub fn html(runs: &[Value]) -> String {
    let mut body = String::new();
    for workload in WORKLOADS {
        let own: Vec<&Value> = runs
            .iter()
            .filter(|run| run["workload"] == workload)
            .collect();
        if !own.is_empty() {
            section(&mut body, workload, &own);
        }
    }
    format!(
        "<!doctype html>\n<html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\">\
         <title>ringpost bench</title><style>{STYLE}</style>\n\
         <h1>ringpost bench</h1>\n<p class=lead>CPU seconds of the server for a million deliveries \
         come first: they hold still where rates do not. Every message was stamped and checked.</p>\n\
         {body}\n<p class=note>Each run's figures are in runs.jsonl beside this page.</p></html>\n"
    )
}

fn section(out: &mut String, workload: &str, runs: &[&Value]) {
    // Writing to a String does not fail.
    let _ = write!(out, "<h2>{workload}</h2>\n<div class=scroll><table>");
    match workload {
        "idle" => table_idle(out, runs),
        _ => table(out, runs),
    }
    out.push_str("</table></div>\n");
    notes(out, runs);
    let plot = |out: &mut String, title: &str, plot: Plot| {
        let svg = plot.svg();
        if !svg.is_empty() {
            let _ = writeln!(out, "<h3>{title}</h3>{svg}");
        }
    };
    match workload {
        "idle" => {
            plot(out, "Memory per connection", memory(runs));
            plot(
                out,
                "CPU at rest",
                by_connections("ms of CPU a second", runs, "", &|run| {
                    run["idle"]["cpu_ms_per_second"].as_f64()
                }),
            );
        }
        _ => {
            plot(
                out,
                "Server CPU per delivery, by connections",
                by_connections("CPU µs per delivery", runs, "", &|run| {
                    run["server"]["per_million"]["total"].as_f64()
                }),
            );
            plot(out, "Latency by percentile", latency(runs));
        }
    }
}

fn table(out: &mut String, runs: &[&Value]) {
    out.push_str(
        "<tr><th>server<th>connec-<br>tions<th>senders ×<br>in flight<th>CPU s per<br>million\
         <th>user<th>system<th>per second<th>p50<th>p99<th>p99.9<th>max<th>faults",
    );
    for run in runs {
        let cpu = |part: &str| match run["server"]["per_million"][part].as_f64() {
            Some(seconds) => format!("{seconds:.2}"),
            None => "–".to_owned(),
        };
        let time = |name: &str| match run["latency"][name].as_f64() {
            Some(micros) => show::time(micros),
            None => "–".to_owned(),
        };
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td class=main>{}<td>{}<td>{}<td>{}",
            name(run),
            count(&run["connections"]),
            load(run),
            cpu("total"),
            cpu("user"),
            cpu("system"),
            show::grouped(run["deliveries_per_second"].as_f64().unwrap_or(0.0) as u64)
        );
        for percentile in ["p50_us", "p99_us", "p99_9_us", "max_us"] {
            let _ = write!(out, "<td>{}", time(percentile));
        }
        out.push_str(&faults(run));
    }
}

fn table_idle(out: &mut String, runs: &[&Value]) {
    out.push_str(
        "<tr><th>server<th>connections<th>user bytes<br>a connection\
         <th>kernel slabs<br>a connection<th>all memory<br>a connection<th>CPU ms<br>a second<th>faults",
    );
    for run in runs {
        let figure = |name: &str, digits: usize| match run["idle"][name].as_f64() {
            Some(figure) => format!("{figure:.digits$}"),
            None => "–".to_owned(),
        };
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td class=main>{}<td>{}<td>{}<td>{}{}",
            name(run),
            count(&run["connections"]),
            figure("user_bytes_per_connection", 0),
            figure("kernel_bytes_per_connection", 0),
            figure("memory_bytes_per_connection", 0),
            figure("cpu_ms_per_second", 2),
            faults(run)
        );
    }
}

/// What is to be said of the runs whose rates are not the server's own.
fn notes(out: &mut String, runs: &[&Value]) {
    for (limit, words) in [
        (
            "client",
            "the clients were the limit, so the rate and the latencies are theirs",
        ),
        (
            "shared_cpus",
            "clients and server shared their CPUs: rate and latencies are of both together",
        ),
        (
            "others",
            "other programs had the CPUs: rate and latencies are not the server's own",
        ),
    ] {
        let own = runs.iter().filter(|run| run["clients"]["limit"] == limit);
        let own: Vec<String> = own
            .map(|run| format!("{} at {}", name(run), count(&run["connections"])))
            .collect();
        if !own.is_empty() {
            let _ = writeln!(
                out,
                "<p class=note>In these runs {words}: {}.</p>",
                own.join("; ")
            );
        }
    }
    if runs.iter().any(|run| run["idle"]["is_both_ends"] == true) {
        out.push_str(
            "<p class=note>The kernel's memory is of both ends of each connection, since the clients \
             were on the same machine. The server's is what its resident memory grew by, which is sound \
             for one freshly started; all memory holds whatever else the machine did. Below 5,000 \
             connections neither means much.</p>",
        );
    }
}

fn faults(run: &Value) -> String {
    let counts = run["faults"].as_object().into_iter().flatten();
    match counts.filter_map(|(_, count)| count.as_u64()).sum::<u64>() {
        0 => "<td>none".to_owned(),
        faults => format!("<td class=bad>{}", show::grouped(faults)),
    }
}

fn load(run: &Value) -> String {
    match (run["rate"].as_f64(), run["senders"].as_u64()) {
        (Some(rate), _) => format!("{}/s", show::grouped(rate as u64)),
        (None, None | Some(0)) => "–".to_owned(),
        (None, Some(senders)) => {
            format!("{} × {}", show::grouped(senders), count(&run["in_flight"]))
        }
    }
}

fn name(run: &Value) -> String {
    escape(run["name"].as_str().unwrap_or("?"))
}

fn count(value: &Value) -> String {
    value.as_u64().map_or("–".to_owned(), show::grouped)
}

/// The servers' names, each once, as they came.
fn names<'a>(runs: &[&'a Value]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for run in runs {
        let name = run["name"].as_str().unwrap_or("?");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What a series is made of, besides the server: runs of another load are no points of one line.
fn loads(runs: &[&Value]) -> Vec<String> {
    let mut loads: Vec<String> = Vec::new();
    for run in runs {
        let load = line_load(run);
        if !loads.contains(&load) {
            loads.push(load);
        }
    }
    loads
}

/// Of echo all send, so the number of senders tells nothing of its load.
fn line_load(run: &Value) -> String {
    match run["workload"] == "echo" && run["rate"].is_null() {
        true => format!("{} in flight", count(&run["in_flight"])),
        false => load(run),
    }
}

/// One line for each server and load.
fn series(runs: &[&Value], figure: &dyn Fn(&Value) -> Option<f64>, suffix: &str) -> Vec<Series> {
    let (names, loads) = (names(runs), loads(runs));
    let mut all = Vec::new();
    for name in &names {
        for load in &loads {
            let own = runs.iter().filter(|run| {
                run["name"].as_str().unwrap_or("?") == *name && line_load(run) == *load
            });
            let mut points: Vec<(f64, f64)> = own
                .filter_map(|run| Some((run["connections"].as_f64()?, figure(run)?)))
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let load = match loads.len() {
                1 => String::new(),
                _ => format!(", {load}"),
            };
            if !points.is_empty() {
                all.push(Series {
                    name: format!("{name}{load}{suffix}"),
                    points,
                    has_dots: true,
                });
            }
        }
    }
    all
}

fn by_connections(
    title: &'static str,
    runs: &[&Value],
    suffix: &str,
    figure: &dyn Fn(&Value) -> Option<f64>,
) -> Plot {
    Plot {
        x: Axis {
            title: "connections",
            scale: Scale::Logarithmic,
            show: |value| show::grouped(value as u64),
        },
        y: Axis {
            title,
            scale: Scale::Linear,
            show: |value| match value < 1_000.0 {
                true => format!("{}", (value * 100.0).round() / 100.0),
                false => show::grouped(value as u64),
            },
        },
        series: series(runs, figure, suffix),
    }
}

fn memory(runs: &[&Value]) -> Plot {
    let mut plot = by_connections("bytes a connection", runs, ", user", &|run| {
        run["idle"]["user_bytes_per_connection"].as_f64()
    });
    let kernel = |run: &Value| run["idle"]["kernel_bytes_per_connection"].as_f64();
    plot.series.extend(series(runs, &kernel, ", kernel slabs"));
    plot
}

/// A round time: `10 ms`.
fn short_time(micros: f64) -> String {
    match micros {
        _ if micros < 1e3 => format!("{micros} µs"),
        _ if micros < 1e6 => format!("{} ms", micros / 1e3),
        _ => format!("{} s", micros / 1e6),
    }
}

fn latency(runs: &[&Value]) -> Plot {
    let several = names(runs).len() > 1;
    let line = |run: &&Value| {
        let curve = run["latency"]["curve"].as_array()?;
        let points = curve
            .iter()
            .filter_map(|point| Some((point[0].as_f64()?, point[1].as_f64()?)))
            .collect();
        let server = match several {
            true => format!("{}, ", run["name"].as_str().unwrap_or("?")),
            false => String::new(),
        };
        Some(Series {
            name: format!(
                "{server}{} connections, {}",
                count(&run["connections"]),
                line_load(run)
            ),
            points,
            has_dots: false,
        })
    };
    // More lines than colours could not be told apart: the newest are shown.
    let lines: Vec<Series> = runs.iter().filter_map(line).collect();
    let skipped = lines.len().saturating_sub(super::plot::COLOURS.len());
    Plot {
        x: Axis {
            title: "percentile of messages",
            scale: Scale::Nines,
            show: |value| format!("{value} %"),
        },
        y: Axis {
            title: "latency",
            scale: Scale::Logarithmic,
            show: short_time,
        },
        series: lines.into_iter().skip(skipped).collect(),
    }
}
