//! An [`Outcome`] for people.

use std::fmt::Write;

use super::escape::escaped;
use super::outcome::{IDLE_CONNECTIONS_SOUND, IdleCost, Latency, Outcome};
use super::turns::TurnsMade;

/// Some lines, the headline first.
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write(&mut text, outcome);
    text
}

fn write(out: &mut String, outcome: &Outcome) -> std::fmt::Result {
    writeln!(out, "{}", heading(outcome))?;
    write_server(out, outcome)?;
    write_rate(out, outcome)?;
    if let Some(seconds) = outcome.command_seconds {
        writeln!(out, "  the command    ran for {}", time(seconds * 1e6))?;
    }
    if let Some(turns) = outcome.turns {
        write_turns(out, turns)?;
    }
    if let Some(idle) = outcome.idle {
        write_idle(out, idle, outcome.connections)?;
    }
    if let Some(setup) = outcome.setup {
        let cpu = match setup.cpu_us_per_connection {
            Some(cpu) => format!(", {cpu:.0} µs of the server's CPU for each"),
            None => String::new(),
        };
        writeln!(out, "  setup          {:.2} s{cpu}", setup.seconds)?;
    }
    for (name, count) in &outcome.others {
        writeln!(out, "  {name:14} {}", grouped(*count))?;
    }
    writeln!(out, "  clients        {}", outcome.clients.verdict)?;
    write_faults(out, outcome)
}

fn write_server(out: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let Some(server) = outcome.server.as_ref() else {
        if outcome.command_seconds.is_some() {
            return writeln!(
                out,
                "  server CPU     not known: after the command the server may be another process"
            );
        }
        return writeln!(
            out,
            "  server CPU     not known: --server-pid PID tells its process on this machine"
        );
    };
    if let Some(cpu) = server.per_million {
        writeln!(
            out,
            "  server CPU     {:.2} s per million {} ({:.2} user, {:.2} system)",
            cpu.total, outcome.unit, cpu.user, cpu.system
        )?;
    }
    if let Some(all) = server.cpus_per_million {
        writeln!(out, "                 {all:.2} s of all that its CPUs did")?;
    }
    let all = match server.cpus.len() {
        0 => String::new(),
        cpus => format!(" of {cpus}"),
    };
    writeln!(
        out,
        "  server         {:.2} CPUs{all} busy, {} resident",
        server.busy,
        bytes(server.resident_bytes as f64)
    )
}

fn write_rate(out: &mut String, outcome: &Outcome) -> std::fmt::Result {
    if outcome.deliveries > 0 {
        writeln!(
            out,
            "  rate           {} {}/s ({} in {:.1} s)",
            grouped(outcome.deliveries_per_second as u64),
            outcome.unit,
            grouped(outcome.deliveries),
            outcome.seconds
        )?;
    }
    for (name, latency) in [
        ("latency", &outcome.latency),
        ("joining", &outcome.joining),
        ("quiet", &outcome.quiet),
        ("quiet, calm", &outcome.calm),
        ("meanwhile", &outcome.during),
    ] {
        if let Some(latency) = latency {
            writeln!(out, "  {name:14} {}", percentiles(latency))?;
        }
    }
    Ok(())
}

fn write_turns(out: &mut String, turns: TurnsMade) -> std::fmt::Result {
    let longest = match turns.longest_at_most_seconds {
        Some(seconds) => format!("at most {}", time(seconds * 1e6)),
        None => "longer than its histogram tells".to_owned(),
    };
    writeln!(
        out,
        "  server's turns {}, the longest {longest}, {} above 10 ms",
        grouped(turns.count),
        grouped(turns.above_10_ms)
    )
}

fn write_idle(out: &mut String, idle: IdleCost, connections: usize) -> std::fmt::Result {
    if let Some(user) = idle.user_bytes_per_connection {
        writeln!(out, "  user memory    {user:.0} bytes a connection")?;
    }
    let ends = match idle.is_both_ends {
        true => ", both ends of it",
        false => ", the client's end of it",
    };
    writeln!(
        out,
        "  kernel memory  {:.0} bytes a connection in slabs{ends} ({:.0} of all memory)",
        idle.kernel_bytes_per_connection, idle.memory_bytes_per_connection
    )?;
    writeln!(
        out,
        "                 {}",
        match connections < IDLE_CONNECTIONS_SOUND {
            true => "too few connections for sound figures of memory: 5,000 or more are better",
            false => "sound only if the server was started freshly, and little else runs",
        }
    )?;
    if let Some(cpu) = idle.cpu_ms_per_second {
        writeln!(out, "  CPU at rest    {cpu:.2} ms a second")?;
    }
    Ok(())
}

fn heading(outcome: &Outcome) -> String {
    let mut text = format!(
        "{}: {} connections",
        outcome.workload,
        grouped(outcome.connections as u64)
    );
    if outcome.senders > 0 {
        let _ = write!(
            text,
            ", {} × {} in flight, {} bytes",
            grouped(outcome.senders as u64),
            outcome.in_flight,
            outcome.size
        );
    }
    if let Some(rate) = outcome.rate {
        let _ = write!(text, ", {} a second", grouped(rate as u64));
    }
    let _ = write!(text, ", {}", escaped(&outcome.url));
    text
}

fn write_faults(out: &mut String, outcome: &Outcome) -> std::fmt::Result {
    if outcome.faults.total() == 0 {
        return writeln!(
            out,
            "  faults         none in {} {}",
            grouped(outcome.deliveries_checked),
            outcome.unit
        );
    }
    let found = outcome.faults.named();
    let found: Vec<String> = found
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{} {name}", grouped(*count)))
        .collect();
    writeln!(out, "  FAULTS         {}", found.join(", "))?;
    if let Some(problem) = &outcome.problem {
        writeln!(out, "                 the first: {}", escaped(problem))?;
    }
    Ok(())
}

fn percentiles(latency: &Latency) -> String {
    format!(
        "p50 {}, p99 {}, p99.9 {}, max {}{}",
        time(latency.p50_us),
        time(latency.p99_us),
        time(latency.p99_9_us),
        time(latency.max_us),
        if latency.from_due {
            " (from when due)"
        } else {
            ""
        }
    )
}

/// A time with three digits and its unit.
pub fn time(micros: f64) -> String {
    match micros {
        _ if micros < 1_000.0 => format!("{micros:.0} µs"),
        _ if micros < 100_000.0 => format!("{:.2} ms", micros / 1e3),
        _ if micros < 1_000_000.0 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// A size with its unit.
pub fn bytes(bytes: f64) -> String {
    match bytes.abs() {
        size if size < 1024.0 => format!("{bytes:.0} B"),
        size if size < 1048576.0 => format!("{:.1} KiB", bytes / 1024.0),
        size if size < 1073741824.0 => format!("{:.1} MiB", bytes / 1048576.0),
        _ => format!("{:.2} GiB", bytes / 1073741824.0),
    }
}

/// A number with a comma between each three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn numbers_as_people_read_them() {
    assert_eq!(grouped(0), "0");
    assert_eq!(grouped(999), "999");
    assert_eq!(grouped(1_234_567), "1,234,567");
    assert_eq!(time(12.4), "12 µs");
    assert_eq!(time(12_345.0), "12.35 ms");
    assert_eq!(time(2_500_000.0), "2.50 s");
    assert_eq!(bytes(160.0), "160 B");
    assert_eq!(bytes(1536.0), "1.5 KiB");
}
