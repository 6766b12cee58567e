//! `--growth`: what a delivery costs by the number of connections and of cores, the floor's own growth
//! beside it: the kernel's tables and caches grow for everybody. A table, and a page with plots.

use std::fmt::Write;

use crate::Args;
use crate::contender::Contender;
use crate::plot::{Axis, Plot, Scale, Series as Line, escape};
use crate::series::{Point, Results, Series, descriptors_max};
use crate::table::number;
use crate::workload::Workload;

/// As many of these as the descriptor limit allows, with some to spare for the server itself.
const CONNECTIONS: [usize; 7] = [1_000, 5_000, 10_000, 19_000, 50_000, 100_000, 200_000];
const SPARE: usize = 500;
const WORKLOADS: [Workload; 3] = [Workload::Broadcast, Workload::Echo, Workload::Relay];

/// How many runs failed.
pub fn run(args: &Args, series: &mut Series) -> Result<usize, String> {
    let contenders = [
        Contender::Floor { ring: false },
        Contender::Floor { ring: true },
        Contender::Ringpost { cores: 1 },
        Contender::Ringpost { cores: 2 },
        Contender::Ringpost { cores: 4 },
    ];
    let contenders = crate::chosen(args, contenders.to_vec())?;
    let workloads = match args.workloads.is_empty() {
        true => WORKLOADS.to_vec(),
        false => args.workloads.clone(),
    };
    let most = descriptors_max().saturating_sub(SPARE);
    let sizes: Vec<usize> = CONNECTIONS
        .into_iter()
        .filter(|size| *size <= most)
        .collect();
    let mut points: Vec<Point> = Vec::new();
    for workload in &workloads {
        for size in &sizes {
            for (at, contender) in contenders.iter().enumerate() {
                if contender.can(*workload) {
                    points.push((at, contender.clone(), *workload, *size));
                }
            }
        }
    }
    let results = series.measure(points);
    for workload in &workloads {
        println!("{}", rows(*workload, &contenders, &sizes, &results));
    }
    let page = series.report().join("growth.html");
    std::fs::write(
        &page,
        html(&series.machine(), &workloads, &contenders, &sizes, &results),
    )
    .map_err(|error| format!("cannot write {}: {error}", page.display()))?;
    println!("The plots: {}", page.display());
    Ok(series.conclude())
}

fn cost(results: &Results, at: usize, workload: Workload, size: usize) -> Option<f64> {
    results.get(&(at, workload, size))?.cost()
}

/// The cheaper of the floors, where the workload has one.
fn floor(
    contenders: &[Contender],
    results: &Results,
    workload: Workload,
    size: usize,
) -> Option<f64> {
    let floors = contenders
        .iter()
        .enumerate()
        .filter(|(_, one)| one.is_floor());
    let workload = workload.floor()?;
    floors
        .filter_map(|(at, _)| cost(results, at, workload, size))
        .reduce(f64::min)
}

/// One row a server, one column a number of connections; the last is the growth from the first to the
/// last, and that growth divided by the floor's.
fn rows(
    workload: Workload,
    contenders: &[Contender],
    sizes: &[usize],
    results: &Results,
) -> String {
    let (title, unit) = workload.title();
    let mut text = format!("| {title}, {unit} |");
    for size in sizes {
        // Writing to a String does not fail.
        let _ = write!(text, " {size} |");
    }
    text.push_str(" growth | over the floor's |\n|---|");
    text.push_str(&"---|".repeat(sizes.len() + 2));
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else {
        return text;
    };
    let growth = |of: &dyn Fn(usize) -> Option<f64>| Some(of(*last)? / of(*first)?);
    let floors = growth(&|size| floor(contenders, results, workload, size));
    for (at, contender) in contenders.iter().enumerate() {
        if !contender.can(workload) {
            continue;
        }
        let _ = write!(text, "\n| {} |", contender.name());
        for size in sizes {
            let cell = cost(results, at, workload, *size).map_or("failed".into(), number);
            let mark = match results.get(&(at, workload, *size)) {
                Some(summary) if summary.is_disturbed() => " †",
                _ => "",
            };
            let _ = write!(text, " {cell}{mark} |");
        }
        let own = growth(&|size| cost(results, at, workload, size));
        let over = own.zip(floors).map(|(own, floors)| own / floors);
        let show = |ratio: Option<f64>| ratio.map_or("–".into(), |ratio| format!("×{ratio:.2}"));
        let _ = write!(text, " {} | {} |", show(own), show(over));
    }
    text.push('\n');
    text
}

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;color:#1c1c1c;background:#fff;max-width:1040px;\
margin:2rem auto;padding:0 1rem}h1{font-size:1.7rem}h2{margin-top:2.5rem}.note{color:#555}\
svg{width:100%;height:auto;display:block}svg text{font-size:12px;fill:#555}\
svg .title{fill:#1c1c1c;font-size:13px}.grid{stroke:#e8e8e8}.line{fill:none;stroke-width:2.2;\
stroke-linejoin:round}.legend{margin:.2rem 0 0 4.6rem;font-size:.86rem}\
.legend span{margin-right:1.2rem;display:inline-block}\
.legend i{display:inline-block;width:.9rem;height:.25rem;margin-right:.4rem;vertical-align:middle}";

fn html(
    machine: &str,
    workloads: &[Workload],
    contenders: &[Contender],
    sizes: &[usize],
    results: &Results,
) -> String {
    let mut body = String::new();
    for workload in workloads {
        let (title, _) = workload.title();
        let svg = plot(*workload, contenders, sizes, results).svg();
        let _ = write!(body, "<h2>{}</h2>{svg}", escape(title));
    }
    format!(
        "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport \
         content=\"width=device-width\"><title>ringpost: growth</title><style>{STYLE}</style>\n\
         <h1>Cost of a delivery by connections</h1>\n<p class=note>{}. The floor is what the kernel alone \
         costs for the same accepts, reads and sends.</p>\n{body}</html>\n",
        escape(machine.trim())
    )
}

fn plot(workload: Workload, contenders: &[Contender], sizes: &[usize], results: &Results) -> Plot {
    let line = |(at, contender): (usize, &Contender)| {
        let points = sizes
            .iter()
            .filter_map(|size| Some((*size as f64, cost(results, at, workload, *size)?)));
        Line {
            name: contender.name(),
            points: points.collect(),
            has_dots: true,
        }
    };
    let lines = contenders.iter().enumerate().map(line);
    Plot {
        x: Axis {
            title: "connections",
            scale: Scale::Logarithmic,
            show: |size| format!("{size:.0}"),
        },
        y: Axis {
            title: "the server's CPU µs a delivery",
            scale: Scale::Linear,
            show: number,
        },
        series: lines.filter(|line| !line.points.is_empty()).collect(),
    }
}
